"""What is kept of a response, in memory and in Redis.

In Redis an entry is one JSON object, readable in redis-cli, and begins with its version:

    {"v":"0123456789abcdef","status":200,"stored":1700000000000,"age":0,"ttl":10000,"swr":0,"sie":0,
     "revalidate":false,"shared":true,"fields":[["content-type","application/json"]],"body":"..."}

Times are ms, `stored` by Redis's clock. A body that is no plain text stands as "base64" instead of "body". Where
variants exist, the base name holds a marker that says how they are told apart:

    {"v":"0123456789abcdef","vary":["accept-language"],"identity":true,"lifetime":70000}

A script compares the first STAMP_BYTES with the stamp of a copy that a process has, and so needs no JSON.
Others can write to these keys too: `decode` takes nothing that `encode` could not have written.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

import orjson

from fastgw.cache.freshness import YEAR_S
from fastgw.cache.policy import MAX_VARY, NO_WISHES, STORABLE
from fastgw.protocol.fields import HOP_BY_HOP, Fields, connection_options
from fastgw.store.body import BASE64, TEXT, packed, unpacked

if TYPE_CHECKING:
    from fastgw.cache.policy import Lifetime, Wishes

VERSION_BYTES: Final = 16
STAMP_BYTES: Final = len(b'{"v":""') + VERSION_BYTES

STORED_NOT: Final = HOP_BY_HOP | frozenset(
    {
        b"age",
        b"cache-status",
        b"content-length",
        b"proxy-authentication-info",
        b"ratelimit",
        b"ratelimit-policy",
        b"server-timing",
        b"set-cookie",
        b"via",
        b"x-request-id",
    }
)
"""Response fields that are not kept: of one connection or one request only (RFC 9111 3.1), or made anew each time. So
are all that begin with one of STORED_NOT_PREFIXES."""

STORED_NOT_PREFIXES: Final = (b"x-gateway-", b"x-ratelimit-")

NOT_UPDATED: Final = frozenset({b"content-encoding", b"content-length", b"content-range", b"content-type"})
"""What a 304 can't change, as it describes the stored bytes (RFC 9111 3.2)."""

REVALIDATION_MS: Final = 600_000
"""How long a stale entry with a validator stays: a 304 saves its body. Enough for what is asked for every few minutes;
less than that is not worth the memory."""

MIN_LIFETIME_MS: Final = 1000
"""Of a key: an entry that is stale at once still serves those who wait for it."""

_ENTRY_BYTES: Final = 500
_FIELD_BYTES: Final = 130
"""What Python needs for an entry, and for a field beside its text (tuple and two bytes objects); sys.getsizeof."""

_YEAR_MS: Final = YEAR_S * 1000
_MAX_STORED_MS: Final = 2**53

_VERSION: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+", re.ASCII)
_VALUE: Final = re.compile(r"[^\r\n\0\u0100-\U0010ffff]*")

_random: Final = Random()  # noqa: S311 -- versions are names, not secrets
os.register_at_fork(after_in_child=_random.seed)  # or all children of one parent would make the same versions


