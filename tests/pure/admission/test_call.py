"""Calls that are put together from packed parts are the calls that a client library would pack."""

from __future__ import annotations

import hiredis

from fastgw.admission.call import (
    NO_LIMIT,
    NO_LOOKUP,
    SCRIPT,
    counted,
    joint_call,
    limit_call,
    limit_tail,
    lookup_call,
)
from fastgw.store.link import bulks

WINDOW, NOT_AFTER = b"gateway:ratelimit:203.0.113.9", b"1795982941388715"
KEYS = (b"gateway:cache:{ab}", b"gateway:cache:{ab}cd", b"gateway:lease:cache:{ab}")
LOOKUP = (b"2", b'{"v":"1"', b"", b"me.1", b"10000000", b"0")
LIMIT = (b"100", b"60000000")


def test_a_limit_alone() -> None:
    words = (b"EVALSHA", SCRIPT.sha, 1, WINDOW, NOT_AFTER, *LIMIT, *NO_LOOKUP)
    assert limit_call(WINDOW, NOT_AFTER, limit_tail(100, 60_000_000)) == hiredis.pack_command(words)


def test_a_limit_and_a_lookup() -> None:
    words = (b"EVALSHA", SCRIPT.sha, 4, WINDOW, *KEYS, NOT_AFTER, *LIMIT, *LOOKUP)
    parts = (3, bulks(*KEYS), bulks(*LOOKUP))
    assert joint_call(WINDOW, NOT_AFTER, counted(100, 60_000_000), parts) == hiredis.pack_command(words)


def test_a_lookup_alone() -> None:
    words = (b"EVALSHA", SCRIPT.sha, 3, *KEYS, NOT_AFTER, *NO_LIMIT, *LOOKUP)
    assert lookup_call(NOT_AFTER, (3, bulks(*KEYS), bulks(*LOOKUP))) == hiredis.pack_command(words)


def test_the_script_says_what_it_takes() -> None:
    head = SCRIPT.text.partition(b"\n\n")[0]
    for word in (b"KEYS", b"ARGV", b"Reply", b"Cost"):
        assert word in head
