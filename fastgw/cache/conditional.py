"""Preconditions of a request that a stored response can answer (RFC 9110 13, RFC 9111 4.3.2). Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from fastgw.protocol.dates import http_date
from fastgw.protocol.fields import first

if TYPE_CHECKING:
    from fastgw.cache.entry import Entry
    from fastgw.protocol.fields import Fields

PRECONDITIONS: Final = frozenset(
    {b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range"}
)

_ENTITY_TAG: Final = re.compile(rb'(?:W/)?("[!#-~\x80-\xff]*")')
"""Without the W/: If-None-Match compares weakly (RFC 9110 8.8.3.2)."""


def has_precondition(noted: Fields) -> bool:
    """Whether a request has any."""
    return any(name in PRECONDITIONS for name, _ in noted)


def is_not_modified(noted: Fields, entry: Entry) -> bool:
    """Whether 304 is the answer to a GET or HEAD that an entry can answer.

    If-None-Match decides alone where it is present (RFC 9110 13.2.2); else If-Modified-Since, compared with
    Last-Modified, or Date, or arrival (RFC 9111 4.3.2). What is no date is ignored (RFC 9110 13.1.3), and all of it
    unless the entry is a 200. If-Match, If-Unmodified-Since and If-Range are for the backend (RFC 9111 4.3.2).
    """
    if entry.status != 200:
        return False
    tags = [value for name, value in noted if name == b"if-none-match"]
    if tags:
        return any(_names(value, entry.etag) for value in tags)
    since = first(noted, b"if-modified-since")
    if since is None:
        return False
    if since == entry.last_modified:
        return http_date(since) is not None
    since_s = http_date(since)
    return since_s is not None and _modified_s(entry) <= since_s


def _names(value: bytes, etag: bytes | None) -> bool:
    """Whether an If-None-Match names an entity tag."""
    if value == b"*":
        return True
    if etag is None:
        return False
    match = _ENTITY_TAG.fullmatch(etag)
    return match is not None and match[1] in _ENTITY_TAG.findall(value)


def _modified_s(entry: Entry) -> int:
    """When the entry changed last, as far as it tells; Unix seconds."""
    for value in (entry.last_modified, first(entry.fields, b"date")):
        if value is not None and (moment := http_date(value)) is not None:
            return moment
    return entry.stored_ms // 1000
