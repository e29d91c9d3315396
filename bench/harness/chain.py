"""What the chain questions send, and the proof that a peer's chain is on: a peer that skips a step would win.

The chain: who is it (X-API-Key), how often (sliding window in Redis), known already (cached entry in Redis), a request
id. Both peers get the requests below, the same Redis and the same admission script, and give the same answer fields.
"""

from __future__ import annotations

import http.client
import time
from typing import TYPE_CHECKING

from bench.harness.process import HOST, PROBE_FIELDS, PROBE_PATH, PROBE_TIMEOUT_S, StartError
from bench.harness.rounds import Ask

if TYPE_CHECKING:
    from bench.harness.process import Running
    from bench.harness.rounds import Sample

KEY = PROBE_FIELDS["X-API-Key"]
LIMIT = 1_000_000
"""Requests per window: never reached, as a refusal would be cheaper than an answer."""

WINDOW_MS = 1000
"""Short, so that the one client's window reaches its steady state at once: as many requests leave it as enter."""

CACHED_SECONDS = 3600
CACHED_PREFIX = "/hit/"
MISS_200, MISS_5K, HIT_200, HIT_5K = PROBE_PATH, "/miss/5k", f"{CACHED_PREFIX}200", f"{CACHED_PREFIX}5k"
PATHS = {"miss_200": MISS_200, "hit_200": HIT_200, "miss_5k": MISS_5K, "hit_5k": HIT_5K}
HIT_TRIES = 20
HIT_PAUSE_S = 0.1
"""A gateway that has just started, or that is being held up, may do without Redis once or twice."""

ENOUGH_CALLS = 0.99
"""Script calls per request below which a sample is not one of the full chain."""

LIMIT_FIELDS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "ratelimit-policy")
OWN_FIELDS = (*LIMIT_FIELDS, "x-request-id", "x-gateway-cache", "cache-status", "x-gateway-version", "via")
"""Of every answer, besides the backend's."""


def asked(names: tuple[str, ...], connections: int) -> dict[str, Ask]:
    """What to send for each name of PATHS."""
    return {name: Ask(connections, PATHS[name], tuple(PROBE_FIELDS.items())) for name in names}


def check(target: Running) -> None:
    """Raises StartError, saying what is missing, unless every step of the chain acts."""
    status, _ = _get(target, MISS_200, {})
    _demand(target, status == 401, f"a request without a key got {status} instead of 401: it does not authenticate")
    for path in (MISS_200, MISS_5K):
        fields = _good(target, path)
        _demand(target, fields.get("x-gateway-cache") in {"MISS", "BYPASS"}, f"{path} is no cache miss: {fields}")
    for path in (HIT_200, HIT_5K):
        cached = ""
        for _ in range(HIT_TRIES):
            cached = _good(target, path).get("x-gateway-cache", "nothing")
            if cached == "HIT":
                break
            time.sleep(HIT_PAUSE_S)
        _demand(target, cached == "HIT", f"{path} has X-Gateway-Cache {cached} again and again: it does not cache")


def _good(target: Running, path: str) -> dict[str, str]:
    """The answer's fields, names in lower case."""
    status, fields = _get(target, path, PROBE_FIELDS)
    _demand(target, status == 200, f"{path} with the key got {status} instead of 200")
    missing = [name for name in OWN_FIELDS if name not in fields]
    _demand(target, not missing, f"the answer to {path} has no {', '.join(missing)}")
    return fields


def without_redis(samples: dict[str, list[Sample]]) -> tuple[str, ...]:
    """A line for people for each sample in which requests went without the script: their chain was shorter."""
    return tuple(
        f"round {number}, {peer}: {sample.store_calls:.3f} script calls per request: do not trust this sample"
        for peer, taken in samples.items()
        for number, sample in enumerate(taken, 1)
        if sample.store_calls < ENOUGH_CALLS
    )


def _demand(target: Running, is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise StartError(f"{target.name}: the chain is not on: {otherwise}")


def _get(target: Running, path: str, fields: dict[str, str]) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection(HOST, target.port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path, headers=fields)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException) as error:
        raise StartError(f"{target.name}: {path}: {type(error).__name__}: {error}") from error
    finally:
        connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}
