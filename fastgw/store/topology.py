"""Which server is master of what, and clients for rare work. Cold: redis-py, a connection for each question.

Sentinels are asked all at once, and what most of them say counts: one that was cut off from the others, or that does
not answer, neither misleads nor delays. A Cluster's slots are told by the first node that answers.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import hiredis
from redis import exceptions
from redis.asyncio import Connection, ConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from fastgw.store.address import Address, describe, read
from fastgw.store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

T = TypeVar("T")

ANSWER_TIMEOUT_S: Final = 1.0
"""For connecting, and for each answer: cold work waits that long for a busy server, and no longer for a lost one."""

SENTINEL_TIMEOUT_S: Final = 0.3
"""For one sentinel's answer. Short, since a master is looked for when there is none and requests go on without."""

_ONCE: Final = Retry(
    NoBackoff(), 0
)  # redis-py would try for seconds; who asks has a time of their own for trying again

_OPTIONS: Final[dict[str, Any]] = {
    "socket_timeout": ANSWER_TIMEOUT_S,
    "socket_connect_timeout": ANSWER_TIMEOUT_S,
    # With RESP3 redis-py would ask for notices that the user fastgw may not have, and fill the server's ACL LOG.
    "protocol": 2,
}

_CLUSTER_RETRIES: Final = 2
"""A node that is gone costs one, after which redis-py reads the slots anew."""


class StoreUnreachable(StoreError):
    """Redis did not answer; str() is one line: where, why, and what to look at. Never a password."""


class Topology:
    """The servers behind a REDIS_URL.

    kind: "standalone", "sentinel" or "cluster". where: the URL without secrets, for messages.
    """

    def __init__(self, url: str, password: str | None = None, db: int | None = None) -> None:
        """password, db: used where the URL names none. Raises StoreUnreachable if the URL can't be read."""
        self.where = describe(url)
        try:
            self._source = read(url, password, db)
        except ValueError:  # its text may quote a part of the password
            raise StoreUnreachable(
                f"{self.where}: the address can't be read; write it as redis://host:6379/0, "
                "with special characters %-encoded"
            ) from None
        self.kind = self._source.kind
        self._known: tuple[Address, ...] = ()  # the Cluster's masters as last heard, of which the first one told us

    def __repr__(self) -> str:
        return f"<Topology {self.kind} {self.where}>"

    async def master(self) -> Address:
        """The server to talk to; of a Cluster, the first node that answers.

        Raises StoreUnreachable if no sentinel that answers knows the master.
        """
        if self.kind == "standalone":
            return self._source.server
        if self.kind == "sentinel":
            return await self._ask_sentinels()
        return (await self.slots())[0][2]

    async def slots(self) -> list[tuple[int, int, Address]]:
        """A Cluster's slots: first, last, master; sorted, without those that nobody serves.

        Raises StoreUnreachable if no node answers.
        """
        async with explained(self.where):
            return await self.first_answer(self._slots_of)

    def client(self) -> Redis | RedisCluster:
        """A client for scans and admin, which the caller closes (`async with`, or aclose()). Replies are bytes.

        It connects when it is used; a Sentinel's follows the master. It tries nothing twice, but for a Cluster's moves.
        """
        source = self._source
        if self.kind == "standalone":
            return client_of(source.server)
        options = source.server.client_options() | _OPTIONS
        if self.kind == "cluster":
            options.pop("db")
            nodes = [ClusterNode(host, port) for host, port in source.nodes]
            retry = Retry(NoBackoff(), _CLUSTER_RETRIES)
            return RedisCluster(startup_nodes=nodes, retry=retry, require_full_coverage=False, **options)
        pool = ConnectionPool(connection_class=_MasterConnection, locate=self.master, retry=_ONCE, **options)
        return Redis.from_pool(pool)

    async def first_answer(self, ask: Callable[[Redis, Address], Awaitable[T]]) -> T:
        """Put a question to the servers in turn until one answers. Raises what redis-py raises when none does."""
        last: Exception | None = None
        for address in await self._candidates():
            async with client_of(address) as client:
                try:
                    return await ask(client, address)
                except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
                    last = error
        raise last or exceptions.ConnectionError("it names no server")

    async def _candidates(self) -> tuple[Address, ...]:
        if self.kind != "cluster":
            return (await self.master(),)
        named = tuple(replace(self._source.server, host=host, port=port) for host, port in self._source.nodes)
        return tuple(dict.fromkeys((*self._known[:1], *named, *self._known)))

    async def _slots_of(self, client: Redis, asked: Address) -> list[tuple[int, int, Address]]:
        found = []
        for first, last, (host, port, *_), *_ in await _raw(client, "CLUSTER SLOTS"):
            # A node that does not know its own name sends "" or nothing: it is the one that was asked.
            master = replace(asked, host=host.decode() if host else asked.host, port=port)
            found.append((first, last, master))
        if not found:
            raise exceptions.ConnectionError("it serves no slots")
        found.sort(key=lambda entry: entry[0])
        self._known = tuple(dict.fromkeys((asked, *(entry[2] for entry in found))))
        return found

    async def _ask_sentinels(self) -> Address:
        nodes = self._source.nodes
        questions = [asyncio.create_task(self._ask_one(host, port)) for host, port in nodes]
        votes: Counter[tuple[str, int]] = Counter()
        try:
            for answer in asyncio.as_completed(questions):
                named = await answer
                if named is not None:
                    votes[named] += 1
                    if votes[named] * 2 > len(nodes):
                        break
        finally:
            for question in questions:
                question.cancel()
            await asyncio.gather(*questions, return_exceptions=True)
        if not votes:
            raise StoreUnreachable(
                f"{self.where}: no sentinel that answered knows the master; "
                "check the hosts and the service name in REDIS_URL"
            )
        host, port = votes.most_common(1)[0][0]
        return replace(self._source.server, host=host, port=port)

    async def _ask_one(self, host: str, port: int) -> tuple[str, int] | None:
        """The master's host and port by one sentinel; None if it does not know or does not answer.

        Without redis-py: it leaves connections open when it is cancelled, as a question is whose answer came too late.
        """
        try:
            async with asyncio.timeout(SENTINEL_TIMEOUT_S):
                found = await _one_reply(host, port, b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self._source.service)
        except (OSError, TimeoutError, hiredis.HiredisError):
            return None
        match found:
            case [bytes(name), bytes(number)] if number.isdigit():
                return name.decode(errors="replace"), int(number)
        return None


