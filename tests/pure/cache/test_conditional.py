"""Preconditions that a stored response answers."""

from __future__ import annotations

import pytest

from fastgw.cache.conditional import PRECONDITIONS, has_precondition, is_not_modified
from fastgw.cache.entry import Entry

STORED_MS = 1_700_049_600_000  # Wed, 15 Nov 2023 12:00:00 GMT
INM, IMS = b"if-none-match", b"if-modified-since"
ELEVEN, TWELVE, ONE = (b"Wed, 15 Nov 2023 %d:00:00 GMT" % hour for hour in (11, 12, 13))
Field = tuple[bytes, bytes]


def entry(*fields: Field, status: int = 200) -> Entry:
    return Entry(b"0" * 16, status, list(fields), b"", STORED_MS, 0, 1, 0, 0, must_revalidate=False, is_shared=True)


@pytest.mark.parametrize(
    ("value", "etag", "outcome"),
    [
        (b'"a"', b'"a"', True),
        (b'"a"', b'W/"a"', True),
        (b'W/"a"', b'"a"', True),
        (b'W/"a"', b'W/"a"', True),
        (b'"x", "a"', b'"a"', True),
        (b'"x",W/"a" , "y"', b'"a"', True),
        (b'"x,y", "a"', b'"a"', True),
        (b'"x,y"', b'"x,y"', True),
        (b'""', b'""', True),
        (b'"\xe9"', b'"\xe9"', True),
        (b"*", b'"a"', True),
        (b'"A"', b'"a"', False),
        (b'"b"', b'"a"', False),
        (b'"aa"', b'"a"', False),
        (b"a", b'"a"', False),
        (b'"a', b'"a"', False),
        (b'w/"b"', b'"a"', False),
        (b"", b'"a"', False),
        (b'"a"', b"a", False),
        (b"a", b"a", False),
        (b'"x, a"', b'"a"', False),
        (b"**", b'"a"', False),
    ],
    ids=repr,
)
def test_if_none_match(value: bytes, etag: bytes, outcome: bool) -> None:
    """RFC 9110 13.1.2, weak comparison (8.8.3.2)."""
    assert is_not_modified([(INM, value)], entry((b"etag", etag))) is outcome


def test_if_none_match_in_two_lines() -> None:
    assert is_not_modified([(INM, b'"x"'), (INM, b'"a"')], entry((b"etag", b'"a"')))


def test_without_an_entity_tag_only_the_star_matches() -> None:
    assert is_not_modified([(INM, b"*")], entry())
    assert not is_not_modified([(INM, b'"a"')], entry())


def test_if_none_match_decides_alone() -> None:
    """RFC 9110 13.2.2."""
    one = entry((b"etag", b'"a"'), (b"last-modified", ELEVEN))
    assert not is_not_modified([(INM, b'"b"'), (IMS, TWELVE)], one)
    assert is_not_modified([(INM, b'"a"'), (IMS, b"Wed, 15 Nov 1995 12:00:00 GMT")], one)


@pytest.mark.parametrize(
    ("since", "fields", "outcome"),
    [
        (TWELVE, [(b"last-modified", TWELVE)], True),
        (ONE, [(b"last-modified", TWELVE)], True),
        (ELEVEN, [(b"last-modified", TWELVE)], False),
        (b"Wednesday, 15-Nov-23 12:00:00 GMT", [(b"last-modified", TWELVE)], True),
        (b"x", [(b"last-modified", b"x")], False),
        (b"x", [(b"last-modified", TWELVE)], False),
        (b"", [(b"last-modified", TWELVE)], False),
        (TWELVE, [(b"last-modified", b"x"), (b"date", ELEVEN)], True),
        (TWELVE, [(b"date", TWELVE)], True),
        (ELEVEN, [(b"date", TWELVE)], False),
        (TWELVE, [], True),
        (ELEVEN, [], False),
    ],
    ids=[
        "same",
        "later",
        "earlier",
        "old_form",
        "same_but_no_dates",
        "no_date",
        "empty",
        "date_for_a_bad_last_modified",
        "date",
        "date_later",
        "arrival",
        "arrival_later",
    ],
)
def test_if_modified_since(since: bytes, fields: list[Field], outcome: bool) -> None:
    """RFC 9110 13.1.3, RFC 9111 4.3.2."""
    assert is_not_modified([(IMS, since)], entry(*fields)) is outcome


@pytest.mark.parametrize("status", [204, 301, 404, 500])
def test_only_a_200_is_compared(status: int) -> None:
    """RFC 9110 13.2.1: without the condition it would not be a success, or there is nothing to compare."""
    assert not is_not_modified([(INM, b"*")], entry((b"etag", b'"a"'), status=status))


def test_conditions_for_the_backend_are_not_ours() -> None:
    one = entry((b"etag", b'"a"'), (b"last-modified", TWELVE))
    assert not is_not_modified([(b"if-match", b'"a"'), (b"if-unmodified-since", TWELVE), (b"if-range", b'"a"')], one)
    assert not is_not_modified([], one)


@pytest.mark.parametrize("name", sorted(PRECONDITIONS))
def test_preconditions_are_noticed(name: bytes) -> None:
    assert has_precondition([(b"x-api-key", b"k"), (name, b"")])


def test_other_fields_are_none() -> None:
    assert not has_precondition([(b"cache-control", b"no-cache"), (b"range", b"bytes=0-1")])
