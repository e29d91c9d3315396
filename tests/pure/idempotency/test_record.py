"""The record in Redis: what is kept of an answer, and that nothing else is believed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from fastgw.idempotency.record import (
    MAX_BODY_BYTES,
    MAX_RECORD_BYTES,
    Kept,
    decode,
    done_record,
    kept_fields,
    running_start,
    unknown_record,
)

PRINT = b"a1" * 32
HOLDER = b"3f2a9c0d1e4b.7"
JSON = (b"content-type", b"application/json")
HEAD = re.compile(r'^{"state":"([a-z]+)","holder":"([0-9a-z.]+)","print":"([0-9a-f]+)"')
"""What the scripts look for."""


def record(**changed: Any) -> bytes:
    content = {
        "state": "done",
        "holder": HOLDER.decode(),
        "print": PRINT.decode(),
        "status": 201,
        "fields": [["content-type", "application/json"]],
        "body": "{}",
    }
    return json.dumps({name: value for name, value in (content | changed).items() if value != "absent"}).encode()


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'"' * 1000, "grüße".encode(), b"\xff\x00", b"\x00" * 1000, b"a\r\n\tb", None, b"x" * MAX_BODY_BYTES],
)
def test_an_answer_comes_back_as_it_was(body: bytes | None) -> None:
    kept = Kept(201, [JSON, (b"x-bytes", b"caf\xe9"), (b"x-twice", b"1"), (b"x-twice", b"2")], body)
    data = done_record(HOLDER, PRINT, kept)
    assert decode(data, PRINT) == kept
    assert len(data) < MAX_RECORD_BYTES


def test_the_largest_record_can_be_read_again() -> None:
    fields = [(b"x-%d" % number, b"\xe9" * 8000) for number in range(8)]
    data = done_record(HOLDER, PRINT, Kept(200, fields, b'"' * MAX_BODY_BYTES))
    assert len(data) < MAX_RECORD_BYTES


def test_all_records_begin_as_the_scripts_expect() -> None:
    records = {
        "running": running_start(HOLDER, PRINT, 1_700_000_000_000),
        "unknown": unknown_record(HOLDER, PRINT),
        "done": done_record(HOLDER, PRINT, Kept(200, [], b"")),
    }
    for state, data in records.items():
        match = HEAD.match(data.decode())
        assert match is not None
        assert match.groups() == (state, HOLDER.decode(), PRINT.decode())
        assert match.end() < 200, "the scripts look at the first 256 bytes"
    assert json.loads(records["running"] + b"}")["since"] == 1_700_000_000_000
    assert json.loads(records["unknown"])["state"] == "unknown"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"done"',
        b"[" * 5000,
        b"\xff",
        record(state="running"),
        record(state="unknown"),
        record(print="b" * 64),
        record(print=None),
        record(holder=1),
        record(status=199),
        record(status=600),
        record(status="200"),
        record(status=True),
        record(status=200.0),
        record(fields={}),
        record(fields=[["a"]]),
        record(fields=[["a", "b", "c"]]),
        record(fields=[["a", 1]]),
        record(fields=[["A", "b"]]),
        record(fields=[["a b", "c"]]),
        record(fields=[["a", "b\r\nset-cookie: c=1"]]),
        record(fields=[["a", "\u0100"]]),
        record(fields=[["content-length", "5"]]),
        record(fields=[["transfer-encoding", "chunked"]]),
        record(fields=[["connection", "x"]]),
        record(fields=[["set-cookie", "a=1"]]),
        record(fields=[["x-gateway-version", "9"]]),
        record(fields=[["idempotency-replayed", "true"]]),
        record(body=1),
        record(body=["x"]),
        record(body="x" * (MAX_BODY_BYTES + 1)),
        record(body="\ud800"),
        record(body="absent"),
        record(body="absent", base64="a"),
        record(body="absent", base64="\u00e9"),
        record(body="absent", base64=None),
        record(base64="YQ=="),
        record(more=1),
        record(status=204),
        record(status="absent"),
    ],
)
def test_what_could_not_have_been_written_is_not_believed(data: bytes) -> None:
    assert decode(data, PRINT) is None


def test_of_two_fingerprints_the_one_that_json_gives_counts() -> None:
    assert decode(record().replace(b'"print"', b'"print": "%b", "print"' % (b"b" * 64)), PRINT) is not None
    assert decode(record(), b"b" * 64) is None


def test_fields_of_the_connection_and_the_moment_and_cookies_are_not_kept() -> None:
    fields = [
        JSON,
        (b"location", b"/api/v1/jobs/1"),
        (b"date", b"Mon, 01 Jan 2024 00:00:00 GMT"),
        (b"connection", b"x-hop"),
        (b"x-hop", b"1"),
        (b"transfer-encoding", b"chunked"),
        (b"content-length", b"2"),
        (b"set-cookie", b"session=secret"),
        (b"x-request-id", b"1"),
        (b"x-gateway-anything", b"1"),
        (b"x-ratelimit-limit", b"1"),
        (b"server-timing", b"db;dur=1"),
    ]
    assert [name for name, _ in kept_fields(fields)] == [b"content-type", b"location", b"date"]


def test_a_replay_says_so_and_is_framed() -> None:
    fields = Kept(201, [JSON], b"{}").replay_fields()
    assert fields[0] == JSON
    assert set(fields) >= {
        (b"idempotency-replayed", b"true"),
        (b"content-length", b"2"),
        (b"server", b"fastgw"),
        (b"via", b"1.1 fastgw"),
    }
    assert b"content-length" not in dict(Kept(204, [], b"").replay_fields())
    named = Kept(200, [(b"server", b"uvicorn")], b"").replay_fields()
    assert [value for name, value in named if name == b"server"] == [b"uvicorn"]
