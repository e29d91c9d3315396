"""What does an answer from the cache cost, compared with one from the backend?

Method: in the rounds of chain_cost, each peer in turn gets cache misses and hits with bodies of 200 bytes and of 5 KB;
key, limit and lookup are the same for both, and a hit is validated in Redis for each request. The entry was stored by
the peer itself, from the backend's answer. Ratios are taken within a round and a peer.

Read it with care:
- Both peers hold a copy of a hot entry in the process, and the script only says whether it is still the stored one. A
  process that does not hold it has the value sent once; redis_cost shows what that costs Redis.
- The misses go to a backend that takes about 10 us to answer. What a hit saves at a real backend is the backend.
- The entry belongs to the identity that asked, as the request had a credential (RFC 9111 3.5, spec 6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.questions.chain_cost import COLUMNS, REFERENCE, SUBJECT, data, figures, notes, ratio_of
from bench.report.answer import Answer, Budget, Table, show

if TYPE_CHECKING:
    from bench.harness.rounds import Sample
    from bench.harness.stats import Spread

NAME = "hit_cost"
SIZES = {"200 bytes": ("miss_200", "hit_200"), "5 KB": ("miss_5k", "hit_5k")}
LOADS = tuple(load for pair in SIZES.values() for load in pair)
SHOWN = ("requests/s", "p50 ms", "CPU us/request", "Redis CPU us/request", "errors")  # of COLUMNS; all are in the JSON
HIT_LIMIT_OF_MISS = 0.60  # issue 3


def answer(samples: dict[str, dict[str, list[Sample]]]) -> Answer:
    """samples[load][peer], in the order of rounds."""
    peers = list(samples[LOADS[0]])
    rows, remarks = [], []
    for load in LOADS:
        rows += [(f"{load.replace('_', ' ')}: {peer}", *_cells(samples[load][peer])) for peer in peers]
        remarks += [f"{load}: {note}" for note in notes(samples[load])]
    shares = {peer: _shares(samples, peer) for peer in peers}
    shown = tuple((peer, *(show(share.get(size), 2) for size in SIZES)) for peer, share in shares.items())
    against = {
        size: ratio_of(samples[hit].get(SUBJECT, []), samples[hit].get(REFERENCE, []), "cpu_us")
        for size, (_, hit) in SIZES.items()
    }
    beside = (f"a hit of {SUBJECT} / a hit of {REFERENCE}", *(show(against[size], 2) for size in SIZES))
    return Answer(
        question=NAME,
        method=__doc__ or "",
        tables=(
            Table("Misses and hits", ("", *SHOWN), tuple(rows), tuple(remarks)),
            Table("CPU of a hit / CPU of a miss, within a round", ("", *SIZES), (*shown, beside)),
        ),
        budgets=tuple(
            Budget(f"CPU of a cache hit of {size} as a share of a miss", share.median, HIT_LIMIT_OF_MISS, spread=share)
            for size, share in shares.get(SUBJECT, {}).items()
        ),
        data={peer: _data(samples, peer, shares[peer]) for peer in peers},
    )


def _cells(taken: list[Sample]) -> tuple[str, ...]:
    by_column = dict(zip(COLUMNS, figures(taken), strict=True))
    return tuple(by_column[column] for column in SHOWN)


def _shares(samples: dict[str, dict[str, list[Sample]]], peer: str) -> dict[str, Spread]:
    found = {
        size: ratio_of(samples[hit].get(peer, []), samples[miss].get(peer, []), "cpu_us")
        for size, (miss, hit) in SIZES.items()
    }
    return {size: share for size, share in found.items() if share is not None}


def _data(samples: dict[str, dict[str, list[Sample]]], peer: str, shares: dict[str, Spread]) -> dict[str, object]:
    by_load = {load: data(samples[load][peer], {}) for load in LOADS}
    rounds = {load: kept.pop("rounds") for load, kept in by_load.items()}
    return {"hit_of_miss": {size: share.as_json() for size, share in shares.items()}, **by_load, "rounds": rounds}
