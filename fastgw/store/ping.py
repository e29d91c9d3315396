"""Is Redis there, and how fast does it answer? Cold: opens a connection, asks, closes it.

Addresses that redis-py does not know by itself:
    redis+sentinel://[user:password@]host[:26379][,host...]/service[/db]    the master of that service
    redis+cluster://[user:password@]host[:6379][,host...]                   the first node that answers
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
DIRECT_SCHEMES: Final = ("redis", "rediss", "unix")
_ONCE: Final = Retry(NoBackoff(), 0)  # redis-py would try for seconds; whoever asks for health wants to know now


class StoreUnreachable(Exception):
    """Redis did not answer; str() is one line: where, why, and what to look at. Never a password."""


async def ping(url: str, password: str | None, timeout_s: float) -> float:
    """Measure one PING's round trip on a fresh connection, in ms; connecting is not counted.

    password: used where the URL holds none. timeout_s: seconds for all of it, connecting and finding the master too.
    Raises StoreUnreachable if the URL can't be read, nothing answers in time, or the credentials are refused.
    """
    where = describe(url)
    try:
        async with asyncio.timeout(timeout_s):
            return await _first_answer(url, password)
    except TimeoutError:
        reason = f"no answer within {timeout_s:g} s; check that Redis runs there and no firewall is between"
    except MasterNotFoundError:
        reason = "no sentinel that answered knows the master; check the hosts and the service name in REDIS_URL"
    except (exceptions.RedisError, OSError) as error:
        reason = _cause(error)
    except ValueError:  # its text may quote a part of the password
        reason = "the address can't be read; write it as redis://host:6379/0, with special characters %-encoded"
    raise StoreUnreachable(f"{where}: {reason}") from None  # the chained error could show what the line leaves out


def describe(url: str) -> str:
    """Reduce a REDIS_URL to what may be shown: scheme, hosts and path, without user, password and query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "REDIS_URL"
    hosts = parts.netloc.rpartition("@")[2]
    if not parts.scheme or (not hosts and not parts.path) or "@" in parts.path:  # an unencoded "/" in a password
        return "REDIS_URL"
    return f"{parts.scheme}://{hosts}{parts.path}"


async def _first_answer(url: str, password: str | None) -> float:
    last: Exception | None = None
    async for client in _candidates(url, password):
        async with client:
            try:
                await client.ping()  # connects and logs in
                start = time.perf_counter()
                await client.ping()
                return (time.perf_counter() - start) * 1000
            except (exceptions.ConnectionError, OSError) as error:
                last = error
    raise last or exceptions.ConnectionError("it names no server")


async def _candidates(url: str, password: str | None) -> AsyncIterator[Redis]:
    """Yield clients to try in turn, each to be closed by the caller."""
    parts = urlsplit(url)
    given = unquote(parts.password) if parts.password else password
    user = unquote(parts.username) if parts.username else None
    if parts.scheme in DIRECT_SCHEMES:
        client = Redis.from_url(url, retry=_ONCE)
        if not parts.password and password:
            client.connection_pool.connection_kwargs["password"] = password
        yield client
    elif parts.scheme == "redis+cluster":
        for host, port in _nodes(parts.netloc, REDIS_PORT):
            yield Redis(host=host, port=port, username=user, password=given, retry=_ONCE)
    elif parts.scheme == "redis+sentinel":
        service, _, database = parts.path.strip("/").partition("/")
        sentinel = Sentinel(_nodes(parts.netloc, SENTINEL_PORT), sentinel_kwargs={"retry": _ONCE})  # type: ignore[no-untyped-call]  # redis-py lacks it
        try:
            host, port = await sentinel.discover_master(service)
        finally:
            for watcher in sentinel.sentinels:
                await watcher.aclose()
        yield Redis(host=host, port=port, db=int(database or 0), username=user, password=given, retry=_ONCE)
    else:
        raise ValueError(parts.scheme)


def _nodes(netloc: str, default_port: int) -> list[tuple[str, int]]:
    """Split `user:password@a:1,b,[::1]:2` into hosts and ports. Raises ValueError on what is no port."""
    nodes = []
    for text in netloc.rpartition("@")[2].split(","):
        node = urlsplit(f"//{text.strip()}")
        if node.hostname:
            nodes.append((node.hostname, node.port or default_port))
    return nodes


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
