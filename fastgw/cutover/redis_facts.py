"""What `fastgw check` learns from Redis: does it let us in, what does it refuse, which keys are there. Cold: redis-py.

Written is below `<prefix>check:` only, for the moment that the test of the rights takes; what could not be deleted
expires. Keys are looked for with SCAN, for a time that is bounded; never with KEYS.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from redis import exceptions

from fastgw.store import admin
from fastgw.store.errors import StoreError
from fastgw.store.topology import Topology, client_of, explained
from fastgw.workers.parse import PREFIX as WORKERS
from fastgw.workers.parse import worker_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis, RedisCluster

    from fastgw.store.keys import Keys

    Client = Redis | RedisCluster

SCAN_S: Final = 2.0
"""For each look through the keys: some 500,000 of them in a Redis on the same network."""

BRIEF_SCAN_S: Final = 0.2
"""For each other database."""

TRIAL_MS: Final = 10_000
"""After which a key of the test is gone, whatever happens."""

DATABASES: Final = 16
"""As Redis has by default."""

MAX_WINDOWS: Final = 500
MAX_KINDS: Final = 5

_VARIABLE: Final = re.compile(r"[0-9a-fA-F]{6,}(?:-[0-9a-fA-F]{4,})*|\d+")

_SCRIPT: Final = "return redis.call('GET', KEYS[1])"


@dataclass(slots=True)
class RedisFacts:
    """What was found. problem: why nothing could be; kind: of the problem: address, password, or down."""

    where: str
    problem: str = ""
    kind: str = ""
    denied_commands: list[str] = field(default_factory=list)
    denied_keys: list[str] = field(default_factory=list)
    refused: str = ""
    """Another refusal of a write: a replica, a full memory."""
    workers: int = 0
    others: list[tuple[str, int]] = field(default_factory=list)
    """Kinds of keys that are there instead of the workers' -> how many."""
    elsewhere: int | None = None
    """The database that holds the workers' keys, if it is another one."""
    is_complete: bool = True
    """Whether all keys were looked through."""
    windows: dict[str, int] = field(default_factory=dict)
    """Address -> requests counted in its window now."""


async def gather(url: str, password: str | None, database: int | None, keys: Keys) -> RedisFacts:
    """Ask the Redis of a URL everything. Raises nothing: what went wrong is among the facts."""
    facts = RedisFacts("")
    try:
        topology = Topology(url, password, database)
    except StoreError as error:
        facts.problem, facts.kind = str(error), "address"
        return facts
    facts.where = topology.where
    try:
        async with explained(topology.where, 60.0), topology.client() as client:
            try:
                await client.ping()
            except exceptions.NoPermissionError:
                facts.denied_commands.append("PING")
            except exceptions.AuthenticationError as error:
                facts.problem, facts.kind = _first_line(error), "password"
                return facts
            await _try_rights(client, keys, facts)
            await _look(client, topology, keys, facts)
    except StoreError as error:
        facts.problem, facts.kind = str(error), "password" if "credentials" in str(error) else "down"
    return facts


