"""What is kept, how it is written, and that nothing else is ever read."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import orjson
import pytest

from fastgw.cache.entry import (
    MIN_LIFETIME_MS,
    REVALIDATION_MS,
    STAMP_BYTES,
    Entry,
    Marker,
    decode,
    encode,
    make_entry,
    new_version,
    stamp,
    storable_fields,
    updated_fields,
)
from fastgw.cache.freshness import YEAR_S
from fastgw.cache.policy import NO_WISHES, STORABLE, Lifetime, Wishes, lifetime

NOW = 1_700_049_600_000
V = b"0123456789abcdef"
JSON = (b"content-type", b"application/json")
ETAG = (b"etag", b'"a"')
MODIFIED = (b"last-modified", b"Wed, 15 Nov 2023 11:00:00 GMT")
Field = tuple[bytes, bytes]


def entry(body: bytes = b'{"a": 1}', fields: tuple[Field, ...] = (JSON,), **how: Any) -> Entry:
    times = {"stored_ms": NOW, "age_ms": 0, "ttl_ms": 10_000, "swr_ms": 0, "sie_ms": 0} | how
    given = {"version": V, "status": 200, "must_revalidate": False, "is_shared": True} | times
    return Entry(fields=list(fields), body=body, **given)


def facts(one: Entry | Marker | None) -> dict[str, Any]:
    assert one is not None
    return {name: getattr(one, name) for name in one.__slots__}


# -- age and freshness ------------------------------------------------------------------------------------


def test_age() -> None:
    one = entry(age_ms=3_000)
    assert one.age_ms_at(NOW + 2_000) == 5_000
    assert one.age_ms_at(NOW) == 3_000
    assert one.age_ms_at(NOW - 60_000) == 3_000, "a clock that was set back makes nothing younger"


@pytest.mark.parametrize(
    ("after_ms", "wished", "fresh"),
    [
        (0, NO_WISHES, True),
        (9_999, NO_WISHES, True),
        (10_000, NO_WISHES, False),
        (0, Wishes(), True),
        (0, Wishes(no_cache=True), False),
        (5_000, Wishes(max_age_ms=5_000), True),
        (5_001, Wishes(max_age_ms=5_000), False),
        (0, Wishes(max_age_ms=0), True),
        (1, Wishes(max_age_ms=0), False),
        (5_000, Wishes(min_fresh_ms=5_000), True),
        (5_001, Wishes(min_fresh_ms=5_000), False),
        (0, Wishes(min_fresh_ms=2**31 * 1000), False),
        (10_000, Wishes(max_stale_ms=60_000), False),
        (10_000, Wishes(max_age_ms=60_000), False),
        (5_000, Wishes(max_age_ms=6_000, min_fresh_ms=6_000), False),
    ],
)
def test_freshness(after_ms: int, wished: Wishes, fresh: bool) -> None:
    """RFC 9111 4.2, 5.2.1."""
    assert entry().is_fresh(NOW + after_ms, wished) is fresh


def test_age_on_arrival_counts() -> None:
    one = entry(age_ms=9_000)
    assert one.is_fresh(NOW + 999, NO_WISHES)
    assert not one.is_fresh(NOW + 1_000, NO_WISHES)


@pytest.mark.parametrize(
    ("after_ms", "wished", "allowed"),
    [
        (10_000, NO_WISHES, True),
        (14_999, NO_WISHES, True),
        (15_000, NO_WISHES, False),
        (15_000, Wishes(max_stale_ms=5_000), True),
        (15_001, Wishes(max_stale_ms=5_000), False),
        (99_999, Wishes(max_stale_ms=2**31 * 1000), True),
        (10_000, Wishes(max_stale_ms=0), True),
        (10_000, Wishes(no_cache=True), False),
        (10_000, Wishes(no_cache=True, max_stale_ms=60_000), False),
        (10_000, Wishes(max_age_ms=60_000), False),
        (10_000, Wishes(max_age_ms=60_000, max_stale_ms=60_000), True),
        (10_001, Wishes(max_age_ms=10_000, max_stale_ms=60_000), False),
        (10_000, Wishes(min_fresh_ms=0), False),
    ],
)
def test_staleness(after_ms: int, wished: Wishes, allowed: bool) -> None:
    """RFC 5861 3; RFC 9111 5.2.1.1, 5.2.1.2."""
    assert entry(swr_ms=5_000).may_be_stale(NOW + after_ms, wished) is allowed
    assert not entry(swr_ms=5_000, must_revalidate=True).may_be_stale(NOW + after_ms, wished)


def test_staleness_without_a_window_is_the_client_s_choice() -> None:
    assert not entry().may_be_stale(NOW + 10_000, NO_WISHES)
    assert entry().may_be_stale(NOW + 10_000, Wishes(max_stale_ms=1_000))


def test_staleness_on_error() -> None:
    """RFC 5861 4."""
    one = entry(sie_ms=5_000)
    assert one.may_be_stale_on_error(NOW + 14_999)
    assert not one.may_be_stale_on_error(NOW + 15_000)
    assert not entry().may_be_stale_on_error(NOW + 10_000)
    assert not entry(swr_ms=5_000).may_be_stale_on_error(NOW + 10_000)
    assert not entry(sie_ms=5_000, must_revalidate=True).may_be_stale_on_error(NOW + 10_000)


@pytest.mark.parametrize(
    ("how", "fields", "lifetime_ms"),
    [
        ({}, (), 10_000),
        ({"age_ms": 4_000}, (), 6_000),
        ({"swr_ms": 5_000, "sie_ms": 7_000}, (), 17_000),
        ({"age_ms": 12_000, "swr_ms": 5_000}, (), 3_000),
        ({}, (ETAG,), 10_000 + REVALIDATION_MS),
        ({"age_ms": 99_000}, (MODIFIED,), REVALIDATION_MS),
        ({"ttl_ms": 0}, (ETAG,), REVALIDATION_MS),
        ({"ttl_ms": 1}, (), MIN_LIFETIME_MS),
    ],
    ids=["ttl", "less_age", "windows", "all_in_the_window", "validator", "stale_already", "no_cache", "least"],
)
def test_the_key_s_lifetime(how: dict[str, int], fields: tuple[Field, ...], lifetime_ms: int) -> None:
    assert entry(fields=(JSON, *fields), **how).lifetime_ms == lifetime_ms


def test_validators_are_the_first_of_their_kind() -> None:
    one = entry(fields=(JSON, ETAG, MODIFIED, (b"etag", b'"b"'), (b"last-modified", b"x")))
    assert (one.etag, one.last_modified, one.has_validator) == (b'"a"', MODIFIED[1], True)
    one = entry()
    assert (one.etag, one.last_modified, one.has_validator) == (None, None, False)


def test_size_counts_body_and_fields() -> None:
    small, large = entry(b""), entry(b"x" * 5_000, (JSON, (b"x-a", b"y" * 1_000)))
    assert small.size < 1_000
    assert 6_000 < large.size - small.size < 6_300


def test_repr_shows_no_content() -> None:
    shown = repr(entry(b"secret body", ((b"x-secret", b"secret value"),)))
    assert "secret" not in shown
    assert "0123456789abcdef" in shown


# -- fields -----------------------------------------------------------------------------------------------


def test_what_is_kept_of_a_response() -> None:
    kept = [JSON, ETAG, (b"date", b"d"), (b"server", b"uvicorn"), (b"cache-control", b"max-age=1"), (b"vary", b"a")]
    kept += [(b"x-process-time", b"1"), (b"link", b"a"), (b"link", b"b"), (b"cdn-cache-control", b"max-age=1")]
    dropped = [
        b"connection: keep-alive, X-Hop",
        b"x-hop: 1",
        b"keep-alive: timeout=5",
        b"transfer-encoding: chunked",
        b"trailer: x",
        b"upgrade: h2c",
        b"te: trailers",
        b"proxy-authenticate: Basic",
        b"proxy-authentication-info: x",
        b"content-length: 8",
        b"age: 5",
        b"via: 1.1 x",
        b"set-cookie: a=b",
        b"x-request-id: r",
        b"x-gateway-version: 1",
        b"x-gateway-duration: 1ms",
        b"x-gateway-cache: HIT",
        b"x-gateway-anything: 1",
        b"x-ratelimit-limit: 100",
        b"x-ratelimit-remaining: 1",
        b"ratelimit: x",
        b"ratelimit-policy: x",
        b"server-timing: x",
        b"cache-status: x; hit",
    ]
    fields = [(name, value) for name, _, value in (line.partition(b": ") for line in dropped)]
    assert storable_fields(fields[:12] + kept + fields[12:]) == kept


def test_connection_can_t_drop_all_of_it() -> None:
    """A Connection that names `date` drops it: its sender says that it is of this hop only."""
    assert storable_fields([(b"connection", b"close"), (b"connection", b"date"), (b"date", b"d"), JSON]) == [JSON]


def test_a_304_updates_fields() -> None:
    """RFC 9111 3.2, 4.3.4: all but what describes the stored bytes."""
    stored = [JSON, ETAG, (b"date", b"old"), (b"cache-control", b"max-age=1"), (b"link", b"1"), (b"link", b"2")]
    update = [
        (b"date", b"new"),
        (b"cache-control", b"max-age=9"),
        (b"link", b"3"),
        (b"x-new", b"n"),
        (b"etag", b'"b"'),
        (b"content-length", b"0"),
        (b"content-type", b"text/html"),
        (b"content-encoding", b"gzip"),
        (b"content-range", b"bytes 0-0/1"),
        (b"age", b"5"),
    ]
    assert updated_fields(stored, update) == [JSON, *update[:5], update[-1]]
    assert updated_fields(stored, []) == [one for one in stored if one[0] != b"date"]


def test_a_refreshed_entry() -> None:
    old = entry(fields=(JSON, ETAG, (b"date", b"old")), status=404, swr_ms=1)
    update = [(b"cache-control", b"max-age=60"), (b"age", b"7"), (b"set-cookie", b"a=b"), (b"x-request-id", b"r")]
    merged = updated_fields(old.fields, update[:2])
    life = lifetime(old.status, merged, has_credentials=False, default_ttl_s=None, now_wall_s=NOW / 1000)
    assert life == Lifetime(60_000, 7_000, 0, 0, must_revalidate=False, is_shared=True, vary=())
    new = old.refreshed(update, life, NOW + 5, b"f" * 16)
    assert new.fields == [JSON, ETAG, update[0]]
    assert (new.version, new.status, new.body, new.stored_ms) == (b"f" * 16, 404, old.body, NOW + 5)
    assert (new.ttl_ms, new.age_ms, new.swr_ms, new.etag) == (60_000, 7_000, 0, b'"a"')
    assert old.fields[-1] == (b"date", b"old"), "the old one is as it was: others may be serving it"


def test_a_304_that_forbids_to_keep_it_is_seen() -> None:
    merged = updated_fields([JSON, (b"cache-control", b"max-age=60")], [(b"cache-control", b"no-store")])
    assert lifetime(200, merged, has_credentials=False, default_ttl_s=None, now_wall_s=0) is None


# -- versions ---------------------------------------------------------------------------------------------


def test_a_stamp_is_how_the_value_begins() -> None:
    for value in (entry(), Marker(V, (), by_identity=True, lifetime_ms=1)):
        assert encode(value).startswith(stamp(V))
        assert len(stamp(V)) == STAMP_BYTES


def test_versions_differ() -> None:
    versions = {new_version() for _ in range(1_000)}
    assert len(versions) == 1_000
    assert all(decode(encode(Marker(one, (), by_identity=False, lifetime_ms=1))) for one in versions)


def test_children_of_one_parent_make_different_versions() -> None:
    """Workers may be forked; two of the same version would be taken for the same response."""
    script = """
