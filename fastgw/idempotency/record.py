"""What stands at `gateway:idempotency:<digest>`: one JSON object, readable in redis-cli. Pure.

    {"state":"running","holder":"3f2a9c0d1e4b.7","print":"<64 hex>","since":1700000000000,"until":1700000020000}
    {"state":"done","holder":"...","print":"...","status":201,"fields":[["content-type","application/json"]],"body":"..."}
    {"state":"unknown","holder":"...","print":"..."}

claim.lua and settle.lua read how a record begins (state, holder, print) without decoding it, so the order counts.
Times are ms of Redis's clock. A body that is no plain text stands as "base64"; one too large to be kept as "body":null.
Others can write to these keys too: `decode` takes nothing that `done_record` could not have written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from fastgw.protocol.fields import HOP_BY_HOP, Fields, connection_options
from fastgw.store.body import BASE64, TEXT, packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BODY_BYTES: Final = 1024 * 1024
"""Largest answer that is kept: that of the cache. An answer to a submission has a few hundred bytes."""

MAX_RECORD_BYTES: Final = 4 * 1024 * 1024
"""Longest value that claim.lua hands out: a body whose every character is escaped, and 64 KiB of fields likewise. What
others write there must not fill the gateway's memory."""

NOT_KEPT: Final = HOP_BY_HOP | frozenset(
    {
        b"age",
        b"cache-status",
        b"content-length",
        b"idempotency-replayed",
        b"proxy-authentication-info",
        b"ratelimit",
        b"ratelimit-policy",
        b"server-timing",
        b"set-cookie",
        b"x-request-id",
    }
)
"""Response fields of one connection or one moment; and Set-Cookie, as it may hold a credential, which never goes into
Redis. So are all that begin with one of _NOT_KEPT_PREFIXES."""

_NOT_KEPT_PREFIXES: Final = (b"x-gateway-", b"x-ratelimit-")

BODILESS: Final = frozenset({204, 205, 304})
"""Statuses without a body (RFC 9110 15.3.5, 15.3.6, 15.4.5)."""

_VIA: Final = (b"via", b"1.1 fastgw")
_SERVER: Final = (b"server", b"fastgw")
_REPLAYED: Final = (b"idempotency-replayed", b"true")

_KEYS: Final = frozenset({"state", "holder", "print", "status", "fields"})
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE: Final = re.compile(r"[\t -~\x80-\xff]*")


@dataclass(frozen=True, slots=True)
class Kept:
    """A backend's answer as it is kept. body: None if it was too large."""

    status: int
    fields: Fields
    body: bytes | None

    def replay_fields(self) -> Fields:
        """The fields of a replay: those that were kept, and what every response through the gateway has."""
        fields = [*self.fields, _VIA, _REPLAYED]
        if self.status not in BODILESS and self.body is not None:
            fields.append((b"content-length", b"%d" % len(self.body)))
        if not any(name == b"server" for name, _ in fields):
            fields.append(_SERVER)
        return fields


def kept_fields(fields: Fields) -> Fields:
    """The fields of a response that are kept."""
    options = [value for name, value in fields if name == b"connection"]
    dropped = NOT_KEPT | connection_options(b",".join(options)) if options else NOT_KEPT
    return [one for one in fields if one[0] not in dropped and not one[0].startswith(_NOT_KEPT_PREFIXES)]


def running_start(holder: bytes, fingerprint: bytes, since_ms: int) -> bytes:
    """The record of a claim whose request is under way, up to its "until", which settle.lua adds."""
    return b'{"state":"running","holder":"%b","print":"%b","since":%d' % (holder, fingerprint, since_ms)


def unknown_record(holder: bytes, fingerprint: bytes) -> bytes:
    """The record of a request that was sent and not answered whole."""
    return b'{"state":"unknown","holder":"%b","print":"%b"}' % (holder, fingerprint)


def done_record(holder: bytes, fingerprint: bytes, kept: Kept) -> bytes:
    """The record of an answer. 5,000 bytes of JSON as body become about 5,900."""
    content: dict[str, Any] = {
        "state": "done",
        "holder": holder.decode(),
        "print": fingerprint.decode(),
        "status": kept.status,
        "fields": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in kept.fields],
    }
    name, text = (TEXT, None) if kept.body is None else packed(kept.body)
    content[name] = text
    return orjson.dumps(content)


def decode(data: bytes, fingerprint: bytes) -> Kept | None:
    """What `done_record` made for this fingerprint; None for anything else. Never raises."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict):
        return None
    kind = TEXT if TEXT in found else BASE64
    if found.keys() != _KEYS | {kind} or (found["state"], found["print"]) != ("done", fingerprint.decode()):
        return None
    status, fields = found["status"], _decoded_fields(found["fields"])
    if type(status) is not int or not 200 <= status <= 599 or fields is None or not isinstance(found["holder"], str):
        return None
    if kind == TEXT and found[TEXT] is None:
        return Kept(status, fields, None)
    body = unpacked(kind, found[kind])
    if body is None or (body and status in BODILESS) or len(body) > MAX_BODY_BYTES:
        return None
    return Kept(status, fields, body)


def _decoded_fields(found: Any) -> Fields | None:
    """The fields, if each could come from kept_fields: nothing that makes a line or a message of its own."""
    if not isinstance(found, list):
        return None
    fields = [_decoded_field(one) for one in found]
    good = [one for one in fields if one is not None]
    return good if len(kept_fields(good)) == len(fields) else None


def _decoded_field(found: Any) -> tuple[bytes, bytes] | None:
    if not isinstance(found, list) or len(found) != 2:
        return None
    name, value = found
    if not _is_text((name, value)) or _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
        return None
    return name.encode(), value.encode("latin-1")


def _is_text(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
