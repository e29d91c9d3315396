"""results/kept/figures.json: the newest kept answer of each question, from which pages are written.

`python -m bench QUESTION --keep` puts an answer there; scripts/render_figures.py writes tuning.md and README from it.
A question that was not asked stays as it was, with the machine and the commit of its own run.
"""

from __future__ import annotations

import json
import shutil
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.report.answer import Answer

NAME = "figures.json"


def keep(folder: Path, environment: dict[str, Any], method: dict[str, Any], answers: Sequence[Answer]) -> Path:
    """folder: results. The file written. Pictures of the run, in folder/latest, are kept beside it."""
    path = folder / "kept" / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = load(folder)
    for answer in answers:
        kept[answer.question] = {
            "environment": environment,
            "method": method,
            "data": plain(without_rounds(answer.data)),
            "budgets": [plain(budget.as_json()) for budget in answer.budgets],
        }
    path.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    for picture in (folder / "latest").glob("*.svg"):
        shutil.copy(picture, path.parent)
    return path


def load(folder: Path) -> dict[str, Any]:
    """By question; empty if nothing was kept."""
    path = folder / "kept" / NAME
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def without_rounds(data: Any) -> Any:
    """The figures without those of each round, at any depth."""
    if isinstance(data, dict):
        return {name: without_rounds(value) for name, value in data.items() if name != "rounds"}
    return data


def plain(value: Any) -> Any:
    """For JSON, which has no NaN and no infinity: they become null."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value