import os
from fastgw.cache.entry import new_version
for _ in range(2):
    if os.fork() == 0:
        os.write(1, new_version() + b" ")
        os._exit(0)
    os.wait()
os.write(1, new_version())
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=30)
    versions = ran.stdout.split()
    assert len(versions) == len(set(versions)) == 3


# -- encode and decode ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"a": "\\u00e9 \\" \\\\"}',
        '{"name": "M\u00fcnchen \u6d4b\u8bd5 \U0001f600", "nl": "\u2028"}'.encode(),
        b"line\r\n\ttab",
        b"\xef\xbb\xbfbom",
        b"\x00",
        b"a\x00b\x01\x1f\x7f",
        b"\xff\xfe",
        b"\xc3",
        b"\xed\xa0\x80",
        bytes(range(256)) * 5,
        b"\x1f\x8b\x08\x00gzip",
    ],
    ids=repr,
)
def test_a_body_comes_back_byte_for_byte(body: bytes) -> None:
    found = decode(encode(entry(body)))
    assert isinstance(found, Entry)
    assert found.body == body


def test_all_of_an_entry_comes_back() -> None:
    one = entry(
        fields=(JSON, ETAG, MODIFIED, (b"x-latin", b"caf\xe9 \xff\x80"), (b"x-empty", b""), (b"x-tab", b"a\tb"), JSON),
        status=404,
        age_ms=1,
        ttl_ms=2,
        swr_ms=3,
        sie_ms=4,
        must_revalidate=True,
        is_shared=False,
    )
    assert facts(decode(encode(one))) == facts(one)


