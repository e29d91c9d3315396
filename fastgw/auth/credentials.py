"""What a request presents as credentials, and the digests that they are known by. Pure.

A credential is judged by its SHA-256 only. Whoever measures how long a comparison takes learns about digests, and can't
choose those.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import sha256
from string import Formatter
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

API_KEY: Final = b"x-api-key"
WORKER_TOKEN: Final = b"x-worker-token"
AUTHORIZATION: Final = b"authorization"

IN_ORDER: Final = (API_KEY, WORKER_TOKEN, AUTHORIZATION)
"""The fields that may hold a credential. The first that is there gives the request its identity."""

FIELDS: Final = frozenset(IN_ORDER)

SHOWN: Final = {API_KEY: "X-API-Key", WORKER_TOKEN: "X-Worker-Token", AUTHORIZATION: "Authorization"}

MAX_CREDENTIAL_BYTES: Final = 4096
"""JSON Web Tokens with many claims reach 2 KiB; 4 KiB take 10 us to hash."""

MAX_WORKER_ID: Final = 128
"""Characters. The platform's own are UUIDs of 36."""

_VISIBLE: Final = b"([!-~]{1,%d})" % MAX_CREDENTIAL_BYTES
"""VCHAR (RFC 5234 B.1): no space, no control character, nothing beyond ASCII."""

MATCH: Final[dict[bytes, Callable[[bytes], re.Match[bytes] | None]]] = {
    API_KEY: re.compile(_VISIBLE).fullmatch,
    WORKER_TOKEN: re.compile(_VISIBLE).fullmatch,
    AUTHORIZATION: re.compile(rb"(?i:bearer) +" + _VISIBLE).fullmatch,  # RFC 6750 2.1; a scheme has no case
}
"""Field -> what finds the credential in its value, as group 1."""

_OTHER_SCHEME: Final = re.compile(rb"(?!(?i:bearer)(?: |\Z))[!#$%&'*+.^_`|~0-9A-Za-z-]+(?: [ -~]*)?").fullmatch
"""auth-scheme and whatever follows (RFC 9110 11.4), for a scheme that is not ours: it is the backend's."""

_WORKER_PATH: Final = re.compile(rb"/api/v1/workers/([^/]+)(/.*)?", re.DOTALL).fullmatch
_NO_WORKER: Final = frozenset({"register"})
"""What stands where an id does but is the platform's own word: POST /api/v1/workers/register."""

UNASKABLE: Final = ""
"""The id of a worker that no question can be asked about."""


class Malformed(Exception):
    """A field holds what can be no credential."""

    def __init__(self, field: bytes) -> None:
        super().__init__(SHOWN[field])
        self.field = field


@dataclass(frozen=True, slots=True)
class Credential:
    """What one field presents. name: of the field. digest: 32 bytes, by which it is known. The secret is in no repr."""

    name: bytes
    digest: bytes
    secret: bytes = field(repr=False)


class Hash:
    """SHA-256 of a credential, as the platform's server takes it: of a text into which token and salt are filled."""

    def __init__(self, form: str, salt: str) -> None:
        """form: holds {token}, once or more, and {salt} if wanted; taken for checked (settings.parse.token_format)."""
        parts, text = [], ""
        for literal, name, _, _ in Formatter().parse(form):
            text += literal
            if name == "salt":
                text += salt
            elif name == "token":
                parts.append(text.encode())
                text = ""
        self.parts = (*parts, text.encode())  # what stands before, between and after the tokens

    def __call__(self, secret: bytes) -> bytes:
        """The digest: 32 bytes."""
        return sha256(secret.join(self.parts)).digest()


API_KEY_HASH: Final = Hash("{token}", "")
"""API keys are hashed as they are: they are ours, the platform's server knows nothing of them."""


def read(fields: Sequence[tuple[bytes, bytes]], hashes: dict[bytes, Hash]) -> list[Credential]:
    """The credentials that a request presents, in order.

    fields: those whose name is in FIELDS. hashes: field -> how its credential is hashed. An Authorization of another
    scheme than Bearer is left out. Raises Malformed for a field that is there twice, that is empty or too long, or
    that holds anything but visible ASCII characters.
    """
    values: dict[bytes, bytes] = {}
    for name, value in fields:
        if name in values:
            raise Malformed(name)
        values[name] = value
    found = []
    for name in IN_ORDER:
        if name not in values:
            continue
        match = MATCH[name](values[name])
        if match is not None:
            found.append(Credential(name, hashes[name](match[1]), match[1]))
        elif name != AUTHORIZATION or not _OTHER_SCHEME(values[name]):
            raise Malformed(name)
    return found


def is_preflight(method: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a browser asks what it may send (Fetch 3.2.2); it never sends credentials with that."""
    if method != b"OPTIONS":
        return False
    names = {name for name, _ in headers}
    return b"origin" in names and b"access-control-request-method" in names


def worker_of(raw_path: bytes) -> str | None:
    """The worker that a path names: /api/v1/workers/{id} and what is below; None if it names none.

    The path is decoded first, as the backend does before it looks for the route. UNASKABLE for an id that is no
    printable UTF-8, longer than MAX_WORKER_ID, or a dot segment: in a URL of ours it would lead elsewhere.
    """
    path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
    match = _WORKER_PATH(path)
    if match is None:
        return None
    try:
        worker = match[1].decode()
    except UnicodeDecodeError:
        return UNASKABLE
    if worker in _NO_WORKER and match[2] is None:
        return None
    return worker if is_worker_id(worker) else UNASKABLE


def is_worker_id(text: str) -> bool:
    """Whether a text can name a worker in a URL and in an identity."""
    return 0 < len(text) <= MAX_WORKER_ID and text.isprintable() and not {*"/\\ "} & {*text} and text not in {".", ".."}
