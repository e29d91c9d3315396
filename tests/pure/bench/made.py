"""Answers, environments and lines of history that nobody measured."""

from __future__ import annotations

from typing import Any

from bench.harness.stats import Spread
from bench.report.answer import Answer, Budget, Table

ENVIRONMENT: dict[str, Any] = {
    "time": "2026-11-30T01:02:03+00:00",
    "commit": "0123456789ab",
    "cpu": "Example CPU",
    "cores": 2,
    "memory_gib": 23.5,
    "kernel": "6.18.44-fc-v669",
    "python": "3.11.7",
    "load_average": 0.2,
}
METHOD: dict[str, Any] = {
    "rounds": 3,
    "seconds": 2,
    "connections": 64,
    "redis": "tcp",
    "cores": "one each",
    "load": "wrk",
    "backend": "none",
    "peers": {"fastgw": "fastgw 0.1.0"},
    "left_out": {},
}


def budget(value: float, limit: float = 1.0, at_most: bool = True, reach: tuple[float, float] | None = None) -> Budget:
    """reach: lowest and highest round."""
    spread = None if reach is None else Spread(value, *reach)
    return Budget("CPU as a share of a peer's", value, limit, at_most, spread)


def answer(*budgets: Budget, question: str = "some_cost", **fields: Any) -> Answer:
    given = {"method": "What does it cost?\n\nMethod: none.\n", "tables": (), "data": {}, **fields}
    return Answer(question=question, budgets=budgets, **given)


def table(*notes: str) -> Table:
    return Table("Figures", ("", "us"), (("fastgw", "2.0 [1.0..3.0]"), ("peer", "1.0")), notes)


def line(value: float | None = 1.0, **changes: Any) -> dict[str, Any]:
    """Of history.jsonl, as the first ones were: no machine, and budgets that do not say whose they are."""
    return {
        "environment": ENVIRONMENT | changes.pop("environment", {}),
        "method": METHOD | changes.pop("method", {}),
        "questions": {"some_cost": {}},
        "budgets": [{"promise": "CPU as a share of a peer's", "value": value, "limit": 1.0, "met": True}],
    } | changes
