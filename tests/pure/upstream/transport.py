"""The seam between a Connection and the event loop: a transport that records, and a loop that connects by hand."""

from __future__ import annotations

import asyncio
from typing import Any

from fastgw.upstream.connection import Connection


class RecordingTransport(asyncio.Transport):
    """Notes what is asked of it. Like a real one, it tells of its loss in the loop's next turn."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol = protocol
        self.writes: list[bytes] = []
        self.reading = True
        self.aborted = False

    def write(self, data: Any) -> None:
        assert not self.aborted, "written to after its end"
        self.writes.append(bytes(data))

    def abort(self) -> None:
        if not self.aborted:
            self.aborted = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def is_closing(self) -> bool:
        return self.aborted


class Link:
    """One connection being made: to be finished by `made` or `refused`."""

    def __init__(self, protocol: Connection, done: asyncio.Future[None]) -> None:
        self.connection = protocol
        self.transport = RecordingTransport(protocol)
        self._done = done

    def made(self) -> Link:
        self.connection.connection_made(self.transport)
        self._done.set_result(None)
        return self

    def refused(self, error: OSError) -> None:
        self._done.set_exception(error)


class HandLoop:
    """The running loop, but `create_connection` waits until the test says how it goes."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.links: list[Link] = []
        self.at_once = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(self, factory: Any, host: str, port: int, ssl: Any = None) -> tuple[Any, Any]:
        link = Link(factory(), self._loop.create_future())
        self.links.append(link)
        if self.at_once:
            link.made()
        await link._done
        return link.transport, link.connection


def opened(requests: int = 0) -> tuple[Connection, RecordingTransport, list[Connection]]:
    """An ACTIVE connection, its transport, and the list in which its end is noted."""
    ended: list[Connection] = []
    connection = Connection(0, ended.append)
    transport = RecordingTransport(connection)
    connection.connection_made(transport)
    connection.activate()
    connection.requests = requests
    return connection, transport, ended


async def turns(count: int = 5) -> None:
    """Let the loop run what is ready."""
    for _ in range(count):
        await asyncio.sleep(0)