@dataclass(slots=True, eq=False)
class Entry:
    """A stored response. Times in ms.

    version: 16 hex, of these very bytes. fields: storable ones. stored_ms: Redis's clock on arrival. The rest is its
    Lifetime (policy.py). etag, last_modified: its validators as they came, None without.
    """

    version: bytes
    status: int
    fields: Fields = field(repr=False)
    body: bytes = field(repr=False)
    stored_ms: int
    age_ms: int
    ttl_ms: int
    swr_ms: int
    sie_ms: int
    must_revalidate: bool
    is_shared: bool
    etag: bytes | None = field(init=False, default=None, repr=False)
    last_modified: bytes | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        """Find the validators, the first of each kind."""
        for name, value in self.fields:
            if name == b"etag" and self.etag is None:
                self.etag = value
            elif name == b"last-modified" and self.last_modified is None:
                self.last_modified = value

    @property
    def has_validator(self) -> bool:
        """Whether the backend can be asked if it still holds."""
        return self.etag is not None or self.last_modified is not None

    @property
    def size(self) -> int:
        """Bytes of memory that it takes, nearly."""
        return _ENTRY_BYTES + len(self.body) + sum([_FIELD_BYTES + len(n) + len(v) for n, v in self.fields])

    @property
    def lifetime_ms(self) -> int:
        """How long its key is of use, from stored_ms on."""
        left_ms = max(0, self.ttl_ms - self.age_ms + max(self.swr_ms, self.sie_ms))
        return max(MIN_LIFETIME_MS, left_ms + (REVALIDATION_MS if self.has_validator else 0))

    def age_ms_at(self, now_ms: int) -> int:
        """Its age (RFC 9111 4.2.3, current_age). A clock that was set back makes nothing younger than it came."""
        return self.age_ms + max(0, now_ms - self.stored_ms)

    def is_fresh(self, now_ms: int, wishes: Wishes) -> bool:
        """Whether it may be used unasked, in itself and for this request (RFC 9111 4.2, 5.2.1). 0.3 us."""
        age_ms = self.age_ms_at(now_ms)
        if age_ms >= self.ttl_ms:
            return False
        if wishes is NO_WISHES:
            return True
        return (
            not wishes.no_cache
            and (wishes.max_age_ms is None or age_ms <= wishes.max_age_ms)
            and (wishes.min_fresh_ms is None or self.ttl_ms - age_ms >= wishes.min_fresh_ms)
        )

    def may_be_stale(self, now_ms: int, wishes: Wishes) -> bool:
        """Whether it may be used though it is stale: while it is revalidated (RFC 5861 3), or as the client takes it.

        A request with max-age or min-fresh takes nothing stale unless it says max-stale (RFC 9111 5.2.1).
        """
        if self.must_revalidate or wishes.no_cache or wishes.min_fresh_ms is not None:
            return False
        age_ms = self.age_ms_at(now_ms)
        stale_ms = age_ms - self.ttl_ms
        if wishes.max_age_ms is not None and (wishes.max_stale_ms is None or age_ms > wishes.max_age_ms):
            return False
        return stale_ms < self.swr_ms or (wishes.max_stale_ms is not None and stale_ms <= wishes.max_stale_ms)

    def may_be_stale_on_error(self, now_ms: int) -> bool:
        """Whether it may stand in for a backend that fails (RFC 5861 4)."""
        return not self.must_revalidate and self.age_ms_at(now_ms) - self.ttl_ms < self.sie_ms

    def refreshed(self, fields: Fields, lifetime: Lifetime, now_ms: int, version: bytes) -> Entry:
        """The entry after a 304 (RFC 9111 4.3.4): new fields and times, the same body.

        fields: of the 304. lifetime: of `updated_fields(self.fields, fields)` with this entry's status.
        """
        return make_entry(self.status, updated_fields(self.fields, fields), self.body, lifetime, (now_ms, version))


@dataclass(slots=True, eq=False)
class Marker:
    """Stands at the base name of a response that has variants.

    version: 16 hex; variants of another version are not found. vary: lower-case names, sorted. by_identity: each
    identity has its own. lifetime_ms: of its key; at least that of its longest-lived variant.
    """

    version: bytes
    vary: tuple[bytes, ...]
    by_identity: bool
    lifetime_ms: int


def make_entry(status: int, fields: Fields, body: bytes, lifetime: Lifetime, stored: tuple[int, bytes]) -> Entry:
    """An entry of a response as it came. stored: now by Redis's clock in ms, and the version (new_version)."""
    now_ms, version = stored
    return Entry(
        version,
        status,
        storable_fields(fields),
        body,
        now_ms,
        lifetime.age_ms,
        lifetime.ttl_ms,
        lifetime.swr_ms,
        lifetime.sie_ms,
        lifetime.must_revalidate,
        lifetime.is_shared,
    )


def new_version() -> bytes:
    """16 hex digits that no other process makes: 64 random bits. 0.3 us; the kernel is asked at the start only."""
    return b"%016x" % _random.getrandbits(64)


def stamp(version: bytes) -> bytes:
    """How the stored value of a version begins: STAMP_BYTES bytes."""
    return b'{"v":"' + version + b'"'


def storable_fields(fields: Fields) -> Fields:
    """The fields of a response that may be kept: without those of the connection and of the moment."""
    options = [value for name, value in fields if name == b"connection"]
    dropped = STORED_NOT | connection_options(b",".join(options)) if options else STORED_NOT
    return [one for one in fields if one[0] not in dropped and not one[0].startswith(STORED_NOT_PREFIXES)]


