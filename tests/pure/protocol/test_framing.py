"""Which bytes are the body of a request."""

from __future__ import annotations

import pytest

from fastgw.protocol.fields import MalformedRequest
from fastgw.protocol.framing import NO_BODY, UNKNOWN_LENGTH, body_length

CL, TE = b"content-length", b"transfer-encoding"


@pytest.mark.parametrize(
    ("fields", "version", "length"),
    [
        ([], "1.1", NO_BODY),
        ([], "1.0", NO_BODY),
        ([], "2", UNKNOWN_LENGTH),
        ([(CL, b"0")], "1.1", 0),
        ([(CL, b"12")], "1.0", 12),
        ([(CL, b"12")], "2", 12),
        ([(TE, b"chunked")], "1.1", UNKNOWN_LENGTH),
        ([(TE, b"Chunked")], "1.1", UNKNOWN_LENGTH),
        ([(b"host", b"a"), (CL, b"3"), (b"via", b"b")], "1.1", 3),
    ],
    ids=["none", "none_1_0", "none_2", "zero", "length_1_0", "length_2", "chunked", "capitals", "among_others"],
)
def test_one_reading(fields: list[tuple[bytes, bytes]], version: str, length: int) -> None:
    assert body_length(fields, version) == length


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ([(CL, b"3"), (TE, b"chunked")], "1.1"),
        ([(TE, b"chunked"), (CL, b"3")], "1.1"),
        ([(CL, b"3"), (CL, b"3")], "1.1"),
        ([(CL, b"3"), (CL, b"4")], "1.1"),
        ([(CL, b"3,3")], "1.1"),
        ([(CL, b"-1")], "1.1"),
        ([(CL, b"")], "1.1"),
        ([(TE, b"gzip")], "1.1"),
        ([(TE, b"gzip, chunked")], "1.1"),
        ([(TE, b"chunked, chunked")], "1.1"),
        ([(TE, b"chunked"), (TE, b"chunked")], "1.1"),
        ([(TE, b"identity")], "1.1"),
        ([(TE, b" chunked")], "1.1"),
        ([(TE, b"chunked\x0b")], "1.1"),
        ([(TE, b"")], "1.1"),
        ([(TE, b"chunked")], "1.0"),
        ([(TE, b"chunked")], "2"),
    ],
    ids=[
        "length_and_chunked",
        "chunked_and_length",
        "equal_lengths",
        "two_lengths",
        "list",
        "negative",
        "empty",
        "gzip",
        "gzip_chunked",
        "chunked_twice",
        "two_codings",
        "identity",
        "blank_before",
        "vertical_tab",
        "empty_coding",
        "chunked_in_1_0",
        "chunked_in_2",
    ],
)
def test_two_readings_are_refused(fields: list[tuple[bytes, bytes]], version: str) -> None:
    with pytest.raises(MalformedRequest, match=r"Content-Length|Transfer-Encoding"):
        body_length(fields, version)
