"""REGIONS_FILE: a bad one stops the start, and a reload, with all that is wrong with it."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

from tests.support.serve_process import ServeProcess, until

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {"regions": {"here": "Here", "there": "There"}, "distances": {"here": {"there": 1}}}


def test_a_bad_file_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "regions.json"
    file.write_text(json.dumps({"regions": {"here": "Here", "there": "There"}, "countries": {"DE": "nowhere"}}))
    with ServeProcess.serve(tmp_path, REGIONS_FILE=str(file)) as gateway:
        assert gateway.process.wait(15) == 1
        assert f"REGIONS_FILE {file} can't be used:" in gateway.log
        assert "distances: from here to there is missing" in gateway.log
        assert "countries: what 'DE' stands for is none of the regions" in gateway.log
        assert "Traceback" not in gateway.log


def test_a_file_that_went_bad_is_not_taken_over(tmp_path: Path) -> None:
    file = tmp_path / "regions.json"
    file.write_text(json.dumps(GOOD))
    with ServeProcess.serve(tmp_path, workers=1, REGIONS_FILE=str(file)) as gateway:
        before = gateway.wait_up()
        file.write_text("{")
        gateway.tell(signal.SIGHUP)
        until(lambda: "reload refused" in gateway.log, 10, "the refusal")
        assert "it is no JSON" in gateway.log
        assert gateway.pids() == before
