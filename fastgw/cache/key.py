"""The names under which responses are kept, and the paths that are never kept under any.

    base name     {PPPPPPPPPPPPPPPPRRRRRRRRRRRRRRRR}     P: of the path, R: of host and target; 64 bits of SHA-256 each
    variant name  {PPPPPPPPPPPPPPPPRRRRRRRRRRRRRRRR}VVVVVVVVVVVVVVVV     V: of the marker, Vary's fields and identity

The path comes first so that all of a path can be found by a pattern, whatever the host and the query. Hashes, as paths
and credentials may be long and secret; with 64 bits nobody finds a second request of the same name as another's (2^64
tries), and credentials are only ever hashed together with the whole request.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from fastgw.protocol.fields import Fields

NEVER: Final = re.compile(rb"next-job|/api/+v1/+workers/+[^/]+/+[^/]|/\.\.?(?:/|\Z)", re.IGNORECASE)
"""Decoded paths that are never cached, coalesced or shared: next-job wherever it stands, all below a worker, and paths
with dot segments, which another server may resolve to these."""

CREDENTIALS: Final = frozenset({b"x-api-key", b"x-worker-token", b"authorization", b"cookie"})
"""Request fields that say who asks, to us or to the backend."""

MAX_DECODINGS: Final = 3
"""Percent-decodings of a path that are looked at. uvicorn does one, a proxy before it another; more is mischief."""

_JOB_STATUS: Final = re.compile(rb"/+(?i:api/+v1/+jobs)/+(?!sync/*\Z)[^/]+/*")
_BLANKS: Final = re.compile(rb"[ \t]+")
_AROUND_COMMAS: Final = re.compile(rb"[ \t]*,[ \t]*")
_LISTS: Final = frozenset({b"accept", b"accept-charset", b"accept-encoding", b"accept-language"})
"""Fields known to be lists in which blanks around commas mean nothing (RFC 9111 4.1)."""


def is_never_cached(raw_path: bytes) -> bool:
    """Whether a path, as it came, must reach the backend each time. 0.3 us without percent signs.

    next-job hands out a job per request. uvicorn decodes percent signs once, and Starlette's routes also match with a
    line feed at the end (`%0A`), so the search does not care for what follows the name.
    """
    path = raw_path.decode("latin-1").lower()  # `in` takes 25 ns with text, 250 with bytes
    if "%" not in path:
        # NEVER matches nothing without one of these; it takes 0.7 us itself
        return ("next-job" in path or "/workers/" in path or "/." in path) and NEVER.search(raw_path) is not None
    readings = _decodings(raw_path)
    return readings is None or any(NEVER.search(reading) is not None for reading in readings)


def is_job_status(raw_path: bytes) -> bool:
    """Whether a path is /api/v1/jobs/{id} in any reading: as it came, or percent-decoded; "sync" is no id."""
    if _JOB_STATUS.fullmatch(raw_path) is not None:
        return True
    if b"%" not in raw_path:
        return False
    readings = _decodings(raw_path)
    return readings is None or any(_JOB_STATUS.fullmatch(reading) is not None for reading in readings)


def _decodings(raw_path: bytes) -> list[bytes] | None:
    """The path decoded once, twice, ... until nothing changes; None if it still changes after MAX_DECODINGS."""
    readings = [raw_path]
    for _ in range(MAX_DECODINGS + 1):
        decoded = unquote_to_bytes(readings[-1])
        if decoded == readings[-1]:
            return readings
        readings.append(decoded)
    return None


def base_name(host: bytes, raw_path: bytes, target: bytes) -> bytes:
    """The name of a request whose response depends on nothing else: 34 bytes. 1.8 us.

    host: as the client wrote it. target: path and query, byte for byte; `/a` and `/%61` are two names of one path.
    """
    rest = sha256(host.lower() + b"\0" + target).hexdigest()
    return b"{%b%b}" % (_path_hash(raw_path), rest[:16].encode())


def path_pattern(raw_path: bytes) -> bytes:
    """The glob for all names of a path, variants too: `{` 16 hex `*`. All spellings of a path have the same."""
    return b"{%b*" % _path_hash(raw_path)


def _path_hash(raw_path: bytes) -> bytes:
    if b"%" in raw_path:
        raw_path = unquote_to_bytes(raw_path)
    return sha256(raw_path).hexdigest()[:16].encode()


def variant_name(base: bytes, generation: bytes, vary: tuple[bytes, ...], headers: Fields, scope: bytes) -> bytes:
    """The name of one variant (RFC 9111 4.1): base, then 16 hex.

    generation: the marker's version; a new marker makes all older variants unreachable. vary: lower-case names.
    headers: of the request. scope: of identity_scope; b"" for a variant that is for everybody.
    """
    parts = [generation, scope]
    for name in vary:
        parts.append(name)
        parts.append(_normalised(name, [value for key, value in headers if key == name]))
    # lengths in front: no value can look like the next one's beginning
    joined = b"".join([b"%d:%b" % (len(part), part) for part in parts])
    return base + sha256(joined).hexdigest()[:16].encode()


def _normalised(name: bytes, lines: list[bytes]) -> bytes:
    """A field's value after `=`, its blanks folded (unless quotes give them a meaning); b"" if it is missing."""
    if not lines:
        return b""
    value = b", ".join(lines)
    if b'"' not in value:
        value = _BLANKS.sub(b" ", value).strip()
        if name in _LISTS:
            value = _AROUND_COMMAS.sub(b", ", value)
    return b"=" + value


def identity_scope(noted: Fields) -> bytes:
    """Whose response it is: 16 hex of all fields with credentials, b"" without any. 1.4 us, or 0.2.

    Names, values and lines all count: one credential never sees another's response, nor the same text in another field.
    """
    shown = [field for field in noted if field[0] in CREDENTIALS]
    if not shown:
        return b""
    shown.sort()
    joined = b"".join([b"%d:%b%d:%b" % (len(name), name, len(value), value) for name, value in shown])
    return sha256(joined).hexdigest()[:16].encode()
