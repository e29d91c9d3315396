"""Closed-loop load: each of n kept-alive connections sends its next GET when the last one is answered.

The generator is the first that is installed of wrk, h2load (nghttp2, as HTTP/1.1) and httpx. httpx is the last
resort: at about a millisecond of CPU per request it is itself the bottleneck, so requests/s and percentiles then say
little about a gateway, and CPU per request is that of a gateway that idles between requests.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from bench.harness.cores import pinned
from bench.harness.stats import percentile

Fields = tuple[tuple[str, str], ...]
SLACK_S = 20.0  # what a generator may take beyond the asked time, to connect and to report, before it is killed


class LoadError(Exception):
    """The generator ended badly, or got no answer at all."""


@dataclass(frozen=True)
class Request:
    """What is sent over and over: a GET, or a POST of `body_bytes`. fields: besides Host and those of the body.

    distinct: each has a number at the end of its path, and comes from an address of its own (X-Forwarded-For). wrk
    only; the others repeat one request.
    """

    url: str
    fields: Fields = ()
    body_bytes: int = 0
    distinct: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """The fields as wrk and h2load take them."""
        return tuple(word for name, value in self.fields for word in ("-H", f"{name}: {value}"))


@dataclass(frozen=True)
class Load:
    """What one run of the generator saw. errors: connection failures, timeouts and statuses of 400 and above."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return self.requests / self.seconds


class Generator(Protocol):
    """A load generator that is installed here."""

    @property
    def described(self) -> str:
        """Name, version, and what to think of it."""

    def run(self, request: Request, connections: int, seconds: int, core: int) -> Load:
        """Raises LoadError."""


def find_generator() -> Generator:
    """The best that is installed."""
    if shutil.which("wrk"):
        return Wrk()
    if shutil.which("h2load"):
        return H2load()
    return Httpx()


def _output(argv: list[str], seconds: int, core: int) -> str:
    try:
        with pinned(core):
            done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + SLACK_S, check=False)
    except subprocess.TimeoutExpired as expired:
        raise LoadError(f"{argv[0]} did not end within {seconds + SLACK_S:.0f} s") from expired
    if done.returncode:
        raise LoadError(f"{argv[0]} ended with status {done.returncode}: {(done.stderr or done.stdout)[-300:]}")
    return done.stdout


def _checked(load: Load) -> Load:
    if load.requests <= load.errors:
        raise LoadError(f"no good answer: {load.requests} requests, {load.errors} errors")
    return load


class Wrk:
    """One thread, so that it stays on its core."""

    described = "wrk, 1 thread"
    _script = Path(__file__).with_name("wrk_report.lua")

    def run(self, request: Request, connections: int, seconds: int, core: int) -> Load:
        """See Generator."""
        arguments = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "-s", str(self._script)]
        varied = ("--", str(request.body_bytes), "distinct" if request.distinct else "same")
        printed = _output(["wrk", *arguments, *request.options, request.url, *varied], seconds, core)
        line = next((line for line in printed.splitlines() if line.startswith("REPORT ")), None)
        if line is None:
            raise LoadError(f"wrk printed no report: {printed[-300:]}")
        report = json.loads(line.removeprefix("REPORT "))
        return _checked(
            Load(
                requests=report["requests"],
                seconds=report["microseconds"] / 1e6,
                p50_ms=report["p50_us"] / 1e3,
                p99_ms=report["p99_us"] / 1e3,
                errors=report["errors"],
            )
        )


class H2load:
    """HTTP/1.1; the percentiles are computed from its log of every request."""

    described = "h2load --h1, 1 thread"

    def run(self, request: Request, connections: int, seconds: int, core: int) -> Load:
        """See Generator. Each line of the log: start in us since the epoch, status, duration in us."""
        with (
            tempfile.NamedTemporaryFile("r", prefix="fastgw-bench-h2load-") as log,
            tempfile.NamedTemporaryFile("wb", prefix="fastgw-bench-h2load-") as body,
        ):
            arguments = ["--h1", "-t1", f"-c{connections}", f"-D{seconds}", f"--log-file={log.name}"]
            if request.body_bytes:
                body.write(b"x" * request.body_bytes)
                body.flush()
                arguments.append(f"--data={body.name}")
            printed = _output(["h2load", *arguments, *request.options, request.url], seconds, core)
            lines = [line.split() for line in log]
        took = re.search(r"finished in ([\d.]+)s", printed)
        millis = sorted(int(line[2]) / 1e3 for line in lines if len(line) >= 3)
        bad = sum(1 for line in lines if len(line) < 3 or not 200 <= int(line[1]) < 400)
        measured = float(took[1]) if took else float(seconds)
        if not millis:
            raise LoadError("h2load logged no request")
        return _checked(Load(len(lines), measured, percentile(millis, 50), percentile(millis, 99), bad))


class Httpx:
    """In a process of its own: `bench.harness.httpx_load`."""

    described = f"httpx {version('httpx')} (last resort, itself the bottleneck: install wrk)"

    def run(self, request: Request, connections: int, seconds: int, core: int) -> Load:
        """See Generator."""
        program = [sys.executable, "-m", "bench.harness.httpx_load"]
        sent = [json.dumps(dict(request.fields)), str(request.body_bytes)]
        arguments = [request.url, str(connections), str(seconds), *sent]
        return _checked(Load(**json.loads(_output([*program, *arguments], seconds, core))))
