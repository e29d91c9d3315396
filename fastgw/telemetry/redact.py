"""What must not be logged or traced: values of query parameters that are known to hold secrets. Pure."""

from __future__ import annotations

import re
from typing import Final

MAX_TARGET_BYTES: Final = 2048
"""Of a path and its query; the rest is left out."""

_SECRETS: Final = re.compile(
    rb"((?:^|[?&;])[^=&;]*(?:token|api[-_%a-f0-9]{0,4}key|key|secret|passw|pwd|auth|credential|signature|sig|session|jwt|code)"
    rb"[^=&;]*=)[^&;]+",
    re.IGNORECASE,
)
"""A parameter whose name has one of these in it. Too many are redacted rather than one too few."""

MASK: Final = rb"\1***"

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
    """A query with its secrets masked."""
    return _SECRETS.sub(MASK, query)
