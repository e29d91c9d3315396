"""What a process tells of itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastgw.endpoints import resources as module
from fastgw.endpoints.resources import resources
from tests.pure.loop import in_loop


@in_loop
async def test_it_is_this_process_in_the_units_that_the_names_tell() -> None:
    facts = resources()
    assert facts["pid"] == os.getpid()
    assert 5 < facts["rss_mb"] < 2000
    assert 0 < facts["cpu_seconds"] < 3600
    assert 2 < facts["open_files"] <= facts["max_open_files"]
    assert facts["threads"] >= 1
    assert facts["loop"] == {"kind": "uvloop", "tasks": 1}


@in_loop
async def test_a_file_more_is_a_file_more() -> None:
    before = resources()["open_files"]
    with Path(__file__).open("rb"):
        assert resources()["open_files"] == before + 1


@in_loop
async def test_what_the_system_does_not_tell_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "PROC", tmp_path / "none")
    facts = resources()
    assert (facts["rss_mb"], facts["open_files"]) == (None, None)
    assert facts["cpu_seconds"] > 0
