"""The credentials that are configured: API keys, accepted token hashes, and the file of hashes, read when it changes.

Only digests are kept. The file has one SHA-256 in hex a line, comments after #, blank lines. It should be replaced in
one step (write another, then rename): while it is written in place, hashes that are not there yet are not accepted.
"""

from __future__ import annotations

import asyncio
import codecs
import logging
import os
import re
import stat
from binascii import unhexlify
from hmac import compare_digest
from io import BytesIO
from typing import TYPE_CHECKING, Final, NamedTuple

from fastgw.auth.credentials import API_KEY, API_KEY_HASH, MATCH

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAX_HASHES: Final = 1_000_000
"""In the file; they take 120 MB in each process. Beyond that, AUTH_VERIFY_URL is the better way."""

MAX_FILE_BYTES: Final = 96 * 1024 * 1024
"""MAX_HASHES lines of 65 bytes, and half as much again for comments."""

IDENTITY_DIGITS: Final = 12
"""Hex digits of a digest that name a credential without a name: 48 bits, so that no two of 100,000 are the same."""

_LINE: Final = re.compile(rb"[ \t\r]*(?:([0-9A-Fa-f]{64})[ \t\r]*)?(?:#.*)?\n?", re.DOTALL).fullmatch

log = logging.getLogger("fastgw.auth")


Signature = tuple[int, ...]
"""Device, inode, size, times of modification and change: another for a file that was replaced or rewritten."""


class Found(NamedTuple):
    """What a look at the file gave. problem: what follows the file's name in a sentence; "": none.

    bad_lines: the numbers, from 1, of those that could not be read.
    """

    problem: str = ""
    signature: Signature = ()
    digests: frozenset[bytes] = frozenset()
    bad_lines: tuple[int, ...] = ()


def parse(content: bytes) -> Found:
    """Read the text of a file of hashes. Raises ValueError if it holds too much."""
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"is larger than {MAX_FILE_BYTES} bytes")
    digests, bad_lines = set(), []
    for number, line in enumerate(BytesIO(content.removeprefix(codecs.BOM_UTF8)), 1):
        match = _LINE(line)
        if match is None:
            bad_lines.append(number)
        elif match[1]:
            digests.add(unhexlify(match[1]))
    if len(digests) > MAX_HASHES:
        raise ValueError(f"holds more than {MAX_HASHES} hashes")
    return Found(digests=frozenset(digests), bad_lines=tuple(bad_lines))


def token_identity(digest: bytes) -> str:
    """Who an accepted hash is, as no name is known."""
    return f"token:{digest.hex()[:IDENTITY_DIGITS]}"


class Accepted:
    """Digest -> identity, for API keys and for tokens. A digest in bytes."""

    def __init__(self, api_keys: Iterable[str], token_hashes: Iterable[str], hashes_file: Path | None) -> None:
        """api_keys: `key` or `name:key`. token_hashes: hex. hashes_file: read here, once; a bad one is a warning."""
        self._keys: dict[bytes, tuple[bytes, str]] = {}
        for number, item in enumerate(api_keys, 1):
            self._add_key(number, item)
        self._configured = {digest: digest for digest in map(bytes.fromhex, token_hashes)}
        self._file = hashes_file
        self._from_file: frozenset[bytes] = frozenset()
        self._signature: Signature = ()
        self._problem = ""
        self.has_keys = bool(self._keys)
        self.has_tokens = bool(self._configured) or hashes_file is not None
        if hashes_file is not None:
            self._take_over(_look(hashes_file, ()))

    def __repr__(self) -> str:
        tokens = len(self._configured.keys() | self._from_file)
        return f"<Accepted {len(self._keys)} keys, {tokens} hashes{', file bad' if self._problem else ''}>"

    def key(self, digest: bytes) -> str | None:
        """The identity of an API key; None if it is none of ours."""
        known = self._keys.get(digest)
        return known[1] if known is not None and compare_digest(known[0], digest) else None

    def token(self, digest: bytes) -> str | None:
        """The identity of a token whose hash is accepted; None if it is not."""
        if digest in self._from_file:
            return token_identity(digest)
        known = self._configured.get(digest)
        return token_identity(digest) if known is not None and compare_digest(known, digest) else None

    async def refresh(self) -> bool:
        """Read the file again if it has changed; whether the hashes are others now. The loop is not held up."""
        if self._file is None:
            return False
        # A thread: a file system over a network may take its time, a million lines take a second.
        return self._take_over(await asyncio.to_thread(_look, self._file, self._signature))

    def _add_key(self, number: int, item: str) -> None:
        name, _, key = item.rpartition(":") if ":" not in item else item.partition(":")
        secret = key.encode()
        if MATCH[API_KEY](secret) is None:
            log.warning("AUTH_API_KEYS: key %d can't be sent in a header field, so it will never match", number)
            return
        digest = API_KEY_HASH(secret)
        self._keys[digest] = (digest, f"key:{name or digest.hex()[:IDENTITY_DIGITS]}")

    def _take_over(self, found: Found | None) -> bool:
        """Put what was found in force; whether hashes changed. A bad file changes nothing. One line per change."""
        if found is None:
            return False
        if found.problem != self._problem:
            if found.problem:
                log.warning("AUTH_TOKEN_HASHES_FILE %s; the hashes read before stay in force", found.problem)
            else:
                log.info("AUTH_TOKEN_HASHES_FILE can be read again")
        self._problem, self._signature = found.problem, found.signature
        if found.problem:
            return False
        if found.bad_lines:
            first, *more = found.bad_lines
            others = f", and {len(more)} more" if more else ""
            log.warning("AUTH_TOKEN_HASHES_FILE: line %d is no SHA-256 in hex and is left out%s", first, others)
        has_changed = found.digests != self._from_file
        if has_changed:
            log.info("AUTH_TOKEN_HASHES_FILE: %d hashes are accepted", len(found.digests))
        self._from_file = found.digests
        return has_changed


def _look(path: Path, known: Signature) -> Found | None:
    """Read the file; None if it is the one of the known signature."""
    signature: Signature = ()
    try:
        # Not to wait for a writer if it has become a FIFO.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                return Found("is no regular file")
            signature = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
            if signature == known:
                return None
            content = file.read(MAX_FILE_BYTES + 1)
        return parse(content)._replace(signature=signature)
    except OSError as error:
        return Found(f"can't be read ({error.strerror})")
    except ValueError as error:
        return Found(str(error), signature)  # it need not be read again while it is the same
