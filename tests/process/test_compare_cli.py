"""`fastgw compare` between a real server and a real gateway: what passes, what fails, and what it says then."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastgw.cli import main
from tests.support.ports import RefusingPort
from tests.support.processes import Gateway, Uvicorn
from tests.support.raw_client import request

APP = "tests.support.cutover_app:app"
NOISY = ("--p50-ms", "60", "--p99-ms", "5000")
"""Budgets that a busy machine of tests keeps."""

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def server() -> Iterator[Uvicorn]:
    with Uvicorn(APP) as one:
        yield one


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Uvicorn]]:
    """Start a server that differs."""
    started: list[Uvicorn] = []

    def start(**environ: str) -> Uvicorn:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        started.append(Uvicorn(APP))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Uvicorn) -> Run:
    """The command against `server`, in this process, without a .env, behind a proxy that is not to be asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    def call(gateway_url: str, *arguments: str, requests: str = "/regions\n") -> Result:
        (tmp_path / "requests.txt").write_text(requests)
        sides = ("--direct", server.url, "--gateway", gateway_url, "--requests", "requests.txt", "--json", "found.json")
        return CliRunner().invoke(main, ["compare", *sides, "--samples", "40", *NOISY, *arguments])

    return call


def test_the_same_server_passes(gateways, server, run, tmp_path):
    gateway = gateways(server.url)
    result = run(
        gateway.url, "--html", "page.html", requests="/regions\n/api/v1/queue/stats\nHEAD /regions\n/nowhere\n"
    )
    assert (result.exit_code, result.stderr) == (0, ""), result.stdout
    assert "the same answers: all of 40 pairs" in result.stdout
    assert "the server itself changes it" in result.stdout  # /answer_number
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["passed"] is True
    assert found["latency"]["pairs"] == len(found["latency"]["direct_ms"]) == 40
    assert found["moving"][0]["where"] == "/answer_number"
    assert "<svg" in (tmp_path / "page.html").read_text()


def test_a_member_that_may_differ_can_be_named(gateways, server, run, tmp_path):
    gateway = gateways(server.url)
    result = run(gateway.url, "--ignore", "answer_number", requests="/api/v1/queue/stats\n")
    assert result.exit_code == 0
    assert json.loads((tmp_path / "found.json").read_text())["moving"] == []


def test_other_codes_fail(gateways, other, run):
    gateway = gateways(other(CUTOVER_STATUS="418").url)
    result = run(gateway.url)
    assert result.exit_code == 1
    assert "40 differences in 40 pairs: status codes" in result.stdout
    assert "418" in result.stdout
    assert "does FASTAPI_URL name the same server" in result.stdout


def test_other_bodies_fail(gateways, other, run):
    gateway = gateways(other(CUTOVER_MODEL="a100").url)
    result = run(gateway.url, requests="/regions\n/health\n")
    assert result.exit_code == 1
    assert "20 differences in 40 pairs: bodies" in result.stdout
    assert '"a100"' in result.stdout
    assert "body /0/model" in result.stdout
    assert "does FASTAPI_URL name the same server" in result.stdout


def test_answers_that_come_later_fail(gateways, other, run):
    gateway = gateways(other(CUTOVER_DELAY_MS="20").url)
    result = run(gateway.url, "--p50-ms", "10")
    assert result.exit_code == 1
    assert "the same answers: all of 40 pairs" in result.stdout
    assert "FAIL  p50 of the added latency is 2" in result.stdout
    assert "its wait for its backend 2" in result.stdout


def test_a_gateway_that_asks_who_it_is_is_diagnosed(gateways, server, run):
    gateway = gateways(server.url, AUTH_ENABLED="true", AUTH_API_KEYS="ops:s3cret-key")
    result = run(gateway.url)
    assert result.exit_code == 1
    assert "give the credential with --header" in result.stdout


