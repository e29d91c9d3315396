"""What is remembered of credentials that are good: here, for the path, and in Redis, for all processes and nodes.

A configured credential's session in Redis only tells (who, since when, how often); whether the credential is good is
decided by what is configured. A verified token's session is believed: it is the backend's yes, which is not asked for
again for an hour, by no process. Redis is trusted as far as its ACL goes, so what lies there is checked for its form.

Requests are counted by adding 1 to an integer; what has changed goes to Redis from time to time, many at once.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import orjson

from fastgw.auth.accepted import token_identity
from fastgw.auth.credentials import is_worker_id
from fastgw.store.errors import ReplyFailed, StoreDown, StoreError
from fastgw.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastgw.store.hot import Store

TTL_MS: Final = 3_600_000
"""Of sessions in Redis."""

LOCAL_S: Final = 30.0
"""How long a verified session is believed without a look at Redis. One deleted by hand lives on here as long."""

MAX_LOCAL: Final = 10_000
"""Sessions kept in a process, of each kind; the oldest give way. 6 MB if each is used from one address."""

MAX_ADDRESSES: Final = 64
"""Addresses remembered with a session: a fleet behind one key has a handful, the oldest give way."""

MAX_WORKERS: Final = 64
"""Workers that one token was verified for. The platform has one token per worker."""

MAX_BYTES: Final = 16_384
"""Longest value in Redis that is looked at: ours have at most 64 ids of 128 characters."""

MAX_FLUSH: Final = 256
"""Sessions written at a time: 4 ms of Redis's time, well within the time bound of a call."""

FLUSH_S: Final = 5.0
"""How long counts may wait. A new session goes out with the next flush()."""

KEY: Final = "key"
TOKEN: Final = "token"  # noqa: S105 - a kind of session
VERIFIED: Final = "verified"

SCRIPT: Final = load("fastgw.auth", "session.lua")

Reply = Any


class Session:
    """One good credential, as this process knows it. digest: 32 bytes. Times are seconds of `time.monotonic`."""

    __slots__ = ("addresses", "digest", "good_until", "identity", "kind", "pending", "queue", "scope", "workers")

    def __init__(self, kind: str, digest: bytes, identity: str, queue: list[Session]) -> None:
        """kind: KEY, TOKEN or VERIFIED. queue: where it waits for the next flush when it has been used."""
        self.kind = kind
        self.digest = digest
        self.identity = identity
        self.queue = queue
        self.scope = digest.hex()[:15].encode()  # by which the cache tells it from others, with the field's letter
        self.workers: tuple[str, ...] = ()  # VERIFIED: whom the backend has said yes for, if it was asked about one
        self.good_until = float("inf")
        self.addresses: dict[str, None] = {}  # it was good from these; in order, oldest first
        self.pending = 0  # requests that Redis has not been told of

    def __repr__(self) -> str:
        return f"<Session {self.kind} {self.identity} +{self.pending} from {len(self.addresses)} addresses>"

    def covers(self, worker: str | None) -> bool:
        """Whether it is good for a path that names this worker, or none."""
        return worker is None or not self.workers or worker in self.workers

    def used_from(self, address: str) -> None:
        """Remember an address that it was good from."""
        if address not in self.addresses:
            if len(self.addresses) >= MAX_ADDRESSES:
                del self.addresses[next(iter(self.addresses))]
            self.addresses[address] = None


def believed(text: bytes, digest: bytes, *, names_worker: bool) -> tuple[str, tuple[str, ...]] | None:
    """Identity and workers of a verified session as it lies in Redis; None if it is not to be believed.

    text: what is there. names_worker: whether the backend is asked about a token and a worker, or a token alone.
    """
    if len(text) > MAX_BYTES:
        return None
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(content, dict) or content.get("type") != VERIFIED:
        return None
    workers = content.get("workers", [])
    if not isinstance(workers, list) or len(workers) > MAX_WORKERS or bool(workers) != names_worker:
        return None
    if not all(isinstance(worker, str) and is_worker_id(worker) for worker in workers):
        return None
    identity = verified_identity(digest, workers[0] if workers else None)
    return (identity, tuple(workers)) if content.get("identity") == identity else None


def verified_identity(digest: bytes, worker: str | None) -> str:
    """Who a verified token is: the worker that it was first verified for, or a name of its own."""
    return f"worker:{worker}" if worker else token_identity(digest)