class _MasterConnection(Connection):
    """A connection that asks for the master whenever it connects, and drops one that has become a replica."""

    def __init__(self, locate: Callable[[], Awaitable[Address]], **options: Any) -> None:
        super().__init__(**options)
        self._locate = locate

    async def connect(self) -> None:
        if not self.is_connected:
            master = await self._locate()
            self.host, self.port = master.host, master.port
        await super().connect()  # type: ignore[no-untyped-call]  # redis-py lacks it

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except exceptions.ReadOnlyError:
            await self.disconnect()
            raise exceptions.ConnectionError("the master has become a replica") from None


def client_of(address: Address) -> Redis:
    """A client of one server, which the caller closes. It connects when it is used, and tries nothing twice."""
    options = address.client_options() | _OPTIONS
    if address.socket_path:
        return Redis(unix_socket_path=address.socket_path, retry=_ONCE, **options)
    return Redis(host=address.host, port=address.port, retry=_ONCE, **options)


@asynccontextmanager
async def explained(where: str, timeout_s: float | None = None) -> AsyncIterator[None]:
    """Turn what redis-py raises in the block into StoreUnreachable with one line.

    where: the URL without secrets. timeout_s: seconds for all of the block, None: as long as the clients wait.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except (exceptions.TimeoutError, TimeoutError):
        seconds = ANSWER_TIMEOUT_S if timeout_s is None else timeout_s
        reason = f"no answer within {seconds:g} s; check that Redis runs there and no firewall is between"
    except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as error:
        reason = _cause(error)
    else:
        return
    raise StoreUnreachable(f"{where}: {reason}")  # not chained: the error could show what the line leaves out


def _cause(error: Exception) -> str:
    """One line for people, from what lies below: redis-py raises a ConnectionError of its own above the reason."""
    chain = [link for link in (error, error.__cause__, error.__context__) if link is not None]
    if any(isinstance(link, exceptions.AuthenticationError | exceptions.NoPermissionError) for link in chain):
        return "it refused the credentials; check REDIS_PASSWORD and the user in REDIS_URL"
    system = next((link for link in chain if isinstance(link, OSError)), None)
    if system is not None and system.errno is not None:
        reason = system.strerror if isinstance(system, socket.gaierror) else os.strerror(system.errno)
    else:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return f"{reason}; check that Redis runs there and that REDIS_URL names it"


async def _one_reply(host: str, port: int, *command: Any) -> Any:
    """Ask one thing on a connection of its own. None if it is closed without a reply; an error reply is returned."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(hiredis.pack_command(command))
        replies = hiredis.Reader()
        while (reply := replies.gets()) is False:
            data = await reader.read(4096)
            if not data:
                return None
            replies.feed(data)
        return reply
    finally:
        writer.transport.abort()


async def _raw(client: Redis, name: str, *args: str) -> Any:
    """The reply as it came: redis-py's readers of it differ between its versions."""
    client.response_callbacks.pop(name, None)
    return await client.execute_command(name, *args)  # type: ignore[no-untyped-call]  # redis-py lacks it
