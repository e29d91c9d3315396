"""The second step: who is it?

A request may present an API key (X-API-Key) and a token (X-Worker-Token, Authorization: Bearer). Each that could be
good here is judged, and one that is wrong is a 401 whatever the others are; the first gives the identity. A credential
of a kind that nothing is configured for is none of ours: beside a good one it is the backend's business, alone it is
wrong.

    known in this process        a dict, the hash of what was presented, one constant-time comparison; no I/O
    configured                   API keys, accepted hashes (accepted.py)
    verified before              gateway:session:<digest> (sessions.py), for tokens, with AUTH_VERIFY_URL
    verified now                 the backend is asked (verify.py)

Only the last two wait for something, and so do refusals of wrong credentials, which are counted by address.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256
from hmac import compare_digest
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from fastgw.auth.accepted import Accepted
from fastgw.auth.credentials import (
    API_KEY,
    API_KEY_HASH,
    AUTHORIZATION,
    FIELDS,
    IN_ORDER,
    MAX_CREDENTIAL_BYTES,
    SHOWN,
    WORKER_TOKEN,
    Credential,
    Hash,
    Malformed,
    is_preflight,
    read,
    worker_of,
)
from fastgw.auth.sessions import KEY, TOKEN, Sessions
from fastgw.auth.verify import Verdict, Verify
from fastgw.errors import FORBIDDEN, RATE_LIMIT_EXCEEDED, SERVICE_UNAVAILABLE, UNAUTHORIZED, GatewayError
from fastgw.respond import error_answer

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from fastgw.auth.sessions import Session
    from fastgw.exchange import Exchange
    from fastgw.respond import Answer
    from fastgw.store.hot import Store

    Field = tuple[bytes, bytes]
    Waiting = Coroutine[Any, Any, Answer | None]

CHALLENGE: Final = (b"www-authenticate", b'Bearer realm="fastgw"')
"""RFC 9110 15.5.2 asks for one. Of what is accepted here only Bearer is a scheme (RFC 6750 3)."""

CHALLENGE_WRONG: Final = (b"www-authenticate", b'Bearer realm="fastgw", error="invalid_token"')

MISSING: Final = "send one in X-API-Key, X-Worker-Token or Authorization: Bearer"
OPEN: Final = "the token is not known here, and the backend could not be asked about it"


class Refusal(Enum):
    """Why a credential is not good."""

    WRONG = "wrong"
    NOT_FOR_THIS = "not for this"  # good, but not for the worker that the path names
    OPEN = "open"  # only the backend knows, and it could not be asked


class Failures(Protocol):
    """Counts wrong credentials by address, for all processes."""

    def blocked(self, address: str) -> int | None:
        """Seconds until credentials of this address are looked at again; None if they are. Asks nobody."""

    async def note(self, address: str) -> int | None:
        """Count one failure; seconds if the address has had its share now. Raises nothing."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What credentials are compared with. api_keys: `key` or `name:key`. token_hashes: hex. verify_url: "" for none."""

    api_keys: tuple[str, ...] = field(default=(), repr=False)
    token_hashes: tuple[str, ...] = field(default=(), repr=False)
    token_hashes_file: Path | None = None
    verify_url: str = field(default="", repr=False)
    token_salt: str = field(default="", repr=False)
    token_format: str = "{token}{salt}"  # noqa: S105 - how it is hashed


def no_authentication(x: Exchange) -> None:
    """The door when nobody is asked who they are."""


