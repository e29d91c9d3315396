"""The list of workers as one process writes it for the whole fleet, and as the others read it. Pure.

    {"v":"<16 hex>","at":<ms>,"good_s":<seconds>,"any":<bool>,"workers":[...]}

The first four stand at the beginning, in this form, so that a look at the first bytes tells whether there is anything
new: `v` is a digest of all that is not the time, `at` is when it was read, `good_s` how long it passes for fresh.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import orjson

from fastgw.workers.parse import Worker, restore

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_WORKERS: Final = 10_000
"""Workers that are listed. At about 0.4 KiB each that is a list of 4 MB; the guide plans for fifty."""

MAX_BYTES: Final = 32 << 20
"""Of a list that is read back: MAX_WORKERS that use all they may (parse.py)."""

HEAD_BYTES: Final = 96
MIN_GOOD_S: Final = 10
"""Ten rounds: whoever writes the list may die and another take over without anybody being alarmed."""

MAX_GOOD_S: Final = 600
"""A foreign hand can't have a list pass for fresh for longer."""

_HEAD: Final = re.compile(rb'\{"v":"([0-9a-f]{16})","at":(\d{1,15}),"good_s":(\d{1,4}),"any":(true|false),"workers":\[')


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The workers at one moment, ordered by id. has_any: whether Redis held any worker:* key, readable or not."""

    workers: list[Worker] = field(repr=False)
    has_any: bool


@dataclass(frozen=True, slots=True)
class Head:
    """What the first bytes tell. at_ms: Unix milliseconds of whoever wrote it, only to be compared with each other."""

    version: bytes
    at_ms: int
    good_s: int
    has_any: bool


def write(snapshot: Snapshot, at_ms: int, good_s: int) -> tuple[Head, bytes]:
    """The snapshot as text, and its head."""
    body = orjson.dumps(snapshot.workers)
    is_any = b"true" if snapshot.has_any else b"false"
    version = blake2b(is_any + body, digest_size=8).hexdigest().encode()
    start = b'{"v":"%b","at":%d,"good_s":%d,"any":%b,"workers":' % (version, at_ms, good_s, is_any)
    return Head(version, at_ms, good_s, snapshot.has_any), start + body + b"}"


def read_head(start: bytes) -> Head | None:
    """What the first HEAD_BYTES of a text tell; None if it is none of ours."""
    match = _HEAD.match(start)
    if match is None:
        return None
    version, at_ms, good_s, is_any = match.groups()
    return Head(version, int(at_ms), min(max(int(good_s), MIN_GOOD_S), MAX_GOOD_S), is_any == b"true")


def read_contents(text: bytes) -> list[Any] | None:
    """The workers of a whole text, not looked at yet: each goes through parse.restore. None if it can't be read."""
    try:
        content = orjson.loads(text)
    except ValueError:
        return None
    workers = content.get("workers") if isinstance(content, dict) else None
    return workers[:MAX_WORKERS] if isinstance(workers, list) else None


def restored(contents: Sequence[Any]) -> list[Worker]:
    """Those of the contents that are workers."""
    return [worker for content in contents if (worker := restore(content)) is not None]
