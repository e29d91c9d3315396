"""W3C Trace Context, level 2 (https://www.w3.org/TR/trace-context-2/): what a request's trace fields say. Pure.

Ids are lower-case hex, as on the wire: 32 digits of the trace, 16 of the span.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

SAMPLED: Final = 0x01
RANDOM: Final = 0x02
"""The trace id's last 7 bytes are random (level 2): samplers downstream may go by them."""

MAX_STATE_BYTES: Final = 512
"""What every party must be able to carry on (3.3.1.5); a longer tracestate is dropped whole, which is allowed."""

MAX_STATE_MEMBERS: Final = 32

_PARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16

_KEY: Final = rb"[a-z0-9][a-z0-9_\-*/@]{0,255}"
_VALUE: Final = rb"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER: Final = re.compile(_KEY + b"=" + _VALUE)


class Parent(NamedTuple):
    """Who called. flags: SAMPLED, RANDOM."""

    trace_id: bytes
    span_id: bytes
    flags: int


def parse(value: bytes) -> Parent | None:
    """A traceparent; None if it is none, and must be ignored (3.2.2).

    Of a version that we do not know, what version 00 defines counts, and whatever follows it is dropped (3.2.4).
    """
    match = _PARENT.fullmatch(value)
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == b"ff" or (version == b"00" and rest is not None) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return Parent(trace_id, span_id, int(flags, 16) & (SAMPLED | RANDOM))


def state(lines: list[bytes]) -> bytes:
    """The tracestate to pass on: its lines joined, empty members left out; b"" if there is none, or it is malformed.

    Vendors' members are kept as they are, in their order (3.3.1); a key may stand once.
    """
    joined = b",".join(lines)
    if len(joined) > MAX_STATE_BYTES:
        return b""
    members = [member.strip(b" \t") for member in joined.split(b",")]
    members = [member for member in members if member]
    keys = {member.partition(b"=")[0] for member in members}
    if len(members) > MAX_STATE_MEMBERS or len(keys) != len(members):
        return b""
    if not all(_MEMBER.fullmatch(member) for member in members):
        return b""
    return b",".join(members)
