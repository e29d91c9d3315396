"""What becomes of a claim: the sink that deliver hands the backend's response to, around the cache's own.

The same methods as cache/fetch.py's sinks; x.fetch as it was before is told all of it too.

end        the response is complete: it is kept, whatever its status, and on the wire to Redis before the client has it
rescue     there is no response, and the client is about to be told so: given back if nothing was sent, else unknown
broken     in any case at the end; the same, where it was not told before
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from fastgw.idempotency.record import MAX_BODY_BYTES, Kept, done_record, kept_fields, unknown_record
from fastgw.protocol.fields import first

if TYPE_CHECKING:
    from fastgw.exchange import Exchange
    from fastgw.idempotency.ledger import Held, Ledger
    from fastgw.protocol.fields import Fields
    from fastgw.respond import Answer

log = logging.getLogger("fastgw.idempotency")


class Settle:
    """The sink of one request that holds a claim."""

    __slots__ = ("_claim", "_fields", "_inner", "_ledger", "_pieces", "_size", "_status", "_x")

    def __init__(self, ledger: Ledger, claim: Held, x: Exchange) -> None:
        """Puts itself around x.fetch."""
        self._ledger = ledger
        self._claim: Held | None = claim
        self._x = x
        self._inner: Any = x.fetch
        self._status = 0
        self._fields: Fields = []
        self._pieces: list[bytes] | None = []  # None: too large to be kept
        self._size = 0

    def on_head(self, x: Exchange, status: int, fields: Fields) -> Answer | None:
        """The response's head."""
        if self._inner is not None:
            instead: Answer | None = self._inner.on_head(x, status, fields)
            if instead is not None:
                return instead
        self._status, self._fields = status, fields
        length = first(fields, b"content-length")
        is_too_long = length is not None and length.isdigit() and int(length) > MAX_BODY_BYTES
        self._pieces, self._size = None if is_too_long else [], 0
        return None

    def piece(self, data: bytes) -> None:
        """A part of the body."""
        if self._inner is not None:
            self._inner.piece(data)
        if self._pieces is not None:
            self._size += len(data)
            if self._size <= MAX_BODY_BYTES:
                self._pieces.append(data)
            else:
                self._pieces = None

    def end(self, x: Exchange) -> None:
        """The response is complete."""
        if self._inner is not None:
            self._inner.end(x)
        claim, self._claim = self._claim, None
        if claim is None:
            return
        fields = kept_fields(self._fields)
        short = done_record(claim.holder, claim.fingerprint, Kept(self._status, fields, None))
        record = short
        if self._pieces is not None:
            kept = Kept(self._status, fields, b"".join(self._pieces))
            record = done_record(claim.holder, claim.fingerprint, kept)
            self._pieces = None
        self._ledger.settle(claim, record, short)

    def rescue(self, x: Exchange) -> Answer | None:
        """There is no response. An Answer is what the cache has instead."""
        self._give_up()
        answer: Answer | None = self._inner.rescue(x) if self._inner is not None else None
        return answer

    def without_storing(self) -> Settle:
        """The cache is to store nothing; the claim is settled all the same."""
        if self._inner is not None:
            self._inner = self._inner.without_storing()
        return self

    def broken(self) -> None:
        """The end, whatever happened; nothing to do if `end` was reached."""
        self._give_up()
        if self._inner is not None:
            self._inner.broken()

    def _give_up(self) -> None:
        """No complete response: back if provably nothing was sent, else nobody knows whether it ran."""
        claim, self._claim = self._claim, None
        if claim is None:
            return
        if self._x.was_sent:
            self._ledger.settle(claim, unknown_record(claim.holder, claim.fingerprint))
            log.warning(
                "request %s: sent, and not answered whole; the outcome of its Idempotency-Key is unknown",
                self._x.request_id.decode(),
            )
        else:
            self._ledger.settle(claim, b"")