class Authenticate:
    """The door. It is called; `refresh` and `flush` are to be run from time to time, `close` at the end."""

    def __init__(self, sources: Sources, store: Store, failures: Failures) -> None:
        """Reads the file of hashes. store: may be down; failures: counts wrong credentials."""
        self._accepted = Accepted(sources.api_keys, sources.token_hashes, sources.token_hashes_file)
        self._verify = Verify(sources.verify_url) if sources.verify_url else None
        self._names_worker = self._verify is not None and self._verify.names_worker
        self._sessions = Sessions(store, names_worker=self._names_worker)
        self._failures = failures
        self._hashes = {API_KEY: API_KEY_HASH}
        self._hashes[WORKER_TOKEN] = self._hashes[AUTHORIZATION] = Hash(sources.token_format, sources.token_salt)
        self._known = {API_KEY: self._sessions.keys}
        self._known[WORKER_TOKEN] = self._known[AUTHORIZATION] = self._sessions.tokens
        self._by_field = {name: (self._known[name], self._hashes[name].parts) for name in IN_ORDER}
        self._has_tokens = self._accepted.has_tokens or self._verify is not None

    def __repr__(self) -> str:
        return f"<Authenticate {self._accepted!r} {self._sessions!r} {self._verify!r}>"

    def __call__(self, x: Exchange) -> Answer | Waiting | None:
        """Sets identity. None: go on. An Answer, or what has to be awaited and gives an Answer or None: see above.

        401 without a good credential, 403 for a worker that the token is not for, 429 for an address with too many
        wrong ones, 503 if the backend has to be asked and can't be. 2.0 us for one credential that is known, 0.9 of it
        SHA-256, as the best of 60 timeit rounds on a busy machine.
        """
        presented = [item for item in x.noted if item[0] in FIELDS]
        if len(presented) == 1:
            name, value = presented[0]
            known, parts = self._by_field[name]
            if name == AUTHORIZATION:
                value = value[7:] if value[:7] == b"Bearer " else b""
            # What has the digest of a good credential is that credential, so its form needs no look here.
            digest = sha256(value.join(parts)).digest() if len(value) <= MAX_CREDENTIAL_BYTES else b""
            session = known.get(digest)
            if (
                session is not None
                and compare_digest(session.digest, digest)
                and x.client in session.addresses
                and (not session.workers or session.covers(worker_of(x.raw_path)))
                and session.good_until > monotonic()
            ):
                if session.pending:
                    session.pending += 1
                else:
                    self._sessions.count(session)
                x.identity = session.identity
                x.credential = session.scope + name[2:3]
                return None
        return self._judge(x, presented)

    async def refresh(self) -> None:
        """Look whether the file of hashes has changed. A hash that has left it is good no more."""
        if await self._accepted.refresh():
            self._sessions.retain(lambda digest: self._accepted.token(digest) is not None)

    async def flush(self) -> None:
        """Bring the sessions in Redis up to date; to be run every second."""
        await self._sessions.flush()

    async def close(self) -> None:
        """Write what is left to write, and give up questions under way."""
        await self._sessions.close()
        if self._verify is not None:
            await self._verify.close()

    # -- what is not known at once --------------------------------------------------------------------

    def _judge(self, x: Exchange, presented: list[Field]) -> Answer | Waiting | None:
        malformed, credentials = None, list[Credential]()
        try:
            credentials = read(presented, self._hashes)
        except Malformed as error:
            malformed = error.field
        if not credentials and malformed is None:
            return None if is_preflight(x.method, x.headers) else _unauthorized(x, MISSING)
        seconds = self._failures.blocked(x.client)
        if seconds is not None and not self._were_good_from(x.client, credentials):
            return _blocked(x, seconds)
        if malformed is not None:
            return self._count_wrong(x, malformed, "is empty, repeated, too long or not of visible ASCII characters")
        judged = [c for c in credentials if self._is_ours(c)] or credentials[:1]
        worker = self._worker(x)
        sessions = [session for c in judged if (session := self._good(c, worker)) is not None]
        if len(sessions) < len(judged):
            return self._ask(x, judged, worker)
        self._let_in(x, sessions)
        return None

    async def _ask(self, x: Exchange, judged: list[Credential], worker: str | None) -> Answer | None:
        """Judge each credential by all that can be asked; the first that is not good decides."""
        sessions = []
        for credential in judged:
            found = self._good(credential, worker) or await self._find(credential, worker)
            if found is Refusal.WRONG:
                return await self._count_wrong(x, credential.name, "is not accepted")
            if found is Refusal.NOT_FOR_THIS:
                x.refused_for = "not for this worker"
                return error_answer(
                    GatewayError(FORBIDDEN, "the token is not that of the worker in the path"), x.request_id
                )
            if found is Refusal.OPEN:
                x.refused_for = "not verified"
                return error_answer(GatewayError(SERVICE_UNAVAILABLE, OPEN), x.request_id)
            sessions.append(found)
        self._let_in(x, sessions)
        return None

    async def _find(self, credential: Credential, worker: str | None) -> Session | Refusal:
        """Look for a credential that this process does not know in Redis, then ask the backend."""
        verify, sessions, digest = self._verify, self._sessions, credential.digest
        if verify is None or credential.name == API_KEY:
            return Refusal.WRONG
        here = sessions.tokens.get(digest)
        if verify.said_no(digest, worker):
            return Refusal.NOT_FOR_THIS if here is not None and here.good_until > monotonic() else Refusal.WRONG
        session = await sessions.recall(digest)
        if session is not None and session.covers(worker):
            return session
        # An hour has passed and this path names no worker: the one it was good for is asked about again.
        about = here.workers[0] if worker is None and here is not None and here.workers else worker
        answer = await verify.ask(digest, credential.secret, about)
        if answer is Verdict.YES:  # whoever waited for the same question may have remembered it already
            return self._good(credential, about) or await sessions.remember(digest, about, session)
        if answer is Verdict.OPEN:
            return Refusal.OPEN
        if session is None:
            sessions.forget(digest)
        return Refusal.WRONG if session is None else Refusal.NOT_FOR_THIS

    def _good(self, credential: Credential, worker: str | None) -> Session | None:
        """The session of a credential that is good as far as this process knows."""
        digest, is_key = credential.digest, credential.name == API_KEY
        session = self._known[credential.name].get(digest)
        is_known = session is not None and compare_digest(session.digest, digest)
        if session is not None and is_known and session.good_until > monotonic() and session.covers(worker):
            return session
        identity = self._accepted.key(digest) if is_key else self._accepted.token(digest)
        return None if identity is None else self._sessions.configured(KEY if is_key else TOKEN, digest, identity)

    def _is_ours(self, credential: Credential) -> bool:
        """Whether there is anything that this kind of credential could be compared with."""
        return self._accepted.has_keys if credential.name == API_KEY else self._has_tokens

    def _were_good_from(self, address: str, credentials: list[Credential]) -> bool:
        """Whether each was good from this address before; then it is no guess, whatever others there do."""
        sessions = [self._known[c.name].get(c.digest) for c in credentials if self._is_ours(c)]
        return bool(sessions) and all(session is not None and address in session.addresses for session in sessions)

    def _worker(self, x: Exchange) -> str | None:
        return worker_of(x.raw_path) if self._names_worker else None

    def _let_in(self, x: Exchange, sessions: list[Session]) -> None:
        for session in sessions:
            session.used_from(x.client)
            self._sessions.count(session)
        x.identity = sessions[0].identity
        names = [name for name, _ in x.noted if name in FIELDS]
        if len(names) == 1:
            x.credential = sessions[0].scope + names[0][2:3]

    async def _count_wrong(self, x: Exchange, name: bytes, problem: str) -> Answer:
        seconds = await self._failures.note(x.client)
        if seconds is not None:
            return _blocked(x, seconds)
        challenge = CHALLENGE_WRONG if name == AUTHORIZATION else CHALLENGE
        return _unauthorized(x, f"the credential in {SHOWN[name]} {problem}", challenge)


def _unauthorized(x: Exchange, detail: str, challenge: Field = CHALLENGE) -> Answer:
    x.refused_for = "missing" if detail is MISSING else "wrong"
    answer = error_answer(GatewayError(UNAUTHORIZED, detail), x.request_id)
    answer.fields.append(challenge)
    return answer


def _blocked(x: Exchange, seconds: int) -> Answer:
    """Nothing was looked at: that a guess was right must not show."""
    x.refused_for = "blocked"
    error = GatewayError(RATE_LIMIT_EXCEEDED, "too many wrong credentials from this address", retry_after_s=seconds)
    return error_answer(error, x.request_id)
