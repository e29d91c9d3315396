"""The syntax of Idempotency-Key, the name of a key's record in Redis, and the fingerprint of its request. Pure.

The draft (section 2.1) makes the field a structured String, `"8e03978e-40d5-43dd-bc93-6894a57f9324"`. Most clients send
the text without quotes; both are the same key. Neither keys nor requests stand in Redis, only their digests.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from fastgw.protocol.structured import NotStructured, item

HEADER: Final = b"idempotency-key"

MAX_KEY_BYTES: Final = 255
"""Stripe's limit; a UUID has 36."""

NAME_DIGITS: Final = 32
"""Hex digits of a record's name: with 128 bits nobody meets another's key by chance or by trying."""

_MAX_VALUE_BYTES: Final = 2 * MAX_KEY_BYTES + 2
"""A key in quotes, each of its characters escaped."""

_BARE: Final = re.compile(rb"[!#-+\--:<-~]+")
"""Visible ASCII without `"`, `,` and `;`: with these, two readers could take it for two keys."""


class BadKey(ValueError):
    """No key that can be gone by. Its text is for the client and quotes nothing."""


def idempotency_key(lines: list[bytes]) -> bytes:
    """The key that the field's lines give: 1 to MAX_KEY_BYTES bytes of ASCII. Raises BadKey."""
    if len(lines) != 1:
        raise BadKey("more than one Idempotency-Key")
    value = lines[0]
    if len(value) > _MAX_VALUE_BYTES:
        raise BadKey(f"the Idempotency-Key is longer than {MAX_KEY_BYTES} characters")
    if value.startswith(b'"'):
        key = _quoted(value)
    elif _BARE.fullmatch(value) is not None:
        key = value
    else:
        raise BadKey("the Idempotency-Key is neither a string in quotes nor one word of visible ASCII")
    if not key:
        raise BadKey("the Idempotency-Key is empty")
    if len(key) > MAX_KEY_BYTES:
        raise BadKey(f"the Idempotency-Key is longer than {MAX_KEY_BYTES} characters")
    return key


def _quoted(value: bytes) -> bytes:
    """A structured String (RFC 9651 3.3.3). What comes behind a semicolon means nothing to us, and is dropped."""
    try:
        found = item(value)
    except NotStructured:
        raise BadKey("the Idempotency-Key is no structured string") from None
    return str(found).encode()


def record_name(scope: bytes, key: bytes) -> bytes:
    """The name of a key's record, NAME_DIGITS of hex. scope: whose key it is; the same text is another's other key."""
    return sha256(b"%d:%b%b" % (len(scope), scope, key)).hexdigest()[:NAME_DIGITS].encode()


def fingerprint(method: bytes, target: bytes, content_type: bytes, body: bytes) -> bytes:
    """What makes two requests the same: 64 hex. 2 us, and about 1 ms for a MiB of body.

    target: path and query, byte for byte. content_type: as it came, b"" without one.
    """
    digest = sha256()
    for part in (method, target, content_type):
        digest.update(b"%d:%b" % (len(part), part))  # lengths in front: no part can look like the next one's beginning
    digest.update(body)
    return digest.hexdigest().encode()
