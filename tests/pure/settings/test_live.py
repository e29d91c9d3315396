"""The snapshot in force: who hears of a change, when it is written, what Redis's absence and others' bytes do."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from fastgw.settings import live as module
from fastgw.settings.changes import MAX_BYTES, read
from fastgw.settings.live import RUN_TIME, Contended, Live
from fastgw.settings.load import load
from fastgw.settings.model import Settings
from tests.pure.loop import in_loop


class Away(Exception):
    """Redis can't be asked."""


class Shared:
    """The text, and what stands between it and the process."""

    def __init__(self, text: bytes | None = None) -> None:
        self.text = text
        self.error: Exception | None = None
        self.overtakers: list[bytes] = []
        """What other writers put there, one before each of our swaps."""
        self.swaps = 0

    async def read(self) -> bytes | None:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return self.text

    async def swap(self, old: bytes | None, new: bytes) -> bool:
        await asyncio.sleep(0)
        self.swaps += 1
        if self.overtakers:
            self.text = self.overtakers.pop(0)
        if self.text != old:
            return False
        self.text = new
        return True

    @property
    def changes(self) -> Any:
        return dict(read(self.text).changes)


def live_on(shared: Shared, **environ: str) -> tuple[Live, list[Settings]]:
    live = Live(load(environ, None), shared, Away)
    heard: list[Settings] = []
    live.subscribe(heard.append)
    return live, heard


def text(revision: int = 1, **changes: Any) -> bytes:
    return json.dumps(
        {"v": 1, "changes": changes, "revision": revision, "updated": "2026-01-31T12:00:00.000Z"}
    ).encode()


@in_loop
async def test_a_change_is_stored_and_in_force_and_told_at_once() -> None:
    shared = Shared()
    live, heard = live_on(shared, RATE_LIMIT_MAX_REQUESTS="70")
    before = live.settings
    proposal = await live.change({"rate_limit_max_requests": 500, "LOG_LEVEL": "debug"})
    assert proposal.problems == {}
    assert (live.settings.rate_limit_max_requests, live.settings.log_level) == (500, "debug")
    assert heard == [live.settings]
    assert before.rate_limit_max_requests == 70, "a snapshot that somebody holds does not change"
    assert shared.changes == {"RATE_LIMIT_MAX_REQUESTS": "500", "LOG_LEVEL": "debug"}
    assert live.snapshot.revision == 1
    assert repr(live) == "<Live revision=1 changes=2>"


@in_loop
async def test_others_follow_by_refresh_and_hear_of_it_once() -> None:
    shared = Shared()
    first, second = live_on(shared)[0], live_on(shared)
    await first.change({"CACHE_ENABLED": False})
    for _ in range(3):
        await second[0].refresh()
    assert second[0].snapshot == first.snapshot
    assert [settings.cache_enabled for settings in second[1]] == [False]


@in_loop
async def test_origins_tell_what_was_changed_at_run_time() -> None:
    live, _ = live_on(Shared(), RATE_LIMIT_MAX_REQUESTS="70", LOG_LEVEL="error")
    await live.change({"LOG_LEVEL": "debug"})
    origins = live.in_force.origins
    assert (origins["LOG_LEVEL"], origins["RATE_LIMIT_MAX_REQUESTS"], origins["CACHE_ENABLED"]) == (
        RUN_TIME,
        "environment",
        "default",
    )
    assert live.in_force.settings is live.settings


@in_loop
async def test_one_problem_and_nothing_is_changed() -> None:
    shared = Shared()
    live, heard = live_on(shared)
    proposal = await live.change({"LOG_LEVEL": "debug", "GATEWAY_PORT": 1})
    assert set(proposal.problems) == {"GATEWAY_PORT"}
    assert (shared.text, heard, shared.swaps) == (None, [], 0)
    assert live.propose({"LOG_LEVEL": "debug"}).problems == {}
    assert shared.text is None


@in_loop
async def test_null_gives_the_environments_value_back_everywhere() -> None:
    shared = Shared(text(7, RATE_LIMIT_MAX_REQUESTS="500"))
    (first, heard), (second, _) = live_on(shared, RATE_LIMIT_MAX_REQUESTS="70"), live_on(shared)
    await first.refresh()
    await second.refresh()
    await second.change({"RATE_LIMIT_MAX_REQUESTS": None})
    await first.refresh()
    assert [settings.rate_limit_max_requests for settings in heard] == [500, 70]
    assert second.settings.rate_limit_max_requests == 100
    assert (shared.changes, first.snapshot.revision) == ({}, 8)


@in_loop
async def test_a_deleted_key_is_the_environments_settings() -> None:
    shared = Shared(text(CACHE_MAX_SIZE=5))
    live, heard = live_on(shared)
    await live.refresh()
    shared.text = None
    await live.refresh()
    assert [settings.cache_max_size for settings in heard] == [5, 1000]
    assert (live.snapshot.revision, live.snapshot.changes) == (0, {})


@in_loop
async def test_a_change_that_changes_nothing_writes_nothing() -> None:
    shared = Shared(text(3, LOG_LEVEL="debug"))
    live, _ = live_on(shared)
    await live.change({"LOG_LEVEL": "debug"})
    await live.change({"CACHE_ENABLED": None})
    assert (shared.swaps, live.snapshot.revision, live.settings.log_level) == (0, 3, "debug")
    empty = Shared()
    await live_on(empty)[0].change({"CACHE_ENABLED": None})
    assert empty.text is None