@pytest.mark.parametrize("status", sorted(STORABLE))
def test_every_storable_status_comes_back(status: int) -> None:
    found = decode(encode(entry(b"", status=status)))
    assert isinstance(found, Entry)
    assert found.status == status


@pytest.mark.parametrize(
    "marker",
    [
        Marker(V, (), by_identity=True, lifetime_ms=0),
        Marker(V, (b"accept", b"x-a"), by_identity=False, lifetime_ms=2 * YEAR_S * 1000),
    ],
    ids=["identity", "vary"],
)
def test_a_marker_comes_back(marker: Marker) -> None:
    assert facts(decode(encode(marker))) == facts(marker)


def test_the_longest_lifetimes_come_back() -> None:
    year = YEAR_S * 1000
    life = lifetime(200, [(b"age", b"9" * 12)], has_credentials=False, default_ttl_s=YEAR_S, now_wall_s=0)
    assert life is not None
    one = make_entry(200, [JSON], b"", life, (NOW, V))
    assert (one.ttl_ms, one.age_ms) == (2 * year, year)
    assert decode(encode(one)) is not None
    longest = entry(fields=(ETAG,), ttl_ms=2 * year, age_ms=year, swr_ms=year)
    assert decode(encode(Marker(V, (), by_identity=True, lifetime_ms=longest.lifetime_ms))) is not None


