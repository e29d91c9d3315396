"""Plots of the questions that declare none of their own, from their data; and which plots share a picture. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.report.answer import Dots, Lines, Plot, Point

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.report.answer import Answer

TOGETHER = {"forwarding": ("forwarding_cost", "overhead_c1"), "chain": ("chain_cost", "hit_cost")}
"""latest/<name>.svg -> the questions in it; every other question with plots has a picture under its own name."""

CPU = ("CPU per request, us", "cpu_us")
PER_ROUND = {
    "forwarding_cost": (CPU, ("requests/s on one core", "per_second")),
    "overhead_c1": (("p50 at one connection, ms", "p50_ms"), ("p99 at one connection, ms", "p99_ms")),
    "backends_cost": (CPU,),
    "telemetry_cost": (CPU, ("p99, ms", "p99_ms")),
    "chain_cost": (
        ("full chain, cache miss: CPU per request, us", "cpu_us"),
        ("Redis CPU per request, us", "store_us"),
    ),
}
"""Question -> titles and figures of its samples, one dot per round."""

PER_LOAD = {"hit_cost": (("cache hit, 200 bytes: CPU, us", "hit_200"), ("cache hit, 5 KB: CPU, us", "hit_5k"))}
"""Question -> titles and loads, where a peer's samples are kept by load."""


def plots(answer: Answer) -> tuple[Plot, ...]:
    """Its own, or else what is known of its question; without those that would be empty."""
    return tuple(plot for plot in answer.plots or _known(answer.question, answer.data) if not plot.is_empty)


def pictures(answers: Sequence[Answer]) -> dict[str, tuple[Plot, ...]]:
    """Name of the picture -> its plots, in the order of the answers."""
    name_of = {question: name for name, questions in TOGETHER.items() for question in questions}
    found: dict[str, tuple[Plot, ...]] = {}
    for answer in answers:
        if drawn := plots(answer):
            name = name_of.get(answer.question, answer.question)
            found[name] = (*found.get(name, ()), *drawn)
    return found


def _known(question: str, data: dict[str, Any]) -> Iterable[Plot]:
    for title, figure in PER_ROUND.get(question, ()):
        rounds = {peer: taken["rounds"] for peer, taken in data.items()}
        yield Dots(title, _dots(rounds, figure))
    for title, load in PER_LOAD.get(question, ()):
        rounds = {peer: taken["rounds"][load] for peer, taken in data.items()}
        yield Dots(title, _dots(rounds, "cpu_us"))
    if question == "redis_cost":
        yield from _redis(data)
    if question == "streams_memory":
        each = {peer: [parts["events"].get("kib_each")] for peer, parts in data.items() if "events" in parts}
        yield Dots("memory per open event stream, KiB", {peer: kib for peer, kib in each.items() if kib != [None]})


def _dots(rounds: dict[str, list[dict[str, Any]]], figure: str) -> dict[str, list[float]]:
    """Without direct where it has no figure: it is no gateway, so has no CPU of one."""
    found = {peer: [float(sample[figure]) for sample in taken] for peer, taken in rounds.items()}
    return {peer: values for peer, values in found.items() if any(values)}


def _redis(data: dict[str, Any]) -> Iterable[Plot]:
    for kind, label in (("clients", "clients"), ("entries", "cached entries of 5 KB")):
        series: dict[str, tuple[Point, ...]] = {}
        for row in data[kind].values():
            for asked, cpu in row["cpu_us"].items():
                point = Point(row["size"], cpu["median"], cpu["low"], cpu["high"])
                series[asked] = (*series.get(asked, ()), point)
        yield Lines(f"Redis CPU per call, by {kind}", series, label, "us per call", x_log=True)
