"""The calls of admission.lua, as they go on the wire. Pure. What does not change from call to call is packed once."""

from __future__ import annotations

from typing import Final

from fastgw.store.link import pack
from fastgw.store.scripts import load

SCRIPT: Final = load("fastgw.admission", "admission.lua")

TOO_LATE: Final = -1
"""The `admitted` of a call that came after its deadline."""

NO_LIMIT: Final = (b"0", b"0", b"0")
NO_LOOKUP: Final = (b"0", b"", b"", b"", b"0", b"0")
"""Arguments of a call that is for the other half alone."""

_ARGUMENTS: Final = len(NO_LIMIT) + len(NO_LOOKUP)
_DEADLINE_DIGITS: Final = 16
"""Microseconds since the epoch, until the year 2286."""


def _bulks(*words: bytes) -> bytes:
    """Words as RESP bulk strings, without the line that counts them."""
    return pack(words).partition(b"\r\n")[2]


_ONE_KEY: Final = b"*%d\r\n%b$%%d\r\n%%b\r\n$%d\r\n%%b\r\n%%b" % (
    4 + _ARGUMENTS,
    _bulks(b"EVALSHA", SCRIPT.sha, b"1"),
    _DEADLINE_DIGITS,
)


def limit_tail(requests: int, window_us: int) -> bytes:
    """What ends a call for a limit alone: all but the window and the deadline."""
    return _bulks(b"%d" % requests, b"%d" % window_us, *NO_LOOKUP)


def limit_call(window: bytes, not_after: bytes, tail: bytes) -> bytes:
    """A call for a limit alone. 0.4 us, where packing its 13 words anew takes 1.7."""
    return _ONE_KEY % (len(window), window, not_after, tail)
