"""deploy/grafana/fastgw.json is what scripts/make_dashboard.py writes, and Grafana finds in it what it needs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "grafana" / "fastgw.json"
DASHBOARD = json.loads(FILE.read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def test_the_file_is_what_the_script_writes():
    script = "import runpy; print(runpy.run_path('scripts/make_dashboard.py')['page'](), end='')"
    written = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert FILE.read_text() == written.stdout, "run `make docs`"


def test_panels_stand_side_by_side_and_none_on_another():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
    idents = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(idents)) == len(idents)


def test_whoever_imports_it_chooses_the_datasource_and_what_to_look_at():
    names = [one["name"] for one in DASHBOARD["templating"]["list"]]
    assert names == ["datasource", "job", "instance", "route"]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    used = set(re.findall(r"\$\{?([a-z]\w*)", FILE.read_text()))
    assert used == set(names)
    assert all('job=~"$job", instance=~"$instance"' in one["expr"] for panel in PANELS for one in panel["targets"])


def test_latency_has_exemplars():
    latency = [one for panel in PANELS for one in panel["targets"] if "duration_seconds_bucket" in one["expr"]]
    assert latency
    assert all(one["exemplar"] for one in latency)


@pytest.mark.parametrize(("title", "limits"), [("What the gateway itself takes", [None, 0.001, 0.005])])
def test_budgets_are_drawn(title, limits):
    [panel] = [one for one in PANELS if one["title"] == title]
    defaults = panel["fieldConfig"]["defaults"]
    assert [step["value"] for step in defaults["thresholds"]["steps"]] == limits
    assert defaults["custom"]["thresholdsStyle"]["mode"] == "dashed"
