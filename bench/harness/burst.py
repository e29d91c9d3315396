"""Many connections at once: each is opened, sends one GET, and waits for its answer.

`python -m bench.harness.burst PORT CONNECTIONS` prints a Burst as JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import uvloop

from bench.harness.cores import pinned
from bench.harness.load import LoadError
from bench.harness.process import HOST, PROBE_PATH
from bench.harness.stats import percentile
from bench.harness.streams import SPARE_FILES, allow_files

LIMIT_S = 15.0
_REQUEST = f"GET {PROBE_PATH} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()


@dataclass(frozen=True)
class Burst:
    """answered: with 200 within LIMIT_S. Times from the first connect: of those that were answered."""

    connections: int
    answered: int
    p50_ms: float
    p99_ms: float
    slowest_ms: float


def run(port: int, connections: int, core: int) -> Burst:
    """In a process of its own. Raises LoadError."""
    argv = [sys.executable, "-m", "bench.harness.burst", str(port), str(connections)]
    with pinned(core):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=2 * LIMIT_S, check=False)
    if done.returncode:
        raise LoadError(f"the burst failed: {done.stderr.strip()[-300:]}")
    return Burst(**json.loads(done.stdout))


async def _burst(port: int, connections: int) -> Burst:
    allow_files(connections + SPARE_FILES)
    begin = time.perf_counter()

    async def one() -> float:
        try:
            async with asyncio.timeout(LIMIT_S):
                reader, writer = await asyncio.open_connection(HOST, port)
                writer.write(_REQUEST)
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.read()
                writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return 0.0
        return time.perf_counter() - begin if head[9:12] == b"200" else 0.0

    taken = await asyncio.gather(*(one() for _ in range(connections)))
    millis = sorted(second * 1e3 for second in taken if second) or [float("inf")]
    answered = sum(1 for second in taken if second)
    return Burst(connections, answered, percentile(millis, 50), percentile(millis, 99), millis[-1])


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_burst(int(sys.argv[1]), int(sys.argv[2]))))))
