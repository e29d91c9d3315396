"""What GPU workers write to Redis, as the list of workers shows it. Pure.

    worker:{id}:status      JSON object {status, region, uptime_seconds, jobs_completed, ...}, or just a state's word
    worker:{id}:gpu         JSON object {name, memory_total_mb, memory_used_mb, utilization_percent}
    worker:{id}:heartbeat   when the worker was last heard: Unix time, or ISO 8601

Others write these keys, at any moment and in any state: half-written, not JSON, of other types, huge. Every reader here
gives what it can make sense of and None in place of the rest; none of them raises. What is given can always be written
as JSON, and its size is bounded: at most about 3 KiB a worker.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

Worker = dict[str, Any]
"""{worker_id, region, status, gpu, last_heartbeat, uptime_seconds, jobs_completed, ...}; all but the first may be None,
except status. gpu: {name, memory_total_mb, memory_used_mb, utilization_percent}. last_heartbeat: ISO 8601 in UTC."""

PREFIX: Final = b"worker:"
PARTS: Final = (b"status", b"gpu", b"heartbeat")
UNREADABLE: Final = b""
"""The value of a key that is there but can't be read: of another type, or too large."""

AT_WORK: Final = frozenset({"online", "idle", "busy"})
STATES: Final = AT_WORK | {"going_offline", "offline"}
UNKNOWN: Final = "unknown"
"""Shown for a state that is none of the platform's."""

HEARTBEAT_STALE_S: Final = 60.0
"""Seconds after which silence means offline. Workers beat every 5 to 30 s, so at least two beats were missed."""

MAX_REGIONS: Final = 50
"""That are told apart in figures."""

MAX_ID_BYTES: Final = 256
"""The platform's ids are UUIDs or host names (at most 253 bytes); other keys are not shown as workers."""

MAX_REGION: Final = 64
MAX_GPU_NAME: Final = 128
"""Characters. Real ones have under 20 and under 50."""

MAX_EXTRAS: Final = 32
MAX_EXTRA_BYTES: Final = 1024
"""Further fields of one worker's status that are shown, and the bytes of all of them as JSON: what a worker tells of
itself has some hundred bytes, and 10,000 workers must stay a list that can be sent."""

MAX_NUMBER: Final = 2**53
"""Whole numbers up to here are the same in every JSON reader (RFC 8259 6)."""

_MAX_TIME_TEXT: Final = 64
_FIRST_FINER: Final = 1e11
"""A time from here on is not in seconds (that would be the year 5138) but in ms, us or ns (1e11 ms: March 1973)."""
_LAST_TIME: Final = 1e20
"""The year 5138 in nanoseconds."""

_SHAPED: Final = frozenset(
    {"worker_id", "region", "status", "gpu", "last_heartbeat", "uptime_seconds", "jobs_completed"}
)
_SECRET: Final = re.compile(
    rb'"[^"]*(?:token|secret|passw|passphrase|api[_-]?key|credential|private|cookie|auth(?!or(?!i)))[^"]*":["\[{]',
    re.IGNORECASE,
)
"""A field that holds a secret, by its name and its value: a text or more, as `tokens_per_second` is a number."""


def worker_id(key: bytes) -> bytes | None:
    """The id in `worker:{id}:{part}`; None if the key is another one. An id may hold colons: the part is the last."""
    if not key.startswith(PREFIX):
        return None
    name, _, part = key[len(PREFIX) :].rpartition(b":")
    return name if 0 < len(name) <= MAX_ID_BYTES and part in PARTS else None


def keys_of(name: bytes) -> tuple[bytes, bytes, bytes]:
    """The three keys of a worker: status, gpu, heartbeat."""
    start = PREFIX + name + b":"
    return start + PARTS[0], start + PARTS[1], start + PARTS[2]


def read_worker(name: bytes, values: tuple[bytes | None, bytes | None, bytes | None], now: float) -> Worker | None:
    """A worker from its id and the values of its three keys; None if it has none of them (any more).

    A value is None if there is no such key, UNREADABLE if it can't be read. now: Unix seconds.
    """
    status, gpu, heartbeat = values
    if status is None and gpu is None and heartbeat is None:
        return None
    told = _status_fields(status)
    beat = _moment(heartbeat.decode(errors="replace")) if heartbeat and len(heartbeat) <= _MAX_TIME_TEXT else None
    if beat is None:
        beat = _moment(told.get("last_heartbeat"))
    seen = told if gpu is None else {**told, "gpu": _json(gpu)}
    return _shaped(name.decode(errors="backslashreplace"), seen, _state(told, beat, now), beat)


def restore(content: Any) -> Worker | None:
    """A worker of a list that was read back from Redis, where others could have changed it; None if it is none."""
    if not isinstance(content, dict):
        return None
    name = _text(content.get("worker_id"), 4 * MAX_ID_BYTES)  # a byte that is no UTF-8 is shown as four characters
    status = content.get("status")
    if name is None or status not in (*STATES, UNKNOWN):
        return None
    return _shaped(name, content, status, _moment(content.get("last_heartbeat")))