def updated_fields(stored: Fields, update: Fields) -> Fields:
    """Stored fields with those of a 304 in their place (RFC 9111 3.2).

    Fields of the 304's moment (Age, Set-Cookie) are among them, for policy.lifetime to see; make_entry drops them. The
    old Date goes in any case: without a new one, arrival counts (RFC 9110 6.6.1).
    """
    new = [one for one in update if one[0] not in NOT_UPDATED]
    replaced = {name for name, _ in new} | {b"date"}
    return [one for one in stored if one[0] not in replaced] + new


def encode(value: Entry | Marker) -> bytes:
    """The JSON for Redis. 5,000 bytes of JSON as body become about 5,900."""
    content: dict[str, Any] = {"v": value.version.decode()}
    if isinstance(value, Marker):
        vary = [name.decode() for name in value.vary]
        return orjson.dumps(content | {"vary": vary, "identity": value.by_identity, "lifetime": value.lifetime_ms})
    content |= {
        "status": value.status,
        "stored": value.stored_ms,
        "age": value.age_ms,
        "ttl": value.ttl_ms,
        "swr": value.swr_ms,
        "sie": value.sie_ms,
        "revalidate": value.must_revalidate,
        "shared": value.is_shared,
        "fields": [[name.decode("latin-1"), text.decode("latin-1")] for name, text in value.fields],
    }
    name, text = packed(value.body)
    content[name] = text
    return orjson.dumps(content)


def decode(data: bytes) -> Entry | Marker | None:
    """What `encode` made of an entry or a marker; None for anything else. Never raises."""
    if not data.startswith(b'{"v":"'):
        return None
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    version = found["v"]
    if not isinstance(version, str) or _VERSION.fullmatch(version) is None:
        return None
    return _decoded_marker(found, version) if "vary" in found else _decoded_entry(found, version)


def _decoded_marker(found: dict[str, Any], version: str) -> Marker | None:
    if found.keys() != {"v", "vary", "identity", "lifetime"}:
        return None
    vary, by_identity, lifetime_ms = found["vary"], found["identity"], found["lifetime"]
    if not isinstance(vary, list) or len(vary) > MAX_VARY or not isinstance(by_identity, bool):
        return None
    if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in vary) or not _is_within(
        lifetime_ms, 2 * _YEAR_MS + REVALIDATION_MS
    ):
        return None
    return Marker(version.encode(), tuple([name.encode() for name in vary]), by_identity, lifetime_ms)


_TIMES: Final = ("age", "ttl", "swr", "sie")
_ENTRY_KEYS: Final = frozenset({"v", "status", "stored", *_TIMES, "revalidate", "shared", "fields"})


def _decoded_entry(found: dict[str, Any], version: str) -> Entry | None:
    kind = TEXT if TEXT in found else BASE64
    if found.keys() != _ENTRY_KEYS | {kind} or not _is_within(found["stored"], _MAX_STORED_MS):
        return None
    # a ttl of a route counts from arrival, so that it may be longer by the age
    if not all(_is_within(found[name], 2 * _YEAR_MS) for name in _TIMES):
        return None
    status, must_revalidate, is_shared = found["status"], found["revalidate"], found["shared"]
    if type(status) is not int or not isinstance(must_revalidate, bool) or not isinstance(is_shared, bool):
        return None
    body = unpacked(kind, found[kind])
    fields = _decoded_fields(found["fields"])
    if body is None or fields is None or status not in STORABLE or (body and status in {204, 205}):
        return None
    age_ms, ttl_ms, swr_ms, sie_ms = (found[name] for name in _TIMES)
    return Entry(
        version.encode(),
        status,
        fields,
        body,
        found["stored"],
        age_ms,
        ttl_ms,
        swr_ms,
        sie_ms,
        must_revalidate,
        is_shared,
    )


def _decoded_fields(found: Any) -> Fields | None:
    """The fields, if each could come from storable_fields: nothing that makes a line or a message of its own."""
    if not isinstance(found, list):
        return None
    fields = []
    for one in found:
        if not isinstance(one, list) or len(one) != 2:
            return None
        name, value = one
        if not isinstance(name, str) or not isinstance(value, str):
            return None
        if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            return None
        fields.append((name.encode(), value.encode("latin-1")))
    return fields if len(storable_fields(fields)) == len(fields) else None


def _is_within(number: Any, limit: int) -> bool:
    """Whether it is an integer from 0 to limit; true and false are none."""
    return type(number) is int and 0 <= number <= limit