def test_credentials_are_sent_and_never_shown(gateways, server, other, run, tmp_path):
    gateway = gateways(server.url, AUTH_ENABLED="true", AUTH_API_KEYS="ops:s3cret-key")
    arguments = ("--header", "X-API-Key: s3cret-key", "--html", "page.html")
    result = run(gateway.url, *arguments)
    assert result.exit_code == 0, result.stdout
    texts = [result.stdout, result.stderr, *(p.read_text() for p in (tmp_path / "found.json", tmp_path / "page.html"))]
    assert not any("s3cret-key" in text for text in texts)
    result = run(server.url, "--header", "no colon, s3cret-key")
    assert result.exit_code == 2
    assert "s3cret-key" not in result.stderr


def test_a_credential_that_a_server_repeats_is_not_shown(gateways, other, run, tmp_path):
    gateway = gateways(other(CUTOVER_MODEL="a100").url)
    result = run(gateway.url, "--header", "X-API-Key: s3cret-key", "--html", "page.html", requests="/echo\n")
    assert result.exit_code == 1
    assert '"a100 ***"' in result.stdout
    texts = [result.stdout, *((tmp_path / name).read_text() for name in ("found.json", "page.html"))]
    assert not any("s3cret-key" in text for text in texts)


def test_what_is_not_fastgw_is_told(server, other, run):
    result = run(other(CUTOVER_MODEL="a100").url)
    assert result.exit_code == 1
    assert "is no fastgw" in result.stdout


def test_a_gateway_that_is_away_is_told(run):
    port = RefusingPort()
    result = run(f"http://127.0.0.1:{port.port}")
    port.close()
    assert result.exit_code == 1
    assert "no pair could be timed" in result.stdout
    assert "is it running at --gateway" in result.stdout


def test_what_changes_something_is_not_sent(gateways, server, run):
    gateway = gateways(server.url)
    lines = "/regions\nGET /api/v1/workers/w/next-job\n/api/v1/workers/w/next%2Djob\nPOST /api/v1/jobs\nDELETE /x\n"
    result = run(gateway.url, requests=lines)
    assert result.exit_code == 0, result.stdout
    assert json.loads(request(server.port, "/_unsafe").body) == []
    for line in lines.splitlines()[1:]:
        target = line if " " in line else f"GET {line}"
        assert f"not sent: {target} (1)" in result.stdout
    result = run(gateway.url, "--unsafe", requests=lines)
    assert sorted(json.loads(request(server.port, "/_unsafe").body)) == sorted(
        2 * ["GET /api/v1/workers/w/next-job", "GET /api/v1/workers/w/next-job", "POST /api/v1/jobs", "DELETE /x"]
    )


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--direct", "fastapi:8000"), "http://host:8000"),
        (("--gateway", "http://"), "http://host:8000"),
        (("--requests", "none.txt"), "none.txt"),
        (("--samples", "0"), "--samples"),
    ],
)
def test_wrong_use_is_status_2(run, arguments, word):
    result = run("http://127.0.0.1:9", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert word in result.stderr
    assert "Traceback" not in result.stderr


def test_nothing_to_send_is_wrong_use(run):
    result = run("http://127.0.0.1:9", requests="POST /api/v1/jobs\n")
    assert result.exit_code == 2
    assert "not sent: POST /api/v1/jobs" in result.stderr


def test_the_rate_limit_is_waited_out(server, run, valkey, tmp_path):
    limits = {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_MAX_REQUESTS": "30", "RATE_LIMIT_WINDOW_MS": "2000"}
    with Gateway(server.url, REDIS_URL=valkey.url, **limits) as gateway:
        result = run(gateway.url)
    assert result.exit_code == 0, result.stdout
    assert "the same answers: all of 40 pairs" in result.stdout
    assert json.loads((tmp_path / "found.json").read_text())["waited_seconds"] > 0
    assert "for the gateway's rate limit" in result.stdout


def test_what_the_cache_answers_can_be_compared_too(server, run, valkey):
    with Gateway(server.url, REDIS_URL=valkey.url, CACHE_ENABLED="true", CACHE_ROUTES="/regions=60") as gateway:
        result = run(gateway.url, "--cached")
    assert result.exit_code == 0, result.stdout
    assert "of 40 timed answers came from the gateway's cache" in result.stdout
