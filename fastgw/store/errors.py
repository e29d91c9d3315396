"""What can go wrong between a process and Redis."""

from __future__ import annotations


class StoreError(Exception):
    """Base of all failures of a call to Redis. str() is one line without secrets."""


class StoreDown(StoreError):
    """There is no connection, or no answer came in time. Whether Redis ran the call is not known."""


class ReplyFailed(StoreError):
    """Redis answered with an error. `code` is its first word: OOM, NOPERM, READONLY, MOVED, WRONGTYPE, ERR ..."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.partition(" ")[0]
