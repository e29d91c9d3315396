"""Replays the corpus, then explores for a few seconds with a fixed seed. FASTGW_FUZZ_ROUNDS explores for longer.

A find is printed as bytes: write it to a file of tests/fuzz/corpus, so that it is replayed from then on.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.harness import check, mutated, soup

CORPUS = sorted(Path(__file__).with_name("corpus").glob("*.http"))
ROUNDS = int(os.environ.get("FASTGW_FUZZ_ROUNDS", "400"))


def explore(data: bytes, random: Random) -> None:
    try:
        check(data, random)
    except Exception as error:
        pytest.fail(f"{error!r}\nfor {data!r}")


def test_there_is_a_corpus() -> None:
    assert len(CORPUS) >= 15


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_corpus(path: Path) -> None:
    explore(path.read_bytes(), Random(1))


@pytest.mark.parametrize("seed", range(10))
def test_soup(seed: int) -> None:
    random = Random(seed)
    for _ in range(ROUNDS):
        explore(soup(random), random)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_mutations_of_the_corpus(path: Path) -> None:
    data, random = path.read_bytes(), Random(2)
    for _ in range(ROUNDS // 10):
        explore(mutated(data[:2000], random), random)