def _trials(keys: Keys) -> tuple[list[tuple[Any, ...]], list[bytes]]:
    """Commands of each group in store/acl.py, and the keys that they leave. Each is of one slot."""
    name = secrets.token_hex(8).encode()
    text, index, window = (keys.check(name + kind) for kind in (b":text", b":set", b":zset"))
    commands: list[tuple[Any, ...]] = [
        ("SET", text, b"1", "PX", TRIAL_MS),
        *((command, text) for command in ("GET", "STRLEN", "EXISTS", "TYPE", "TTL", "PTTL", "MGET")),
        ("GETRANGE", text, 0, 1),
        ("EXPIRE", text, TRIAL_MS // 1000),
        ("PEXPIRE", text, TRIAL_MS),
        ("EVAL", _SCRIPT, 1, text),
        ("SADD", index, b"1"),
        ("PEXPIRE", index, TRIAL_MS),
        *((command, index) for command in ("SCARD", "SMEMBERS", "SRANDMEMBER")),
        ("SISMEMBER", index, b"1"),
        ("SREM", index, b"2"),
        ("ZADD", window, 1, b"1"),
        ("PEXPIRE", window, TRIAL_MS),
        ("ZCARD", window),
        ("ZSCORE", window, b"1"),
        ("ZCOUNT", window, 0, 1),
        ("ZRANGE", window, 0, 1),
        ("ZRANGEBYSCORE", window, 0, 1),
        ("ZREMRANGEBYSCORE", window, 2, 3),
        ("ZREM", window, b"2"),
        ("TIME",),
        ("GETRANGE", WORKERS + name, 0, 0),
    ]
    return commands, [text, index, window]


async def _try_rights(client: Client, keys: Keys, facts: RedisFacts) -> None:
    commands, left = _trials(keys)
    try:
        for command in commands:
            await _try(client, command, facts)
    finally:
        for key in left:
            if not await _try(client, ("UNLINK", key), facts):
                await _try(client, ("DEL", key), facts)


async def _try(client: Client, command: tuple[Any, ...], facts: RedisFacts) -> bool:
    """Run one command; False if it is refused, which is noted."""
    try:
        await client.execute_command(*command)
    except exceptions.NoPermissionError as error:
        _note_denied(str(error), command, facts)
        return False
    except (exceptions.ReadOnlyError, exceptions.OutOfMemoryError) as error:
        facts.refused = facts.refused or _first_line(error)
        return False
    except exceptions.ResponseError as error:
        if "NOPERM" not in str(error) and "permission" not in str(error):  # of a script, the code stands inside
            return True
        _note_denied(str(error), command, facts)
        return False
    return True


def _note_denied(said: str, command: tuple[Any, ...], facts: RedisFacts) -> None:
    if "key" in said.lower() and "command" not in said.lower():
        is_workers = any(isinstance(part, bytes) and part.startswith(WORKERS) for part in command)
        kind = "worker:*" if is_workers else "the prefix"
        if kind not in facts.denied_keys:
            facts.denied_keys.append(kind)
    elif command[0] not in facts.denied_commands:
        facts.denied_commands.append(command[0])


async def _look(client: Client, topology: Topology, keys: Keys, facts: RedisFacts) -> None:
    """Look for workers' keys, for what is there in their place, and for the windows of clients."""
    try:
        names = {name async for key in _scan(client, "worker:*", facts) if (name := worker_id(key))}
        facts.workers = len(names)
        if not names:
            prefix = keys.check(b"").removesuffix(b"check:")
            found = Counter([_kind(key) async for key in _scan(client, "*", facts) if not key.startswith(prefix)])
            likely = Counter(
                {kind: n for kind, n in found.items() if "worker" in kind.lower() or "gpu" in kind.lower()}
            )
            facts.others = (likely or found).most_common(MAX_KINDS)
            facts.elsewhere = await _elsewhere(topology)
        await _windows(client, keys, facts)
    except exceptions.NoPermissionError:
        facts.denied_commands += [] if "SCAN" in facts.denied_commands else ["SCAN"]


async def _scan(client: Client, pattern: str, facts: RedisFacts, seconds: float | None = None) -> AsyncIterator[bytes]:
    end = monotonic() + (SCAN_S if seconds is None else seconds)
    async for page in admin.scan(client, pattern):
        for key in page:
            yield key
        if monotonic() > end:
            facts.is_complete = False
            return


def _kind(key: bytes) -> str:
    """A key's name without what tells one from another: `gpu-worker:*:status`."""
    text = key[:100].decode("ascii", "replace")
    parts = text.split(":")
    if len(parts) > 2:
        return ":".join([parts[0], *["*"] * (len(parts) - 2), parts[-1] if parts[-1].isalpha() else "*"])
    return ":".join([_VARIABLE.sub("*", parts[0]), *["*"] * (len(parts) - 1)])


async def _elsewhere(topology: Topology) -> int | None:
    """The database that holds workers' keys; None if none does, or there is but one."""
    if topology.kind != "standalone":
        return None
    server = await topology.master()
    for number in range(DATABASES):
        if number == server.db:
            continue
        try:
            async with client_of(replace(server, db=number)) as client:
                facts = RedisFacts("")
                async for key in _scan(client, "worker:*", facts, BRIEF_SCAN_S):
                    if worker_id(key):
                        return number
        except exceptions.RedisError:  # it has no such database
            return None
    return None


async def _windows(client: Client, keys: Keys, facts: RedisFacts) -> None:
    start = keys.ratelimit(b"")
    found = [key async for key in _scan(client, f"{start.decode()}*", facts) if _is_address(key.removeprefix(start))]
    for key in found[:MAX_WINDOWS]:
        count = await client.execute_command("ZCARD", key)
        facts.windows[key.removeprefix(start).decode()] = int(count)


def _is_address(text: bytes) -> bool:
    try:
        ip_address(text.decode("ascii", "replace"))
    except ValueError:
        return False
    return True


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
