"""What does a request cost with the full chain: API key, rate limit, cache lookup (a miss), request id?

Method: as forwarding_cost (closed loop, 64 connections unless told otherwise, one worker alone on its core, rounds that
interleave the peers), with X-API-Key in each request, and a Valkey that each peer gets fresh in each round; it shares
the core of load generator and backend. Both peers make one EVALSHA per request of the same script (fastgw's
admission.lua): sliding window, then the entry's lookup, which finds nothing; then the backend answers. fastgw gathers
the calls of an event-loop tick in one write on one connection; nginx has a pool of connections, as cosockets work.
That the chain is on is checked before and after: 401 without a key, X-RateLimit-* with it, a HIT where one is due;
samples with fewer script calls in Redis than requests are named below the table.
"Redis CPU" is user plus system time of the Valkey process per request of the gateway, from /proc.

Read it with care:
- The figure to compare is the gateway's CPU; Redis CPU is not in it. Load generator, backend and Redis share a core on
  a machine with two: then requests/s and latencies are theirs ("core busy" of the gateway well under 100 %).
- nginx_lua does a little less: see its docstring and lua/chain.lua. It speaks RESP by hand; with lua-resty-redis, which
  most would use, it took about 7 us more.
- All requests are one client's with a window of one second, so that it is in its steady state; the window then holds
  tens of thousands of requests. What Redis takes with many clients is in redis_cost.
- Over TCP unless told otherwise (--redis unix): gathering calls saves more where a system call costs more.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.harness.chain import without_redis
from bench.harness.rounds import disturbances
from bench.harness.stats import Spread, ratios, spread
from bench.report.answer import Answer, Budget, Table, show

if TYPE_CHECKING:
    from bench.harness.rounds import Sample

NAME = "chain_cost"
LOADS = ("miss_200",)
SUBJECT, REFERENCE = "fastgw_chain", "nginx_lua"
CPU_LIMIT_OF_NGINX = 1.0  # issue 3, spec 11; the aim is 0.75
FIGURES = ("per_second", "p50_ms", "p99_ms", "cpu_us", "core_busy", "store_us", "store_calls")
COLUMNS = ("requests/s", "p50 ms", "p99 ms", "CPU us/request", "core busy %", "Redis CPU us/request", "errors")


def answer(samples: dict[str, dict[str, list[Sample]]]) -> Answer:
    """samples[load][peer], in the order of rounds."""
    taken = samples[LOADS[0]]
    rows = tuple((peer, *figures(found)) for peer, found in taken.items())
    compared = {
        figure: ratio
        for figure in ("cpu_us", "per_second", "store_us")
        if (ratio := ratio_of(taken.get(SUBJECT, []), taken.get(REFERENCE, []), figure)) is not None
    }
    shown = tuple(show(compared.get(figure), 2) for figure in ("cpu_us", "per_second", "store_us"))
    comparison = ((f"{SUBJECT} / {REFERENCE}", *shown),)
    return Answer(
        question=NAME,
        method=__doc__ or "",
        tables=(
            Table("Full chain, cache miss, 200 bytes", ("", *COLUMNS), rows, notes(taken)),
            Table("Ratios within a round", ("", "CPU", "requests/s", "Redis CPU"), comparison),
        ),
        budgets=_budgets(compared),
        data={peer: data(found, compared if peer == SUBJECT else {}) for peer, found in taken.items()},
    )


def notes(samples: dict[str, list[Sample]]) -> tuple[str, ...]:
    """What speaks against single samples."""
    return (*disturbances(samples), *without_redis(samples))


def of(taken: list[Sample], figure: str) -> list[float]:
    """The figure in each round."""
    return [float(getattr(sample, figure)) for sample in taken]


def ratio_of(taken: list[Sample], references: list[Sample], figure: str) -> Spread | None:
    """Within each round; None where one of them was not measured."""
    if not taken:
        return None
    return ratios(of(taken, figure), of(references, figure))


def figures(taken: list[Sample]) -> tuple[str, ...]:
    """The cells of COLUMNS."""
    return (
        show(spread(of(taken, "per_second")), 0),
        show(spread(of(taken, "p50_ms")), 2),
        show(spread(of(taken, "p99_ms")), 2),
        show(spread(of(taken, "cpu_us")), 1),
        show(spread([100 * busy for busy in of(taken, "core_busy")]), 0),
        show(spread(of(taken, "store_us")), 1),
        str(sum(sample.errors for sample in taken)),
    )


def data(taken: list[Sample], compared: dict[str, Spread]) -> dict[str, Any]:
    """One peer's figures, JSON-ready."""
    return {
        **{name: spread(of(taken, name)).as_json() for name in FIGURES},
        "ratios": {figure: ratio.as_json() for figure, ratio in compared.items()},
        "rounds": [asdict(sample) for sample in taken],
    }


def _budgets(compared: dict[str, Spread]) -> tuple[Budget, ...]:
    if "cpu_us" not in compared:
        return ()
    promise = f"CPU per request with the full chain as a share of {REFERENCE}'s (aim 0.75)"
    return (Budget(promise, compared["cpu_us"].median, CPU_LIMIT_OF_NGINX, spread=compared["cpu_us"]),)
