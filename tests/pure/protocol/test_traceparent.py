"""W3C Trace Context, level 2: what is valid, what is ignored, what is kept."""

from __future__ import annotations

import pytest

from fastgw.protocol.traceparent import MAX_STATE_BYTES, MAX_STATE_MEMBERS, RANDOM, SAMPLED, Parent, parse, state

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (b"00-%b-%b-00" % (TRACE, SPAN), 0),
        (b"00-%b-%b-01" % (TRACE, SPAN), SAMPLED),
        (b"00-%b-%b-03" % (TRACE, SPAN), SAMPLED | RANDOM),
        (b"00-%b-%b-ff" % (TRACE, SPAN), SAMPLED | RANDOM),
        (b"01-%b-%b-01" % (TRACE, SPAN), SAMPLED),
        (b"cc-%b-%b-01-what-the-future-will-be-like" % (TRACE, SPAN), SAMPLED),
        (b"fe-%b-%b-01-" % (TRACE, SPAN), SAMPLED),
    ],
)
def test_valid(value: bytes, flags: int) -> None:
    assert parse(value) == Parent(TRACE, SPAN, flags)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        b"00-%b-%b" % (TRACE, SPAN),
        b"00-%b-%b-1" % (TRACE, SPAN),
        b"00-%b-%b-01-" % (TRACE, SPAN),
        b"00-%b-%b-01-x" % (TRACE, SPAN),
        b"01-%b-%b-01x" % (TRACE, SPAN),
        b"ff-%b-%b-01" % (TRACE, SPAN),
        b"00-%b-%b-01" % (TRACE.upper(), SPAN),
        b"00-%b-%b-0X" % (TRACE, SPAN),
        b"00-%b-%b-01" % (b"0" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00-%b-%b-01" % (TRACE[:-1], SPAN),
        b"00-%b-%b-01, 00-%b-%b-01" % (TRACE, SPAN, TRACE, SPAN),
        b" 00-%b-%b-01" % (TRACE, SPAN),
        b"00_%b_%b_01" % (TRACE, SPAN),
        b"0" * 100_000,
    ],
)
def test_invalid(value: bytes) -> None:
    assert parse(value) is None


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ([], b""),
        ([b"a=1"], b"a=1"),
        ([b"a=1,b=2", b"c=3"], b"a=1,b=2,c=3"),
        ([b" a=1 ,\t,b=2 ,"], b"a=1,b=2"),
        ([b"fw529a3039@dt=FfAAAA,rojo=00f067aa0ba902b7"], b"fw529a3039@dt=FfAAAA,rojo=00f067aa0ba902b7"),
        ([b"a=1,a=2"], b""),
        ([b"A=1"], b""),
        ([b"a"], b""),
        ([b"a="], b""),
        ([b"a=b=c"], b""),
        ([b"a=\x01"], b""),
        ([b",".join(b"k%d=v" % number for number in range(MAX_STATE_MEMBERS))], None),
        ([b",".join(b"k%d=v" % number for number in range(MAX_STATE_MEMBERS + 1))], b""),
        ([b"a=" + b"x" * MAX_STATE_BYTES], b""),
    ],
)
def test_state(lines: list[bytes], kept: bytes | None) -> None:
    assert state(lines) == (lines[0] if kept is None else kept)
