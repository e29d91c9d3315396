"""What must not be logged or traced: values of query parameters that are known to hold secrets. Pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

MAX_TARGET_BYTES: Final = 2048
"""Of a path and its query; the rest is left out."""

_SECRET_NAME: Final = re.compile(rb"token|key|secret|passw|pwd|auth|credential|sig|session|jwt|code", re.IGNORECASE)
"""A parameter whose name has one of these in it. Too many are redacted rather than one too few."""

_PARAMETER: Final = re.compile(rb"[^&;]+")

MASK: Final = b"***"

_NOT_PRINTABLE: Final = re.compile(rb"[^\x20-\x7e]")


is_plain: Final = re.compile(r"[ !#-\[\]-~]*").fullmatch
"""Whether a text is ASCII that JSON takes as it is."""


def target(raw: bytes, query: bytes) -> str:
    """A request target for a log line: secrets masked, bounded, printable ASCII."""
    if query:
        raw = raw + b"?" + query_of(query)
    if len(raw) > MAX_TARGET_BYTES:
        raw = raw[:MAX_TARGET_BYTES] + b"..."
    if not raw.isascii() or not raw.decode("ascii").isprintable():
        raw = _NOT_PRINTABLE.sub(lambda match: b"%%%02X" % match[0][0], raw)
    return raw.decode("ascii")


def query_of(query: bytes) -> bytes:
    """A query with its secrets masked, cut at MAX_TARGET_BYTES before, as nobody sees more. O(its length)."""
    return _PARAMETER.sub(_masked, query[:MAX_TARGET_BYTES])


def _masked(match: re.Match[bytes]) -> bytes:
    parameter = match[0]
    name, equals, value = parameter.partition(b"=")
    if value and _SECRET_NAME.search(unquote_to_bytes(name) if b"%" in name else name):
        return name + equals + MASK
    return parameter
