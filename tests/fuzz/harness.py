"""Byte soup for ResponseReader: any of it is accepted, or is a ProtocolFault; nothing else, and never a lie."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Final

from fastgw.upstream.errors import ProtocolFault
from fastgw.upstream.http1 import ResponseReader

METHODS: Final = (b"GET", b"HEAD")

PARTS: Final = (
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n",
    b"HTTP/1.1 304 Not Modified\r\n",
    b"HTTP/1.1 101 Switching\r\n",
    b"HTTP/1.1 099 Low\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 5 \r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive, upgrade\r\nUpgrade: h2c\r\n",
    b"Content-Type: text/event-stream\r\n",
    b"X-A: b\r\n",
    b" folded\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b"hello",
    b"5\r\nhello\r\n",
    b"5;x=y\r\nhello\r\n",
    b"ffffffffffffffff\r\n",
    b"0\r\n\r\n",
    b"0\r\nX-T: 1\r\n\r\n",
)


@dataclass(frozen=True)
class Outcome:
    """What a reader made of some bytes. A fault hides all but the body that had come before it."""

    fault: bool
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    length: int | None
    complete: bool
    complete_at_eof: bool
    body: bytes


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """The data in pieces that end at these positions."""
    edges = [0, *sorted(at), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


def outcome(pieces: list[bytes], method: bytes) -> Outcome:
    """Feed the pieces, checking after each what must always hold; then end the file."""
    reader = ResponseReader()
    reader.begin(method)
    body = b""
    was_complete = False
    try:
        for data in pieces:
            reader.feed(data)
            assert reader.buffered == sum(map(len, reader.chunks)), "buffered is not what waits"
            body += reader.take()
            _check(reader, body, method)
            assert reader.complete or not was_complete, "a complete response became incomplete"
            was_complete = reader.complete
    except ProtocolFault as fault:
        assert fault.reason, "a fault without a reason"  # noqa: PT017 - the fault is one of two good outcomes
        assert not was_complete, "a complete response was spoilt by what came behind it"
        assert not reader.complete, "complete and faulty at once"
        return Outcome(True, 0, (), None, False, False, b"")
    complete = reader.complete
    at_eof = reader.eof()
    assert at_eof is reader.complete
    assert not reader.reusable
    if at_eof:
        _check(reader, body, method)
    return Outcome(False, reader.status, tuple(reader.headers), reader.length, complete, at_eof, body)


def _check(reader: ResponseReader, body: bytes, method: bytes) -> None:
    """What must hold after every piece."""
    if not reader.head_complete:
        assert not body, "a body before its head"
        assert not reader.complete, "complete without a head"
        return
    assert 200 <= reader.status <= 999, "an interim or impossible status was taken for the answer"
    bodiless = method == b"HEAD" or reader.status in {204, 304}
    assert not (bodiless and body), "a body where there can be none"
    if reader.length is not None:
        assert len(body) <= reader.length, "more body than Content-Length"
        if reader.complete and not bodiless:
            assert len(body) == reader.length, "a truncated body was marked complete"


def soup(random: Random) -> bytes:
    """Parts of responses in a likely or an unlikely order, with a few bytes changed."""
    data = b"".join(random.choices(PARTS, k=random.randint(1, 12)))
    if random.random() < 0.6:
        data = random.choice(PARTS[:2]) + b"".join(random.choices(PARTS[8:17], k=random.randint(0, 3))) + b"\r\n" + data
    return mutated(data, random) if random.random() < 0.5 else data


def mutated(data: bytes, random: Random) -> bytes:
    """One to four bytes changed, inserted or removed, or a piece repeated."""
    out = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(out) + 1)
        what = random.randrange(4)
        if what == 0:
            out[at : at + 1] = bytes([random.randrange(256)])
        elif what == 1:
            out.insert(at, random.choice(b"\r\n :;0\x00\tAf"))
        elif what == 2:
            del out[at : at + random.randint(1, 3)]
        else:
            out[at:at] = out[at : at + random.randint(1, 20)]
    return bytes(out)


def check(data: bytes, random: Random) -> None:
    """The invariants, and that how the bytes are cut makes no difference."""
    for method in METHODS:
        whole = outcome([data] if data else [], method)
        ways = [list(range(len(data)))] + [
            [random.randrange(len(data) + 1) for _ in range(random.randint(1, 5))] for _ in range(3)
        ]
        for at in ways:
            assert outcome(cut(data, at), method) == whole, f"cut at {sorted(at)} it reads differently"
