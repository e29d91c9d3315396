"""What does each knob turn?

Method: for each knob fastgw is measured before and after, both fresh, in turn, in each round, under the same load: the
figure that the knob is for, and its ratio after / before within the round; medians over rounds [lowest..highest].
KNOBS below says for each what is changed and what it is asked. tuning.md has these lines, and what follows from them.

Read it with care:
- One knob at a time, from the bench's usual settings (one worker on a core of its own); two together may do more or
  less than both.
- Where the figure is CPU per request, it is that of all the gateway's processes, not of Redis or nginx beside it,
  unless the line says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.harness import burst, rounds
from bench.harness.load import LoadError
from bench.harness.process import StartError, running_peer
from bench.harness.rounds import Ask
from bench.harness.stats import ratios, spread
from bench.questions.knobs import KNOBS, Knob
from bench.report.answer import Answer, Dots, Table, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bench.harness.cores import Cores
    from bench.harness.load import Generator
    from bench.harness.process import Peer, Running

NAME = "tuning"
UNITS = {
    "cpu_us": "CPU us/request",
    "with_backend_us": "CPU us/request, gateway and nginx",
    "with_store_us": "CPU us/request, gateway and Redis",
    "p99_ms": "p99 ms",
    "good_per_second": "good answers/s",
    "slowest_ms": "slowest ms",
    "answered": "answered",
}


@dataclass(frozen=True)
class Plan:
    """knobs: names; empty: all. seconds: before and after each, per round."""

    knobs: tuple[str, ...]
    rounds: int
    seconds: int
    cores: Cores
    generator: Generator

    @property
    def asked(self) -> tuple[Knob, ...]:
        """In the order of KNOBS."""
        return tuple(knob for knob in KNOBS if not self.knobs or knob.name in self.knobs)


@dataclass(frozen=True)
class Turned:
    """before, after: the figure in each round. failed: why there is none."""

    before: tuple[float, ...] = ()
    after: tuple[float, ...] = ()
    failed: str = ""


def measure(plan: Plan, static: Running, slow: Running, told: Callable[[str], None]) -> dict[str, Turned]:
    """By name of the knob. static, slow: the two backends."""
    turned = {}
    for knob in plan.asked:
        told(f"tuning: {knob.name}")
        backend = slow if knob.slow_backend else static
        try:
            turned[knob.name] = _burst(plan, knob, backend) if knob.burst else _rounds(plan, knob, backend)
        except (StartError, LoadError) as error:
            turned[knob.name] = Turned(failed=str(error))
    return turned


def _rounds(plan: Plan, knob: Knob, backend: Running) -> Turned:
    peers = (knob.before, knob.after)
    if knob.in_front:
        with running_peer(knob.in_front, backend, plan.cores.gateway) as gateway:
            return _measured(replace_core(plan), knob, peers, gateway)
    return _measured(plan, knob, peers, backend)


def replace_core(plan: Plan) -> Plan:
    """Where fastgw stands behind: what is in front runs on the core of load and backend."""
    return replace(plan, cores=replace(plan.cores, gateway=plan.cores.backend))


def _measured(plan: Plan, knob: Knob, peers: Iterable[Peer], backend: Running) -> Turned:
    asked = rounds.Plan(
        {knob.name: Ask(knob.connections, knob.path, knob.fields)},
        tuple(peers),
        plan.rounds,
        plan.seconds,
        plan.cores,
        plan.generator,
        store=knob.store,
    )
    outcome = rounds.measure(asked, backend, lambda _line: None)
    if outcome.left_out:
        raise LoadError("; ".join(outcome.left_out.values()))
    before, after = (
        tuple(_figure(sample, knob.figure) for sample in outcome.samples[knob.name][peer.name]) for peer in peers
    )
    return Turned(before, after)


def _figure(sample: rounds.Sample, figure: str) -> float:
    if figure == "with_backend_us":
        return sample.cpu_us + sample.backend_us
    if figure == "with_store_us":
        return sample.cpu_us + sample.store_us
    return float(getattr(sample, figure))


def _burst(plan: Plan, knob: Knob, backend: Running) -> Turned:
    taken: dict[str, list[float]] = {knob.before.name: [], knob.after.name: []}
    for _ in range(plan.rounds):
        for peer in (knob.before, knob.after):
            with running_peer(peer, backend, plan.cores.gateway) as target:
                seen = burst.run(target.port, knob.connections, plan.cores.load)
                taken[peer.name].append(float(getattr(seen, knob.figure)))
    return Turned(tuple(taken[knob.before.name]), tuple(taken[knob.after.name]))


def answer(plan: Plan, turned: dict[str, Turned]) -> Answer:
    """turned: of `measure`."""
    rows, data = [], {}
    for knob in plan.asked:
        found = turned[knob.name]
        data[knob.name] = _data(knob, found)
        if found.failed:
            rows.append((knob.name, knob.change, UNITS[knob.figure], "failed", "-", "-"))
            continue
        ratio = ratios(found.after, found.before)
        figures = (show(spread(found.before), 1), show(spread(found.after), 1), show(ratio, 2))
        rows.append((knob.name, knob.change, UNITS[knob.figure], *figures))
    notes = tuple(f"{name}: {found.failed}" for name, found in turned.items() if found.failed)
    columns = ("knob", "change", "figure", "before", "after", "after / before")
    changes = {
        name: [after / before for before, after in zip(found.before, found.after, strict=True) if before]
        for name, found in turned.items()
        if not found.failed
    }
    plots = (Dots("after / before", changes, limit=1.0),)
    return Answer(NAME, __doc__ or "", (Table("Knobs", columns, tuple(rows), notes),), (), data, plots)


def _data(knob: Knob, found: Turned) -> dict[str, Any]:
    """What tuning.md is written from."""
    if found.failed:
        return {"change": knob.change, "failed": found.failed}
    ratio = ratios(found.after, found.before)
    return {
        "change": knob.change,
        "figure": UNITS[knob.figure],
        "before": spread(found.before).as_json(),
        "after": spread(found.after).as_json(),
        "ratio": ratio.as_json() if ratio else None,
    }
