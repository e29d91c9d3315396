"""Each question of the bench that compares fastgw under other conditions runs in short and gives its figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.harness.cores import assign
from bench.harness.streams import Heard
from bench.questions import connections_cost, latency_open_loop, soak, streams_many
from bench.questions.knobs import KNOBS
from bench.questions.soak import Slice, growth, slower

pytestmark = pytest.mark.bench
REPOSITORY = Path(__file__).parents[2]


def asked(output: Path, *arguments: str) -> dict[str, Any]:
    """The answers' data of a run without a verdict, as those of so short a run would be chance."""
    command = [sys.executable, "-m", "bench", *arguments, "--no-verdict", "--output", str(output)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    questions: dict[str, Any] = json.loads((output / "latest" / "results.json").read_text())["questions"]
    return questions


def test_latency_in_an_open_loop_at_shares_of_capacity(tmp_path: Path) -> None:
    found = asked(tmp_path, "latency_open_loop", "--rounds", "1", "--seconds", "1", "--against", "nginx")
    by_share = found["latency_open_loop"]["fastgw_whole"]
    assert list(by_share) == [f"{share:.0%}" for share in latency_open_loop.SHARES]
    rates = [by_share[share]["per_second"]["median"] for share in by_share]
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(0.1 * by_share["10%"]["capacity"]["median"])
    assert 0 < by_share["10%"]["p50_ms"]["median"] <= by_share["10%"]["p99_ms"]["median"]
    (pair,) = by_share["10%"]["rounds"]
    assert pair["through"]["errors"] == 0
    assert pair["through"]["requests"] == pytest.approx(rates[0], rel=0.3)


def test_bodies_processes_and_knobs(tmp_path: Path) -> None:
    knobs = ("access log", "pool size", "backlog", "nginx keeps connections to the gateway")
    chosen = [word for knob in knobs for word in ("--knob", knob)]
    questions = ("bodies_cost", "scale_processes", "tuning")
    found = asked(tmp_path, *questions, "--rounds", "1", "--seconds", "1", "--against", "httpx_naive", *chosen)
    bodies = found["bodies_cost"]["fastgw"]
    assert set(bodies) == {f"{way} {kib} KiB" for way in ("down", "up") for kib in (1, 4, 16, 64)}
    for figures in bodies.values():
        assert figures["cpu_us"]["median"] > 0
        assert [sample["errors"] for sample in figures["rounds"]] == [0]
    assert {"1", "2"} <= set(found["scale_processes"])
    assert found["scale_processes"]["1"]["of_one"]["median"] == 1
    assert set(found["tuning"]) == set(knobs)
    pool = found["tuning"]["pool size"]
    assert pool["ratio"]["median"] > 1.5, "16 connections to a backend that takes 50 ms carry 320 a second"


def test_streams_and_a_soak_in_short(tmp_path: Path) -> None:
    questions = ("streams_many", "soak")
    found = asked(tmp_path, *questions, "--many-streams", "200", "--soak-requests", "1000")
    heard = found["streams_many"]["fastgw"]["heard"]
    assert (heard["delivering"], heard["streams"]) == (200, 200)
    assert heard["received"] >= 200 * 4
    slices = found["soak"]["fastgw_whole"]["rounds"]
    assert {one["load"] for one in slices} == {"misses", "hits", "posts", "distinct"}
    assert sum(one["errors"] for one in slices) == 0
    assert all(one["requests"] > 100 for one in slices)


def test_a_leak_and_a_slow_end_are_seen() -> None:
    def slices(memory: list[float], p99: list[float]) -> list[Slice]:
        return [Slice("hits", 10, 0, p99_ms, mib, 5, 1.0) for mib, p99_ms in zip(memory, p99, strict=True)]

    steady = slices([60, 70, 71, 70, 71, 70, 71, 71], [1.0] * 8)
    assert growth(steady, "memory_mib") == 0
    assert slower(steady, "hits") == 1
    leaking = slices([60, 70, 80, 90, 100, 110, 120, 130], [1, 1, 1, 1, 2, 2, 3, 3])
    assert growth(leaking, "memory_mib") == 40
    assert slower(leaking, "hits") == 3
    missed = {budget.promise: budget.is_met for budget in soak.answer(leaking).budgets}
    assert [promise for promise, is_met in missed.items() if not is_met] == [
        "memory growth over the soak, MiB",
        "memory of the worker, at most, MB",
        "p99 at the end over the beginning",
    ]


def test_streams_that_do_not_deliver_miss_the_budget() -> None:
    plan = streams_many.Plan.__new__(streams_many.Plan)
    plan = streams_many.Plan(10, assign())
    answer = streams_many.answer(plan, streams_many.Many(1, Heard(10, 9, 3, 12.0, 40), 20.0))
    assert [budget.is_met for budget in answer.budgets] == [False, True]


def test_names_of_knobs_and_loads_are_single() -> None:
    names = [knob.name for knob in KNOBS]
    assert len(names) == len(set(names))
    assert all(knob.before.name != knob.after.name for knob in KNOBS)
    assert connections_cost.load_name(connections_cost.LIMITED_AT) in {
        connections_cost.load_name(number) for number in connections_cost.CONNECTIONS
    }
