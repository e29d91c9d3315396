"""What others wrote, whatever it is, gives a worker that can be shown, or none."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import orjson
import pytest

from fastgw.workers.parse import (
    HEARTBEAT_STALE_S,
    MAX_EXTRA_BYTES,
    MAX_EXTRAS,
    MAX_ID_BYTES,
    UNREADABLE,
    keys_of,
    read_worker,
    restore,
    select,
    totals,
    worker_id,
)

NOW = 1_760_000_000.0
NOW_ISO = "2025-10-09T08:53:20.000Z"
GPU = {"name": "NVIDIA L4", "memory_total_mb": 23034, "memory_used_mb": 512, "utilization_percent": 7.5}
STATUS = {"status": "busy", "region": "asia-east", "uptime_seconds": 77, "jobs_completed": 3}
FIELDS = ["worker_id", "region", "status", "gpu", "last_heartbeat", "uptime_seconds", "jobs_completed"]


def text(content: Any) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content).encode()


def read(status: Any = None, gpu: Any = None, beat: Any = None, now: float = NOW, name: bytes = b"w1") -> Any:
    values = [None if value is None else text(value) for value in (status, gpu, beat)]
    return read_worker(name, (values[0], values[1], values[2]), now)


def test_a_worker_in_full():
    worker = read(STATUS, GPU, b"1760000000.000")
    assert list(worker) == FIELDS
    assert worker == {
        "worker_id": "w1",
        "region": "asia-east",
        "status": "busy",
        "gpu": GPU,
        "last_heartbeat": NOW_ISO,
        "uptime_seconds": 77,
        "jobs_completed": 3,
    }


def test_without_keys_there_is_no_worker():
    assert read() is None


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (b"worker:w1:status", b"w1"),
        (b"worker:w1:gpu", b"w1"),
        (b"worker:w1:heartbeat", b"w1"),
        (b"worker:a:b:c:status", b"a:b:c"),
        (b"worker:w1:gpu:status", b"w1:gpu"),
        (b"worker:\xff\x00:gpu", b"\xff\x00"),
        (b"worker::x:gpu", b":x"),
        (b"worker::status", None),
        (b"worker:status", None),
        (b"worker:w1:jobs", None),
        (b"worker:w1:status ", None),
        (b"worker:w1:STATUS", None),
        (b"worker:w1", None),
        (b"worker:", None),
        (b"workers:w1:status", None),
        (b"gateway:worker:w1:status", None),
        (b"", None),
        (b"worker:" + b"x" * MAX_ID_BYTES + b":gpu", b"x" * MAX_ID_BYTES),
        (b"worker:" + b"x" * (MAX_ID_BYTES + 1) + b":gpu", None),
    ],
)
def test_the_id_in_a_key(key, name):
    assert worker_id(key) == name
    if name is not None:
        assert key in keys_of(name)


@pytest.mark.parametrize("name", [b"\xff\xfe", b"caf\xc3\xa9", b"a b", b'"', b"\x1b[31m", b"\x00"])
def test_any_id_can_be_shown(name):
    worker = read(STATUS, name=name)
    assert orjson.loads(orjson.dumps(worker)) == worker
    assert restore(worker) == worker


@pytest.mark.parametrize(
    "status",
    [
        b'{"status": "bu',
        b"",
        b"null",
        b"17",
        b"[]",
        b"true",
        b'"neither"',
        b"\xff\xfe\x00",
        b"{" * 5000,
        b"[" * 65536,
        b'{"status": NaN}',
        b'{"a": "\\ud800"}',
        b"x" * 65536,
        UNREADABLE,
        {},
        {"status": None},
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_status_that_tells_nothing(status):
    assert read(status)["status"] == "unknown"
    assert read(status, GPU)["gpu"] == GPU
    alive = read(status, GPU, b"%d" % NOW)
    assert (alive["status"], alive["region"], alive["gpu"]) == ("online", None, GPU)
    assert read(status, None, b"%d" % (NOW - 100))["status"] == "offline"


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("online", "online"),
        ("idle", "idle"),
        ("busy", "busy"),
        ("going_offline", "going_offline"),
        ("offline", "offline"),
        ("BUSY", "busy"),
        (" Idle\n", "idle"),
        ("going-offline", "unknown"),
        ("on fire", "unknown"),
        ("", "unknown"),
        ("unknown", "unknown"),
        ("x" * 60_000, "unknown"),
        (1, "unknown"),
        (True, "unknown"),
        (["busy"], "unknown"),
        ({"busy": 1}, "unknown"),
    ],
)
def test_states(told, shown):
    assert read({"status": told})["status"] == shown
    assert read({"status": told}, None, b"%d" % NOW)["status"] == shown


@pytest.mark.parametrize("value", [b"busy", b" busy\n", b'"busy"', b"BUSY", b'"Busy"'])
def test_a_bare_word_is_a_state(value):
    assert read(value)["status"] == "busy"


def test_a_status_without_its_state_is_online_when_it_beats():
    told = {"region": "oceania"}
    assert read(told, None, b"%d" % NOW)["status"] == "online"
    assert read(told)["status"] == "unknown"


def test_only_a_heartbeat_counts_as_online():
    worker = read(beat=b"%d" % NOW)
    assert worker == dict.fromkeys(FIELDS) | {"worker_id": "w1", "status": "online", "last_heartbeat": NOW_ISO}


def test_only_a_gpu_is_a_worker_of_which_nothing_is_known():
    worker = read(gpu=GPU)
    assert (worker["status"], worker["last_heartbeat"], worker["gpu"]) == ("unknown", None, GPU)


@pytest.mark.parametrize("state", ["online", "idle", "busy", "going_offline", "offline", "on fire"])
@pytest.mark.parametrize(("age_s", "is_stale"), [(0, False), (-3600, False), (60, False), (60.5, True), (1e8, True)])
def test_silence_means_offline(state, age_s, is_stale):
    shown = read({"status": state}, None, f"{NOW - age_s:.3f}".encode())["status"]
    assert shown == ("offline" if is_stale else "unknown" if state == "on fire" else state)
    assert HEARTBEAT_STALE_S == 60


@pytest.mark.parametrize(
    "beat",
    [
        b"1760000000",
        b"1760000000.0",
        b"1.76e9",
        b" 1760000000\n",
        b'"1760000000"',
        b"1760000000000",
        b"1760000000000.0",
        b"1760000000000000",
        b"1760000000000000000",
        b"2025-10-09T08:53:20",
        b"2025-10-09T08:53:20Z",
        b"2025-10-09 08:53:20+00:00",
        b"2025-10-09T10:53:20+02:00",
        b'"2025-10-09T08:53:20.000000+00:00"',
        b"20251009T085320Z",
    ],
)
def test_a_heartbeat_in_each_form(beat):
    assert read(beat=beat)["last_heartbeat"] == NOW_ISO
    if b'"' not in beat:
        assert read({"last_heartbeat": beat.decode()})["last_heartbeat"] == NOW_ISO


@pytest.mark.parametrize(
    "beat",
    [
        b"",
        b"now",
        b"-1",
        b"0",
        b"nan",
        b"inf",
        b"-inf",
        b"1e400",
        b"1e300",
        b"1" * 65,
        b"\xff\xff",
        b"{}",
        b"[1760000000]",
        b"0001-01-01T00:00:00+14:00",
        b"9999-12-31T23:59:59-14:00",
        b"1969-12-31T23:59:59Z",
        b"2025-13-40",
        b"x" * 65536,
        UNREADABLE,
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_heartbeat_that_is_none(beat):
    worker = read({"status": "busy"}, None, beat)
    assert (worker["last_heartbeat"], worker["status"]) == (None, "busy")


def test_the_heartbeat_in_the_status_counts_when_there_is_no_other():
    told = {"status": "busy", "last_heartbeat": NOW - 100}
    assert read(told)["status"] == "offline"
    assert read(told, None, b"rubbish")["status"] == "offline"
    assert read(told, None, b"%d" % NOW)["status"] == "busy"


@pytest.mark.parametrize(
    "gpu", [b"", b"null", b"[]", b'"A100"', b"{", b"7", [GPU], UNREADABLE], ids=lambda value: repr(value)[:24]
)
def test_a_gpu_that_is_none(gpu):
    assert read(STATUS, gpu)["gpu"] is None


def test_a_gpu_told_in_the_status():
    assert read({**STATUS, "gpu": GPU})["gpu"] == GPU
    assert read({**STATUS, "gpu": "A100"})["gpu"] is None
    assert read({**STATUS, "gpu": GPU}, {"name": "other"})["gpu"]["name"] == "other"


@pytest.mark.parametrize("value", [None, "12", True, [], {}, -1, -0.5, 2**53 + 1, 10**40, "x" * 50_000])
@pytest.mark.parametrize("name", ["memory_total_mb", "memory_used_mb", "utilization_percent"])
def test_a_number_that_is_none(name, value):
    assert read(STATUS, {**GPU, name: value})["gpu"] == {**GPU, name: None}


@pytest.mark.parametrize("value", [0, 7, 0.5, 2**53])
def test_numbers_stay_as_they_are(value):
    worker = read({"uptime_seconds": value, "jobs_completed": value}, {"utilization_percent": value})
    assert (worker["uptime_seconds"], worker["jobs_completed"]) == (value, value)
    assert worker["gpu"] == {**dict.fromkeys(GPU), "utilization_percent": value}


@pytest.mark.parametrize("value", [None, 7, "", "x" * 65, ["asia-east"], {"code": "asia-east"}])
def test_a_region_that_is_none(value):
    assert read({**STATUS, "region": value})["region"] is None


def test_a_name_of_a_gpu_is_bounded():
    assert read(STATUS, {**GPU, "name": "x" * 128})["gpu"]["name"] == "x" * 128
    assert read(STATUS, {**GPU, "name": "x" * 129})["gpu"]["name"] is None


def test_the_key_names_the_worker():
    assert read({**STATUS, "worker_id": "another"})["worker_id"] == "w1"


def test_further_fields_are_kept():
    more = {
        "current_job_id": None,
        "version": "1.2",
        "models": ["llama", "sdxl"],
        "load": {"1m": 0.5},
        "draining": False,
    }
    worker = read({**STATUS, **more})
    assert list(worker) == FIELDS + list(more)
    assert {name: worker[name] for name in more} == more


def test_further_fields_are_bounded_in_number():
    worker = read({f"f{number}": 1 for number in range(5000)})
    assert list(worker)[len(FIELDS) :] == [f"f{number}" for number in range(MAX_EXTRAS)]


def test_further_fields_are_bounded_in_size():
    worker = read({"a": "x" * MAX_EXTRA_BYTES, "b": "y" * 900, "c": "z" * 200, "d": 1})
    assert list(worker)[len(FIELDS) :] == ["b", "d"]


def test_what_is_nested_too_deeply_is_left_out():
    worker = read(b'{"deep": ' + b"[" * 300 + b"]" * 300 + b', "flat": 1}')
    assert list(worker)[len(FIELDS) :] == ["flat"]


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "auth_token",
        "TOKEN",
        "apiKey",
        "api_key",
        "api-key",
        "password",
        "clientSecret",
        "authorization",
        "cookie",
    ],
)
def test_nothing_secret_is_shown(name):
    assert "hush" not in str(read({**STATUS, name: "hush"}))
    assert "hush" not in str(read({**STATUS, "config": {"a": 1, name: "hush"}}))
    assert "hush" not in str(read({**STATUS, name: ["hush"]}))
    assert "hush" not in str(read({**STATUS, name: {"value": "hush"}}))


def test_counts_of_tokens_are_no_secrets():
    more = {
        "tokens_per_second": 41.5,
        "max_tokens": 4096,
        "limits": {"max_tokens": 7},
        "author": "me",
        "note": "no token",
    }
    assert read({**STATUS, **more}).items() >= more.items()


def test_any_bytes_give_a_worker_that_can_be_written_and_read_back():
    pick = random.Random(5)
    pieces = [
        b'"status"',
        b":",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b'"busy"',
        b"1e9",
        b"null",
        b"\xff",
        b'"',
        b"\\u0000",
        b"-",
    ]
    for _ in range(3000):
        made = [pick.choice([None, b"".join(pick.choices(pieces, k=pick.randrange(12))), b"\xff{"]) for _ in range(3)]
        values = (made[0], made[1], made[2])
        worker = read_worker(pick.randbytes(5), values, NOW)
        if values == (None, None, None):
            assert worker is None
            continue
        assert worker is not None
        assert list(worker)[:7] == FIELDS
        assert restore(orjson.loads(orjson.dumps(worker))) == worker


def test_a_worker_is_bounded_whatever_was_written():
    big = {f"{'k' * 500}{n}": "\x01" * 100 for n in range(60)}
    worker = read(
        {**STATUS, "region": "\x01" * 64, **big}, {"name": "\x01" * 128}, b"%d" % NOW, name=b"\xff" * MAX_ID_BYTES
    )
    assert len(orjson.dumps(worker)) < 5000


@pytest.mark.parametrize(
    "content",
    [
        None,
        7,
        "w1",
        [],
        {},
        {"worker_id": "w1"},
        {"worker_id": "w1", "status": "on fire"},
        {"worker_id": "w1", "status": ["busy"]},
        {"worker_id": "", "status": "busy"},
        {"worker_id": 7, "status": "busy"},
        {"worker_id": "x" * 5000, "status": "busy"},
    ],
)
def test_what_is_no_worker_is_not_restored(content):
    assert restore(content) is None


def test_what_is_restored_is_mended():
    hostile = {
        "worker_id": "w",
        "status": "busy",
        "gpu": {"name": 7},
        "region": [],
        "last_heartbeat": "x",
        "token": "hush",
    }
    assert restore(hostile) == dict.fromkeys(FIELDS) | {"worker_id": "w", "status": "busy", "gpu": dict.fromkeys(GPU)}


def test_totals():
    states = ["online", "idle", "idle", "busy", "going_offline", "offline", "unknown"]
    workers = [read({"status": state}) for state in states]
    assert totals(workers) == {"total": 7, "online": 4, "busy": 1, "idle": 2}
    assert totals([]) == {"total": 0, "online": 0, "busy": 0, "idle": 0}


@pytest.mark.parametrize(
    ("regions", "states", "found"),
    [
        ((), (), "abc"),
        (("asia-east",), (), "ab"),
        (("asia-east", "oceania"), (), "abc"),
        (("asia-east",), ("busy",), "a"),
        ((), ("busy", "idle"), "abc"),
        (("Asia-East",), (), ""),
        (("mars",), (), ""),
        ((), ("on fire",), ""),
    ],
)
def test_select(regions, states, found):
    told = [("a", "asia-east", "busy"), ("b", "asia-east", "idle"), ("c", "oceania", "busy")]
    workers = [read({"region": region, "status": state}, name=name.encode()) for name, region, state in told]
    assert "".join(worker["worker_id"] for worker in select(workers, regions, states)) == found


def test_a_worker_without_region_is_in_none():
    assert select([read({"status": "busy"})], ("asia-east",), ()) == []


def test_no_number_is_infinite():
    assert math.isfinite(read(b'{"uptime_seconds": 9007199254740992}')["uptime_seconds"])