def totals(workers: Collection[Worker]) -> dict[str, int]:
    """{total, online, busy, idle}; online are all that are at work: online, idle or busy."""
    states = [worker["status"] for worker in workers]
    return {
        "total": len(states),
        "online": sum(state in AT_WORK for state in states),
        "busy": states.count("busy"),
        "idle": states.count("idle"),
    }


def by_region(workers: Iterable[Worker]) -> list[dict[str, Any]]:
    """{region, total, online, busy, utilization_percent} of each region, busy ones among online, in order of the names.

    utilization_percent: mean of the GPUs that tell it, or None. Region "" for workers without one; beyond MAX_REGIONS
    all others are "other", as whoever writes worker:* may name what it likes.
    """
    found: dict[str, dict[str, Any]] = {}
    for worker in workers:
        name = worker["region"] or ""
        if name not in found and len(found) >= MAX_REGIONS:
            name = "other"
        region = found.setdefault(name, {"region": name, "total": 0, "online": 0, "busy": 0, "used": []})
        region["total"] += 1
        region["online"] += worker["status"] in AT_WORK
        region["busy"] += worker["status"] == "busy"
        gpu = worker["gpu"]
        if worker["status"] in AT_WORK and gpu is not None and gpu.get("utilization_percent") is not None:
            region["used"].append(gpu["utilization_percent"])
    for region in found.values():
        used = region.pop("used")
        region["utilization_percent"] = round(sum(used) / len(used), 1) if used else None
    return [found[name] for name in sorted(found)]


def select(workers: Iterable[Worker], regions: Collection[str], states: Collection[str]) -> list[Worker]:
    """The workers of these regions and in these states, each exactly as written; an empty collection means any."""
    return [
        worker
        for worker in workers
        if (not regions or worker["region"] in regions) and (not states or worker["status"] in states)
    ]


def _shaped(name: str, told: dict[str, Any], state: str, beat: float | None) -> Worker:
    """The worker in the form in which it is shown. told: what it says, of whatever types."""
    return {
        "worker_id": name,
        "region": _text(told.get("region"), MAX_REGION),
        "status": state,
        "gpu": _gpu(told.get("gpu")),
        "last_heartbeat": None if beat is None else _iso(beat),
        "uptime_seconds": _number(told.get("uptime_seconds")),
        "jobs_completed": _number(told.get("jobs_completed")),
        **_extras(told),
    }


def _status_fields(value: bytes | None) -> dict[str, Any]:
    """The fields of a status; of a bare word, in JSON's quotes or without, the one that it is."""
    content = _json(value)
    if isinstance(content, dict):
        return content
    word = content if isinstance(content, str) else value.decode(errors="replace") if value else ""
    word = word.strip().lower()
    return {"status": word} if word in STATES else {}


def _state(told: dict[str, Any], beat: float | None, now: float) -> str:
    """Offline when silent for too long; else as told; without a word on it, online if there are heartbeats."""
    if beat is not None and now - beat > HEARTBEAT_STALE_S:
        return "offline"
    word = told.get("status")
    if word is None:
        return UNKNOWN if beat is None else "online"
    word = word.strip().lower() if isinstance(word, str) else UNKNOWN
    return word if word in STATES else UNKNOWN


def _gpu(content: Any) -> dict[str, Any] | None:
    if not isinstance(content, dict):
        return None
    return {
        "name": _text(content.get("name"), MAX_GPU_NAME),
        "memory_total_mb": _number(content.get("memory_total_mb")),
        "memory_used_mb": _number(content.get("memory_used_mb")),
        "utilization_percent": _number(content.get("utilization_percent")),
    }


def _extras(told: dict[str, Any]) -> dict[str, Any]:
    """The further fields, in their order, as far as they fit; none that could hold a secret."""
    kept: dict[str, Any] = {}
    left = MAX_EXTRA_BYTES
    for name, value in told.items():
        if name in _SHAPED:
            continue
        if len(kept) == MAX_EXTRAS:
            break
        try:
            text = orjson.dumps({name: value})
        except TypeError:  # nested deeper than orjson writes
            continue
        if len(text) <= left and not _SECRET.search(text):
            kept[name] = value
            left -= len(text)
    return kept


def _json(value: bytes | None) -> Any:
    if not value:
        return None
    try:
        return orjson.loads(value)
    except ValueError:
        return None


def _text(value: Any, limit: int) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= limit else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value <= MAX_NUMBER else None  # NaN is in no range


def _moment(value: Any) -> float | None:
    """Unix seconds, from a number (s, ms, us or ns) or a text: such a number, or ISO 8601, without a zone in UTC."""
    if isinstance(value, str):
        text = value[: _MAX_TIME_TEXT + 1].strip().strip('"').strip()
        try:
            value = float(text)
        except ValueError:
            return _iso_moment(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LAST_TIME:
        return None
    while value >= _FIRST_FINER:
        value /= 1e3
    return float(value)


def _iso_moment(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if 0 < seconds < _FIRST_FINER and math.isfinite(seconds) else None


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
