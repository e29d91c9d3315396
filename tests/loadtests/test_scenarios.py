"""Each Locust scenario runs headless for some seconds against a gateway and the sample server."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from loadtests.thresholds import Thresholds
from tests.support.processes import ROOT, Gateway, Uvicorn
from tests.support.raw_client import request
from tests.support.wait import until

SECONDS = 3
SETTINGS = {"GATEWAY_WORKERS": 1, "AUTH_ENABLED": "true", "AUTH_API_KEYS": "load:k3y", "CACHE_ENABLED": "true"}


@pytest.fixture(scope="module")
def platform():
    with Uvicorn("fastgw.demo.app:build", "--factory") as server:
        yield server


def run(scenario: str, gateway: Gateway, **told: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "LOADTEST_API_KEY": "k3y", "LOADTEST_LATENCY_SCALE": "20", "PYTHONPATH": str(ROOT), **told}
    command = [
        sys.executable,
        "-m",
        "loadtests",
        scenario,
        "--host",
        gateway.url,
        "--seconds",
        str(SECONDS),
        "--users",
        "6",
    ]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False, cwd="/tmp")


def reachable(gateway: Gateway) -> Gateway:
    until(lambda: request(gateway.port, "/gateway/health").json["redis"] == "connected", 5, "Redis")
    return gateway


@pytest.mark.parametrize("scenario", ["mixed", "hot_cache", "streams", "auth_failures"])
def test_it_passes(gateways, platform, valkey, scenario: str) -> None:
    done = run(scenario, reachable(gateways(platform.url, REDIS_URL=valkey.url, **SETTINGS)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "thresholds met" in done.stdout


def test_a_flood_is_refused_and_a_bystander_is_not(gateways, platform, valkey) -> None:
    limits = {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_MAX_REQUESTS": 20, "RATE_LIMIT_WINDOW_MS": 2000}
    gateway = reachable(gateways(platform.url, REDIS_URL=valkey.url, **SETTINGS, **limits))
    done = run("flood", gateway)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = request(gateway.port, "/gateway/metrics").body.decode()
    rejected = next(line for line in metrics.splitlines() if line.startswith("gateway_ratelimit_rejected_total"))
    assert float(rejected.split()[1]) > 100


@pytest.mark.parametrize("share", ["10", "100"])
def test_the_cutover(gateways, platform, valkey, share: str) -> None:
    gateway = reachable(gateways(platform.url, REDIS_URL=valkey.url, **SETTINGS))
    done = run("cutover", gateway, LOADTEST_DIRECT=platform.url, LOADTEST_SHARE=share)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_run_that_fails_says_so(gateways, platform, valkey) -> None:
    gateway = reachable(gateways(platform.url, REDIS_URL=valkey.url, **SETTINGS))
    done = run("mixed", gateway, LOADTEST_API_KEY="wrong")
    assert done.returncode == 1
    assert "THRESHOLD MISSED" in done.stdout


class Entry:
    """What Locust has of a name."""

    def __init__(self, requests: int, failed: float, took_ms: float) -> None:
        self.num_requests, self.fail_ratio, self.took_ms = requests, failed, took_ms

    def get_response_time_percentile(self, _share: float) -> float:
        return self.took_ms


class Stats:
    def __init__(self, **entries: Entry) -> None:
        self.total = Entry(100, 0.0, 10)
        self.entries = {(name, "GET"): entry for name, entry in entries.items()}


def test_thresholds_name_what_was_missed() -> None:
    assert Thresholds(p95_ms=10).complaints(Stats()) == []
    (few,) = Thresholds(at_least=101).complaints(Stats())
    assert "too few" in few
    (failed,) = Thresholds(failures=0.01, name="x").complaints(Stats(x=Entry(50, 0.02, 1)))
    assert "2.00% of the requests failed" in failed
    (slow,) = Thresholds(p99_ms=5, name="x").complaints(Stats(x=Entry(50, 0.0, 200)))
    assert "p99 is 200 ms" in slow
    (nothing,) = Thresholds(name="y").complaints(Stats())
    assert "nothing was asked" in nothing
