"""The sink: when a claim is settled, and with what; and that the cache's own sink is told all the same."""

from __future__ import annotations

from typing import Any

import pytest

from fastgw.idempotency.ledger import Held
from fastgw.idempotency.record import MAX_BODY_BYTES, Kept, decode
from fastgw.idempotency.settle import Settle
from fastgw.respond import Answer
from tests.pure.asgi import accepted, exchange

PRINT = b"a" * 64


class Book:
    """In the ledger's place: what was settled."""

    def __init__(self) -> None:
        self.settled: list[bytes] = []
        self.short: list[bytes | None] = []

    def settle(self, claim: Held, record: bytes, short: bytes | None = None) -> None:
        self.settled.append(record)
        self.short.append(short)


class Inner:
    """In the place of the cache's sink: what it was told."""

    def __init__(self, instead: Answer | None = None) -> None:
        self.told: list[str] = []
        self.instead = instead

    def on_head(self, *_: Any) -> Answer | None:
        self.told.append("head")
        return self.instead

    def piece(self, _data: bytes) -> None:
        self.told.append("piece")

    def end(self, _x: Any) -> None:
        self.told.append("end")

    def rescue(self, _x: Any) -> Answer | None:
        self.told.append("rescue")
        return self.instead

    def without_storing(self) -> Inner | None:
        self.told.append("without")
        return None

    def broken(self) -> None:
        self.told.append("broken")


@pytest.fixture
def book() -> Book:
    return Book()


def sink(book: Book, inner: Any = None) -> tuple[Settle, Any]:
    x = accepted(exchange(method="POST"))
    x.fetch = inner
    settle = Settle(book, Held(b"key", PRINT, b"a.1"), x)  # type: ignore[arg-type]
    x.fetch = settle
    return settle, x


def answered(settle: Settle, x: Any, *pieces: bytes, status: int = 200, fields: Any = ()) -> None:
    x.was_sent = True
    assert settle.on_head(x, status, list(fields)) is None
    for piece in pieces:
        settle.piece(piece)
    settle.end(x)
    settle.broken()


def test_a_complete_answer_is_kept_once(book) -> None:
    settle, x = sink(book)
    answered(settle, x, b"he", b"llo", status=503, fields=[(b"content-length", b"5"), (b"x-mine", b"1")])
    (record,) = book.settled
    assert decode(record, PRINT) == Kept(503, [(b"x-mine", b"1")], b"hello")


@pytest.mark.parametrize("is_announced", [False, True])
def test_of_one_that_is_too_large_the_status_is_kept(book, is_announced) -> None:
    settle, x = sink(book)
    fields = [(b"content-length", b"%d" % (MAX_BODY_BYTES + 1))] if is_announced else []
    answered(settle, x, b"x" * MAX_BODY_BYTES, b"x", fields=fields)
    assert decode(book.settled[0], PRINT) == Kept(200, [], None)


def test_nothing_sent_gives_the_claim_back_before_the_client_is_told(book) -> None:
    settle, x = sink(book)
    assert settle.rescue(x) is None
    assert book.settled == [b""]
    settle.broken()
    assert len(book.settled) == 1


@pytest.mark.parametrize("has_head", [False, True])
def test_something_sent_and_no_whole_answer_is_unknown(book, has_head) -> None:
    settle, x = sink(book)
    x.was_sent = True
    if has_head:
        settle.on_head(x, 200, [])
        settle.piece(b"half")
    else:
        settle.rescue(x)
    settle.broken()
    (record,) = book.settled
    assert record.startswith(b'{"state":"unknown"')


def test_the_sink_inside_is_told_all(book) -> None:
    inner = Inner()
    settle, x = sink(book, inner)
    assert settle.without_storing() is settle
    answered(settle, x, b"x")
    assert inner.told == ["without"], "what wants nothing any more is told nothing"
    inner = Inner()
    settle, x = sink(book, inner)
    answered(settle, x, b"x")
    assert inner.told == ["head", "piece", "end", "broken"]
    settle, x = sink(book, inner := Inner(Answer(200, b"")))
    assert settle.rescue(x) is inner.instead
    assert settle.on_head(x, 200, []) is inner.instead