def test_people_can_read_it() -> None:
    """redis-cli GET gateway:cache:... shows JSON; the body is text where it is text."""
    shown = json.loads(encode(entry(b'{"queued": 3}')))
    assert next(iter(shown)) == "v"
    assert (shown["status"], shown["ttl"], shown["body"]) == (200, 10_000, '{"queued": 3}')
    assert shown["fields"] == [["content-type", "application/json"]]
    assert json.loads(encode(entry(b"\xff")))["base64"] == "/w=="


def test_5000_bytes_of_json_stay_under_6200() -> None:
    """The guide's estimate of 5 KB for each response includes little more."""
    jobs = [{"job_id": f"{n:032x}", "status": "completed", "region": "europe-west", "tokens": n} for n in range(46)]
    body = json.dumps({"jobs": jobs}).encode()
    assert 5_000 <= len(body) < 5_100
    fields = (JSON, (b"date", b"Wed, 15 Nov 2023 12:00:00 GMT"), (b"server", b"uvicorn"), ETAG)
    assert len(encode(entry(body, fields))) - (len(body) - 5_000) < 6_200


def test_control_characters_do_not_swell() -> None:
    """JSON takes six bytes for a NUL; base64 takes 4/3."""
    assert len(encode(entry(b"\x00" * 3_000))) < 4_500


def edited(**changes: Any) -> bytes:
    content = orjson.loads(encode(entry())) | changes
    return orjson.dumps({name: value for name, value in content.items() if value is not ...})


def edited_marker(**changes: Any) -> bytes:
    content = orjson.loads(encode(Marker(V, (b"accept",), by_identity=False, lifetime_ms=1_000))) | changes
    return orjson.dumps({name: value for name, value in content.items() if value is not ...})


def test_the_edits_below_start_from_something_good() -> None:
    assert isinstance(decode(edited()), Entry)
    assert isinstance(decode(edited_marker()), Marker)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b'"x"',
        b"garbage",
        b"\xff\xfe",
        b'{"v":"',
        b'{"v":"0123456789abcdef"',
        b'{"v":"0123456789abcdef"}',
        b'{"v":"x","v":1}',
        b' {"v":"0123456789abcdef"}',
        encode(entry())[:-1],
        encode(entry())[: len(encode(entry())) // 2],
        encode(entry()) + b"x",
        b"x" + encode(entry()),
        b'{"v":"' + b"[" * 100_000,
        b'{"status":200,"body":"hello"}',
    ],
    ids=lambda data: repr(data[:30]),
)
def test_what_we_did_not_write_is_nothing(data: bytes) -> None:
    assert decode(data) is None