@in_loop
async def test_no_change_is_lost_between_two_writers() -> None:
    shared = Shared()
    shared.overtakers = [text(1, CACHE_MAX_SIZE="5"), text(2, CACHE_MAX_SIZE="6")]
    live, _ = live_on(shared)
    await live.change({"LOG_LEVEL": "debug"})
    assert shared.changes == {"CACHE_MAX_SIZE": "6", "LOG_LEVEL": "debug"}
    assert (live.settings.cache_max_size, live.snapshot.revision) == (6, 3)


@in_loop
async def test_many_writers_at_once_all_get_their_change_in() -> None:
    shared = Shared()
    changes = [{"CACHE_MAX_SIZE": 7}, {"LOG_LEVEL": "debug"}, {"CACHE_ENABLED": False}, {"FASTAPI_TIMEOUT": 9}]
    lives = [live_on(shared)[0] for _ in changes]
    await asyncio.gather(*(live.change(change) for live, change in zip(lives, changes, strict=True)))
    assert set(shared.changes) == {name for change in changes for name in change}
    assert read(shared.text).revision == len(changes)


@in_loop
async def test_a_writer_that_is_always_overtaken_gives_up() -> None:
    shared = Shared()
    shared.overtakers = [text(n) for n in range(100)]
    live, heard = live_on(shared)
    with pytest.raises(Contended):
        await live.change({"LOG_LEVEL": "debug"})
    assert (heard, shared.swaps) == ([], module.MAX_TRIES)


@in_loop
async def test_without_redis_a_change_fails_and_the_last_snapshot_stays(caplog: pytest.LogCaptureFixture) -> None:
    shared = Shared(text(LOG_LEVEL="debug"))
    live, heard = live_on(shared)
    await live.refresh()
    shared.error = Away("no answer")
    await live.refresh()
    with pytest.raises(Away):
        await live.change({"LOG_LEVEL": "error"})
    assert live.settings.log_level == "debug"
    assert len(heard) == 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@in_loop
async def test_a_lasting_refusal_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    shared = Shared()
    live, _ = live_on(shared)
    for error in ("LOADING", None, "NOPERM", "NOPERM", "NOPERM", "NOPERM"):
        shared.error = RuntimeError(error) if error else None
        await live.refresh()
    assert [record.getMessage() for record in caplog.records] == [
        "gateway:config can't be read, the settings stay as they are: NOPERM"
    ]


@in_loop
async def test_what_others_wrote_is_ignored_with_one_warning_and_good_ones_apply(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shared = Shared(text(LOG_LEVEL="loud", CACHE_MAX_SIZE=7, Whatever="x", ADMIN_TOKEN="hunter2"))
    live, _ = live_on(shared)
    for _ in range(3):
        await live.refresh()
    assert (live.settings.cache_max_size, live.settings.log_level) == (7, "info")
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert sorted(line.split()[3] for line in warnings) == ["ADMIN_TOKEN", "LOG_LEVEL", "Whatever"]
    assert set(live.snapshot.ignored) == {"ADMIN_TOKEN", "LOG_LEVEL", "Whatever"}
    assert "hunter2" not in caplog.text
    caplog.clear()
    shared.text = text(2, LOG_LEVEL="louder", CACHE_MAX_SIZE=7, Whatever="x", ADMIN_TOKEN="hunter2")
    await live.refresh()
    assert [record.getMessage().split()[3] for record in caplog.records] == ["LOG_LEVEL"]


@pytest.mark.parametrize("raw", [b"", b"nonsense", b"\x00\xff", b"[]", b'{"v":9,"changes":{}}', b"x" * (MAX_BYTES + 1)])
@in_loop
async def test_a_text_that_is_not_ours_is_the_environments_settings_and_the_next_change_mends_it(
    raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    shared = Shared(text(4, CACHE_MAX_SIZE="5"))
    live, heard = live_on(shared)
    await live.refresh()
    shared.text = raw
    await live.refresh()
    await live.refresh()
    assert [settings.cache_max_size for settings in heard] == [5, 1000]
    assert set(live.snapshot.ignored) == {"gateway:config"}
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
    await live.change({"LOG_LEVEL": "debug"})
    assert shared.changes == {"LOG_LEVEL": "debug"}
    assert live.snapshot.ignored == {}


@in_loop
async def test_the_stored_text_is_bounded() -> None:
    shared = Shared(text(NEWER="x" * (MAX_BYTES - 200)))
    live, _ = live_on(shared)
    proposal = await live.change({"RATE_LIMIT_RULES": [f"/{n:080}=1/1" for n in range(5)]})
    assert "too much" in proposal.problems[""]
    assert shared.swaps == 0


@in_loop
async def test_a_subscriber_that_fails_does_not_keep_the_others_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    live, _ = live_on(Shared())
    heard: list[Settings] = []

    def fails(settings: Settings) -> None:
        raise RuntimeError("a fault")

    live.subscribe(fails)
    live.subscribe(heard.append)
    await live.change({"LOG_LEVEL": "debug"})
    assert heard == [live.settings]
    assert "could not take over" in caplog.text


@in_loop
async def test_a_starting_process_takes_the_stored_changes_over() -> None:
    live, heard = live_on(Shared(text(2, CACHE_MAX_SIZE="5")))
    assert await live.catch_up()
    assert (live.settings.cache_max_size, len(heard)) == (5, 1)


@in_loop
async def test_a_starting_process_waits_for_redis_but_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CATCH_UP_S", 0.05)
    monkeypatch.setattr(module, "CATCH_UP_PAUSE_S", 0.001)
    shared = Shared(text(LOG_LEVEL="debug"))
    shared.error = Away("not yet")
    live, _ = live_on(shared)
    assert not await live.catch_up()
    assert live.settings.log_level == "info"

    def comes() -> None:
        shared.error = None

    asyncio.get_running_loop().call_later(0.01, comes)
    assert await live.catch_up()
    assert live.settings.log_level == "debug"
