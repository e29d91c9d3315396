"""Fixtures for conftest.py: servers that live for the session, and are as new for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.valkey import Cluster, SentinelSet, Valkey


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


@pytest.fixture
def valkey(valkey_server: Valkey) -> Valkey:
    """One server: empty, running, with the options it began with. A test may stop, freeze and restart it."""
    valkey_server.reset()
    return valkey_server


@pytest.fixture(scope="session")
def sentinel_sets() -> Iterator[list[SentinelSet]]:
    """The set that runs, or none."""
    sets: list[SentinelSet] = []
    yield sets
    for one in sets:
        one.close()


@pytest.fixture
def sentinels(sentinel_sets: list[SentinelSet]) -> SentinelSet:
    """A master with two replicas and three sentinels, empty; another one after a test that changed the master."""
    if sentinel_sets and sentinel_sets[0].was_touched:
        sentinel_sets.pop().close()
    if not sentinel_sets:
        sentinel_sets.append(SentinelSet().start())
    sentinel_sets[0].flush()
    return sentinel_sets[0]


@pytest.fixture(scope="session")
def cluster_server() -> Iterator[Cluster]:
    with Cluster() as three:
        yield three


@pytest.fixture
def cluster(cluster_server: Cluster) -> Cluster:
    """Three masters, empty, each with its third of the slots. A test may move slots and freeze nodes, not kill them."""
    cluster_server.reset()
    return cluster_server
