"""The list that one process writes for all: what it tells at its beginning, and what others may have made of it."""

from __future__ import annotations

import json

import pytest

from fastgw.workers import snapshot
from fastgw.workers.parse import read_worker
from fastgw.workers.snapshot import HEAD_BYTES, MAX_GOOD_S, MAX_WORKERS, MIN_GOOD_S, Snapshot

AT_MS = 1_760_000_000_123


def worker(name: bytes = b"w1", state: bytes = b"busy"):
    found = read_worker(name, (state, b'{"name": "L4"}', b"1760000000"), 1_760_000_000)
    assert found is not None
    return found


@pytest.mark.parametrize("workers", [[], [worker()], [worker(b"a"), worker(b"b", b"idle")]], ids=len)
@pytest.mark.parametrize("has_any", [True, False])
def test_what_is_written_is_read_back(workers, has_any):
    head, text = snapshot.write(Snapshot(workers, has_any), AT_MS, 30)
    assert snapshot.read_head(text[:HEAD_BYTES]) == snapshot.read_head(text) == head
    assert (head.at_ms, head.good_s, head.has_any) == (AT_MS, 30, has_any)
    contents = snapshot.read_contents(text)
    assert contents is not None
    assert snapshot.restored(contents) == workers
    assert set(json.loads(text)) == {"v", "at", "good_s", "any", "workers"}


def test_the_longest_head_fits():
    _, text = snapshot.write(Snapshot([], has_any=False), 10**15 - 1, 9999)
    assert snapshot.read_head(text[:HEAD_BYTES]) is not None


def test_the_version_tells_of_the_workers_and_not_of_the_time():
    def version(found: Snapshot, at_ms: int = AT_MS) -> bytes:
        return snapshot.write(found, at_ms, 10)[0].version

    base = Snapshot([worker()], has_any=True)
    assert version(base) == version(base, AT_MS + 1000)
    others = [Snapshot([worker(b"w2")], True), Snapshot([worker(state=b"idle")], True), Snapshot([], True)]
    assert len({version(base), *map(version, others), version(Snapshot([], has_any=False))}) == 5


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"null",
        b"OK",
        b"\xff" * 100,
        b'{"v": "0123456789abcdef", "at": 1}',
        b'{"v":"0123456789ABCDEF","at":1,"good_s":10,"any":true,"workers":[]}',
        b'{"v":"0123456789abcdef","at":-1,"good_s":10,"any":true,"workers":[]}',
        b'{"v":"0123456789abcdef","at":1,"good_s":10,"any":1,"workers":[]}',
        b'{"v":"0123456789abcdef","at":' + b"9" * 40 + b',"good_s":10,"any":true,"workers":[]}',
    ],
)
def test_another_text_has_no_head(text):
    assert snapshot.read_head(text) is None


@pytest.mark.parametrize(("told", "taken"), [(0, MIN_GOOD_S), (10, 10), (60, 60), (9999, MAX_GOOD_S)])
def test_nobody_can_make_a_list_good_for_ever(told, taken):
    head = snapshot.read_head(b'{"v":"0123456789abcdef","at":1,"good_s":%d,"any":true,"workers":[]}' % told)
    assert head is not None
    assert head.good_s == taken


@pytest.mark.parametrize("text", [b"", b"[]", b"7", b'{"workers":7}', b"{}", b'{"workers":[{}', b"[" * 5000])
def test_another_text_has_no_workers(text):
    assert snapshot.read_contents(text) is None


def test_what_is_no_worker_is_left_out():
    text = json.dumps({"workers": [7, None, worker(), {"worker_id": "x"}, [worker()]]}).encode()
    contents = snapshot.read_contents(text)
    assert contents is not None
    assert snapshot.restored(contents) == [worker()]


def test_the_number_of_workers_is_bounded():
    contents = snapshot.read_contents(b'{"workers":[' + b",".join([b"1"] * (MAX_WORKERS + 5)) + b"]}")
    assert contents is not None
    assert len(contents) == MAX_WORKERS