class Sessions:
    """The sessions of one process, and what it knows of those in Redis."""

    def __init__(self, store: Store, *, names_worker: bool) -> None:
        """names_worker: see believed()."""
        self.keys: dict[bytes, Session] = {}
        self.tokens: dict[bytes, Session] = {}
        self._store = store
        self._names_worker = names_worker
        self._new: list[Session] = []
        self._used: list[Session] = []
        self._used_due = monotonic() + FLUSH_S

    def __repr__(self) -> str:
        waiting = len(self._new) + len(self._used)
        return f"<Sessions {len(self.keys)} keys, {len(self.tokens)} tokens, {waiting} to write>"

    def configured(self, kind: str, digest: bytes, identity: str) -> Session:
        """A session for a credential that is configured."""
        return self._keep(self.keys if kind == KEY else self.tokens, Session(kind, digest, identity, self._new))

    def count(self, session: Session) -> None:
        """One request more."""
        if session.pending:
            session.pending += 1
        elif len(session.queue) < MAX_LOCAL:  # else Redis has been away while very many came: not counted
            session.queue.append(session)
            session.pending = 1

    def retain(self, is_accepted: Callable[[bytes], bool]) -> None:
        """Forget the sessions of configured tokens that are configured no more."""
        gone = [digest for digest, s in self.tokens.items() if s.kind == TOKEN and not is_accepted(digest)]
        for digest in gone:
            del self.tokens[digest]

    async def recall(self, digest: bytes) -> Session | None:
        """Look for a verified session in Redis, and keep it here for LOCAL_S; None if there is none.

        With Redis away what is known here is still good until then.
        """
        here = self.tokens.get(digest)
        key = self._store.keys.session(digest.hex().encode())
        try:
            text = await self._store.command(key, b"GETRANGE", key, 0, MAX_BYTES)
        except StoreError:
            return here if here is not None and here.good_until > monotonic() else None
        facts = believed(text, digest, names_worker=self._names_worker)
        if facts is not None:
            return self._verified(digest, *facts)
        if here is not None:
            here.good_until = 0.0
        return None

    async def remember(self, digest: bytes, worker: str | None, known: Session | None) -> Session:
        """The backend has said yes for a token (and a worker). known: its session, if there is one.

        Good here at once, and elsewhere when this returns; without Redis it is remembered here only, for LOCAL_S.
        """
        workers: tuple[str, ...]
        if known is None or worker is None:
            what, identity, workers = "verified", verified_identity(digest, worker), (worker,) if worker else ()
        else:
            what, identity, workers = "another", known.identity, (*known.workers, worker)[-MAX_WORKERS:]
        session = self._verified(digest, identity, workers)
        try:
            text = await self._run(digest, what, VERIFIED, identity, 0, worker or "")
        except StoreError:
            return session
        facts = believed(text, digest, names_worker=self._names_worker)
        return session if facts is None else self._verified(digest, *facts)

    def forget(self, digest: bytes) -> None:
        """The backend has said no for a token that has no session any more."""
        self.tokens.pop(digest, None)

    async def flush(self) -> None:
        """Tell Redis of new sessions, and every FLUSH_S of what was used. Raises nothing; MAX_FLUSH at a time."""
        if not self._store.is_up:
            return
        batch = _take(self._new, MAX_FLUSH)
        if monotonic() >= self._used_due:
            batch += _take(self._used, MAX_FLUSH - len(batch))
            if not self._used:
                self._used_due = monotonic() + FLUSH_S
        calls: list[tuple[Session, int]] = []
        futures: list[asyncio.Future[Reply]] = []
        for session in batch:
            requests, session.pending = session.pending, 0
            what = "counted" if session.kind == VERIFIED else "used"
            try:
                future = self._run(session.digest, what, session.kind, session.identity, requests, "")
            except StoreDown:
                self._put_back(session, requests)
            else:
                calls.append((session, requests))
                futures.append(future)
        replies = await asyncio.gather(*futures, return_exceptions=True)
        for (session, requests), reply in zip(calls, replies, strict=True):
            self._settle(session, requests, reply)

    async def close(self) -> None:
        """Tell Redis what it has not been told yet, as far as it takes it."""
        self._used_due = 0.0
        for _ in range(MAX_LOCAL // MAX_FLUSH):
            if self._new or self._used:
                await self.flush()

    def _settle(self, session: Session, requests: int, reply: Reply) -> None:
        """What Redis said to one session's counts. Those of unknown fate are given up: better missing than twice."""
        if isinstance(reply, ReplyFailed):
            self._put_back(session, requests)
        elif not isinstance(reply, BaseException):
            session.queue = self._used
            if reply is None and self.tokens.get(session.digest) is session:
                session.good_until = 0.0  # it is gone from Redis: somebody wants the backend to be asked again

    def _put_back(self, session: Session, requests: int) -> None:
        if not session.pending:
            session.queue.append(session)
        session.pending += requests

    def _verified(self, digest: bytes, identity: str, workers: tuple[str, ...]) -> Session:
        session = self.tokens.get(digest)
        if session is None or session.kind != VERIFIED or session.identity != identity:
            session = self._keep(self.tokens, Session(VERIFIED, digest, identity, self._used))
        session.workers = workers
        session.good_until = monotonic() + LOCAL_S
        return session

    def _keep(self, sessions: dict[bytes, Session], session: Session) -> Session:
        if len(sessions) >= MAX_LOCAL:
            del sessions[next(iter(sessions))]
        sessions[session.digest] = session
        return session

    def _run(
        self, digest: bytes, what: str, kind: str, identity: str, requests: int, worker: str
    ) -> asyncio.Future[Reply]:
        key = self._store.keys.session(digest.hex().encode())
        return self._store.run(SCRIPT, (key,), what, kind, identity, requests, TTL_MS, worker, MAX_WORKERS)


def _take(queue: list[Session], number: int) -> list[Session]:
    """The first so many, which are no longer in the queue."""
    taken = queue[:number]
    del queue[: len(taken)]
    return taken
