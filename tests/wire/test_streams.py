"""Streams are passed on as they come, and no transfer fills memory, however slow either side is."""

from __future__ import annotations

import hashlib
import resource
import selectors
import socket
import threading
import time

import pytest

from tests.support.processes import Gateway
from tests.support.raw_client import RawClient, request
from tests.support.wait import until

MIB = 1024 * 1024
GROWTH_LIMIT = 16 * MIB


def test_each_event_arrives_before_the_next_is_sent(gateway):
    with RawClient(gateway.port) as client:
        client.send(b"GET /events?n=4&every=0.2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data, delays = b"", []
        while True:
            more = client.sock.recv(65536)
            if not more:
                break
            data += more
            if b"data: " in more:
                sent = float(more.partition(b"data: ")[2].split()[1])
                delays.append(time.time() - sent)
    assert len(delays) == 4  # one piece each: nothing was held back
    assert max(delays) < 0.15


def test_an_event_streams_head_arrives_before_any_event(to_scripted, scripted):
    def handle(connection):
        connection.head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        connection.until_closed()

    scripted.use(handle)
    with RawClient(to_scripted.port) as client:
        begun = time.monotonic()
        client.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.sock.recv(12) == b"HTTP/1.1 200"
        assert time.monotonic() - begun < 0.4


def test_both_directions_flow_at_once(to_scripted, scripted):
    """The backend answers piece by piece while the request's body still comes."""

    def handle(connection):
        connection.head()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            got, connection.data = connection.data or connection.sock.recv(100), b""
            connection.send(b"%x\r\n%b\r\n" % (len(got), got))
        connection.send(b"0\r\n\r\n")

    scripted.use(handle)
    with RawClient(to_scripted.port) as client:
        client.send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        data = b""
        for piece in (b"one", b"two", b"six"):
            client.send(piece)
            data = until(lambda: _grow(client, data, piece), 2)  # noqa: B023 - used at once
    assert data.index(b"one") < data.index(b"two") < data.index(b"six")


def _grow(client, data, expected):
    data += client.sock.recv(1000)
    return data if expected in data else None


class Growth:
    """The most that a worker's memory grew by, looked at every 20 ms."""

    def __init__(self, gateway):
        self._worker = gateway.worker()
        self._start = self._worker.memory_info().rss
        self.most = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self):
        while not self._done.wait(0.02):
            self.most = max(self.most, self._worker.memory_info().rss - self._start)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()


@pytest.fixture
def fresh(backend):
    """A gateway of its own that has already served something, so that growth is the transfer's."""
    with Gateway(backend.url, MAX_BODY_BYTES=2048 * MIB) as gateway:
        for _ in range(20):
            request(gateway.port, "/sized?size=300000")
            request(gateway.port, "/up", "POST", body=b"x" * 300000)
        yield gateway


@pytest.mark.parametrize("framing", ["", "&chunked=1"], ids=["length", "chunked"])
def test_a_slow_reader_does_not_fill_memory(fresh, framing, record_property):
    """1 GiB is offered to a client that takes 1 MiB/s: looked at for some seconds, in which all would have come."""
    with Growth(fresh) as growth, RawClient(fresh.port) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.send(f"GET /sized?size={1024 * MIB}{framing} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        taken, until_time = 0, time.monotonic() + 4
        while time.monotonic() < until_time:
            taken += len(client.sock.recv(MIB // 20))
            time.sleep(0.05)
        assert taken > MIB
    record_property("growth_mib", round(growth.most / MIB, 2))
    assert growth.most < GROWTH_LIMIT


def test_a_slow_backend_does_not_fill_memory_with_an_upload(fresh, record_property):
    """1 GiB is offered to a backend that reads every 50 ms."""
    with Growth(fresh) as growth, RawClient(fresh.port) as client:
        client.sock.settimeout(0.5)
        client.send(f"POST /up?read_every=0.05 HTTP/1.1\r\nHost: x\r\nContent-Length: {1024 * MIB}\r\n\r\n".encode())
        sent, until_time = 0, time.monotonic() + 4
        piece = b"x" * 65536
        while time.monotonic() < until_time:
            try:
                sent += client.sock.send(piece)
            except TimeoutError:
                continue
        assert sent < 200 * MIB  # it was held back
    record_property("growth_mib", round(growth.most / MIB, 2))
    assert growth.most < GROWTH_LIMIT


def test_a_large_transfer_at_full_speed_is_whole_and_needs_no_memory(fresh):
    size = 256 * MIB
    with Growth(fresh) as growth, RawClient(fresh.port) as client:
        client.send(f"GET /sized?size={size} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, rest = client.sock.recv(65536).partition(b"\r\n\r\n")
        assert f"content-length: {size}".encode() in head.lower()
        got = len(rest)
        while more := client.sock.recv(MIB):
            got += len(more)
    assert got == size
    assert growth.most < GROWTH_LIMIT


def test_a_large_upload_arrives_whole(fresh, seen):
    size, digest = 64 * MIB, hashlib.sha256()
    with RawClient(fresh.port) as client:
        client.send(f"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode())
        piece = bytes(range(256)) * 256
        for _ in range(size // len(piece)):
            digest.update(piece)
            client.send(piece)
        assert client.response("POST").json["sha256"] == digest.hexdigest()


def open_streams(gateway, count, events):
    """Open `count` event streams; returns how many have received `events` events each within the time."""
    selector = selectors.DefaultSelector()
    for number in range(count):
        sock = socket.create_connection(("127.0.0.1", gateway.port))
        sock.send(b"GET /events?n=100&every=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, [0])
        if number % 100 == 99:
            time.sleep(0.1)
    deadline = time.monotonic() + 45
    delivered = 0
    while delivered < count and time.monotonic() < deadline:
        for key, _ in selector.select(0.5):
            data = key.fileobj.recv(65536)
            key.data[0] += data.count(b"data: ")
            if key.data[0] >= events:
                delivered += 1
                selector.unregister(key.fileobj)
                key.data.append(key.fileobj)
                OPEN.append(key.fileobj)
    return delivered


OPEN: list[socket.socket] = []


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.bench)])
def test_many_event_streams_all_deliver_in_bounded_memory(backend, count, record_property):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 10_000), hard))
    try:
        with Gateway(backend.url, FASTAPI_POOL_SIZE=4000) as gateway:
            request(gateway.port, "/x")
            before = gateway.worker().memory_info().rss
            assert open_streams(gateway, count, events=3) == count
            each_kib = (gateway.worker().memory_info().rss - before) / count / 1024
            record_property("kib_per_stream", round(each_kib, 1))
            assert each_kib < 60
            while OPEN:
                OPEN.pop().close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
