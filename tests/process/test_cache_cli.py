"""`fastgw cache purge`: what it asks, what it prints, and what it says when it can't."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.test_tls import write_pair
from tests.support.ports import RefusingPort
from tests.support.processes import SETTINGS, Gateway
from tests.support.raw_client import request
from tests.support.wait import until

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The command, in a directory without .env, behind a proxy that is not to be asked."""

    def call(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        base = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        proxy = {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}
        return subprocess.run(
            [sys.executable, "-m", "fastgw", "cache", "purge", *arguments],
            env={**base, **proxy, "PYTHONPATH": str(ROOT), **environ},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return call


def fill(gateway: Gateway, *paths: str) -> None:
    for path in paths:
        until(lambda p=path: request(gateway.port, p).header("x-gateway-cache") == "HIT", 5, f"{path} being cached")


def test_it_purges_one_path_or_all_and_says_how_many(gateways, backend, run):
    gateway = gateways(backend.url, CACHE_ENABLED="true", CACHE_ROUTES="/one=60, /two=60, /three=60")
    fill(gateway, "/one", "/two", "/three")
    result = run("/one", "--url", gateway.url)
    assert (result.returncode, result.stdout, result.stderr) == (0, "1 entry purged\n", "")
    result = run("--url", f"{gateway.url}/")
    assert (result.returncode, result.stdout) == (0, "2 entries purged\n")
    assert request(gateway.port, "/two").header("x-gateway-cache") == "MISS"


def test_the_address_and_the_token_come_from_the_settings(gateways, backend, run):
    gateway = gateways(backend.url, ADMIN_TOKEN="s3cret", ADMIN_ALLOW="none")
    environ = {"GATEWAY_PORT": str(gateway.port), "GATEWAY_HOST": "0.0.0.0"}
    assert run(ADMIN_TOKEN="s3cret", **environ).returncode == 0
    assert run("--token", "s3cret", ADMIN_TOKEN="old", **environ).returncode == 0
    result = run(ADMIN_TOKEN="old-s3cret", **environ)
    assert (result.returncode, result.stdout) == (1, "")
    assert "401" in result.stderr
    assert "--token" in result.stderr
    assert "old-s3cret" not in result.stderr
    result = run(**environ)
    assert result.returncode == 1
    assert "403" in result.stderr
    assert "ADMIN_ALLOW" in result.stderr


def test_a_gateway_that_is_not_there_is_told_with_a_hint(run):
    port = RefusingPort()
    result = run("--url", f"http://127.0.0.1:{port.port}")
    assert (result.returncode, result.stdout) == (1, "")
    assert str(port.port) in result.stderr
    assert "can't be reached" in result.stderr
    assert "--url" in result.stderr
    assert "Traceback" not in result.stderr
    port.close()


@pytest.mark.parametrize("url", ["gateway:3000", "http://[::1", "ftp://x", "http://", "http://a b"])
def test_what_is_no_address_is_told(run, url):
    result = run("--url", url)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "hint:" in result.stderr


def test_another_server_than_fastgw_is_told(backend, run):
    result = run("--url", backend.url)
    assert result.returncode == 1
    assert "no fastgw" in result.stderr


def test_redis_being_away_is_told(backend, run):
    port = RefusingPort()
    with Gateway(backend.url, REDIS_URL=f"redis://127.0.0.1:{port.port}") as gateway:
        result = run("--url", gateway.url)
    assert result.returncode == 1
    assert "503" in result.stderr
    port.close()


def test_a_certificate_of_another_name_is_told(gateways, backend, run, tmp_path):
    cert, key = write_pair(tmp_path)
    gateway = gateways(backend.url, GATEWAY_TLS_CERT=cert, GATEWAY_TLS_KEY=key)
    result = run("--url", f"https://127.0.0.1:{gateway.port}")
    assert result.returncode == 1
    assert "certificate" in result.stderr


def test_a_path_without_its_slash_is_wrong_use(run):
    result = run("regions")
    assert result.returncode == 2
    assert "begins with /" in result.stderr


def test_bad_settings_end_with_status_2(run):
    result = run(GATEWAY_PORT="x")
    assert (result.returncode, result.stdout) == (2, "")
    assert "GATEWAY_PORT" in result.stderr