def test_no_half_of_an_entry_is_read() -> None:
    whole = encode(entry(b"some body", (JSON, ETAG)))
    assert all(decode(whole[:end]) is None for end in range(len(whole)))


@pytest.mark.parametrize(
    "changes",
    [{name: ...} for name in ("status", "stored", "age", "ttl", "swr", "sie", "revalidate", "shared", "fields", "body")]
    + [{name: -1} for name in ("status", "stored", "age", "ttl", "swr", "sie")]
    + [{name: 2**60} for name in ("status", "stored", "age", "ttl", "swr", "sie")]
    + [
        {name: wrong}
        for name in ("status", "stored", "age", "ttl", "swr", "sie")
        for wrong in (None, "1", 1.0, True, [], {})
    ]
    + [{name: wrong} for name in ("revalidate", "shared") for wrong in (None, 0, 1, "true")]
    + [{"status": status} for status in (0, 100, 101, 199, 206, 299, 304, 429, 600, 999)]
    + [{"v": wrong} for wrong in ("", "x", "0123456789ABCDEF", "0123456789abcdef0", "0123456789abcde\n", "\u0661" * 16)]
    + [{"body": wrong} for wrong in (None, 1, [], {"a": 1})]
    + [{"body": ..., "base64": wrong} for wrong in (None, 1, "a", "a===", "!!!!", "\u00e9", "YQ==\n")]
    + [{"base64": "YQ=="}, {"extra": 1}, {"vary": []}, {"status": 204}, {"status": 205}],
    ids=str,
)
def test_wrong_types_and_values_are_nothing(changes: dict[str, Any]) -> None:
    assert decode(edited(**changes)) is None


@pytest.mark.parametrize(
    "fields",
    [
        None,
        {},
        "x",
        {"content-type": "x"},
        [None],
        ["content-type: x"],
        [["content-type"]],
        [["content-type", "x", "y"]],
        [["content-type", None]],
        [["content-type", 1]],
        [[1, "x"]],
        [["", "x"]],
        [["Content-Type", "x"]],
        [["a b", "x"]],
        [["a:", "x"]],
        [["a\r\nset-cookie", "x"]],
        [["a\n", "x"]],
        [["a\x00", "x"]],
        [["\u00e9", "x"]],
        [["x-a", "x\r\nset-cookie: a=b"]],
        [["x-a", "x\r"]],
        [["x-a", "x\n"]],
        [["x-a", "\x00"]],
        [["x-a", "\u0100"]],
        [["x-a", "\ud7ff"]],
        [["x-a", "\U0001f600"]],
        [["x-a", "\u010a"]],
        [["set-cookie", "a=b"]],
        [["content-length", "5"]],
        [["transfer-encoding", "chunked"]],
        [["connection", "close"]],
        [["connection", "content-type"]],
        [["x-gateway-cache", "HIT"]],
        [["x-gateway-anything", "x"]],
        [["age", "5"]],
        [["x-request-id", "x"]],
        [["content-type", "x"], ["upgrade", "x"]],
    ],
    ids=repr,
)
def test_no_field_is_smuggled(fields: Any) -> None:
    """Others can write to Redis: no line end, no message framing, no cookie comes from there."""
    assert decode(edited(fields=fields)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"vary": ...},
        {"identity": ...},
        {"lifetime": ...},
        {"v": "x"},
        {"vary": None},
        {"vary": "accept"},
        {"vary": [1]},
        {"vary": ["Accept"]},
        {"vary": ["a b"]},
        {"vary": ["a\n"]},
        {"vary": [""]},
        {"vary": ["\u00e9"]},
        {"vary": ["x"] * 17},
        {"identity": 1},
        {"identity": None},
        {"lifetime": -1},
        {"lifetime": True},
        {"lifetime": "1"},
        {"lifetime": 2**60},
        {"status": 200},
        {"extra": 1},
    ],
    ids=str,
)
def test_a_marker_that_is_wrong_is_nothing(changes: dict[str, Any]) -> None:
    assert decode(edited_marker(**changes)) is None
