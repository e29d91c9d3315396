"""`fastgw check` and `fastgw compare` between https servers whose certificates only their own authority vouches for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastgw.cli import main
from tests.support.certificates import write_pair
from tests.support.processes import SETTINGS, Gateway, Uvicorn

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return write_pair(tmp_path_factory.mktemp("tls") / "pair", "127.0.0.1")


@pytest.fixture(scope="module")
def urls(pair: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """Of a server and of a gateway that believes it, both https."""
    cert, key = pair
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SSL_CERT_FILE", cert)
        with Uvicorn("tests.support.cutover_app:app", "--ssl-certfile", cert, "--ssl-keyfile", key) as server:
            server_url = server.url.replace("http:", "https:")
            with Gateway(server_url, GATEWAY_TLS_CERT=cert, GATEWAY_TLS_KEY=key) as gateway:
                patched.undo()
                yield server_url, gateway.url.replace("http:", "https:")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    return lambda *arguments, **environ: CliRunner().invoke(main, arguments, env=environ)


@pytest.fixture
def compare(run: Run, urls: tuple[str, str]) -> Run:
    sides = ("--direct", urls[0], "--gateway", urls[1], "--samples", "20", "--p50-ms", "100", "--p99-ms", "5000")
    return lambda *more: run("compare", *sides, *more)


def test_compare_believes_nobody_that_it_need_not(compare: Run) -> None:
    result = compare()
    assert result.exit_code == 1
    assert "CERTIFICATE_VERIFY_FAILED" in result.stdout


def test_compare_with_the_authority(compare: Run, pair: tuple[str, str]) -> None:
    result = compare("--ca", pair[0])
    assert result.exit_code == 0, result.stdout
    assert "insecure" not in result.stdout


def test_compare_without_a_look_says_so_everywhere(compare: Run, tmp_path: Path) -> None:
    result = compare("--insecure", "--html", "page.html")
    assert result.exit_code == 0, result.stdout
    assert "warn  --insecure: no certificate was verified" in result.stdout
    assert "no certificate was verified" in (tmp_path / "page.html").read_text()
    (caution,) = json.loads(compare("--insecure", "--json", "-").stdout)["cautions"]
    assert "no certificate was verified" in caution


def test_an_authority_vouches_for_names_too(run: Run, urls: tuple[str, str], pair: tuple[str, str]) -> None:
    other = urls[0].replace("127.0.0.1", "localhost")
    result = run("compare", "--direct", other, "--gateway", urls[1], "--samples", "1", "--ca", pair[0])
    assert result.exit_code == 1
    assert "CERTIFICATE_VERIFY_FAILED" in result.stdout


def lines(result: Result) -> dict[str, dict[str, str]]:
    return {line["name"]: line for line in json.loads(result.stdout)["lines"]}


def test_check(run: Run, urls: tuple[str, str], pair: tuple[str, str]) -> None:
    server, gateway = urls
    arguments = ("check", "--gateway", gateway, "--path", "/regions", "--json")
    environ = {"FASTAPI_URL": server}

    strict = lines(run(*arguments, **environ))
    for name in (f"backend {server}", f"gateway {gateway}"):
        assert strict[name]["state"] == "fail"
        assert "--ca FILE" in strict[name]["hint"]

    result = run(*arguments, "--ca", pair[0], **environ)
    trusted = lines(result)
    assert result.exit_code == 0
    assert {trusted[name]["state"] for name in (f"backend {server}", "the same answer")} == {"ok"}
    assert trusted[f"gateway {gateway}"]["state"] != "fail"
    told = trusted[f"certificate of {server}"]
    assert (told["state"], "SSL_CERT_FILE" in told["hint"]) == ("warn", True)
    assert "certificates" not in trusted

    blind = lines(run(*arguments, "--insecure", **environ))
    assert blind["certificates"]["state"] == "warn"
    assert "anybody in between" in blind["certificates"]["hint"]
    assert blind["the same answer"]["state"] == "ok"


def test_check_asks_as_the_gateway_does(run: Run, urls, pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SSL_CERT_FILE names the authority, neither the gateway nor the command needs to be told."""
    monkeypatch.setenv("SSL_CERT_FILE", pair[0])
    found = lines(run("check", "--gateway", urls[1], "--path", "/regions", "--json", FASTAPI_URL=urls[0]))
    assert found[f"backend {urls[0]}"]["state"] == "ok"
    assert f"certificate of {urls[0]}" not in found


@pytest.mark.parametrize("command", ["check", "compare"])
def test_what_is_no_authority_and_what_makes_no_sense_is_refused(run: Run, command: str, tmp_path: Path, pair) -> None:
    sides = ("--direct", "https://a", "--gateway", "https://b") if command == "compare" else ()
    (tmp_path / "no.pem").write_text("no certificate")
    for bad, text in (
        (("--ca", "no.pem"), "holds no certificate in PEM"),
        (("--ca", "missing.pem"), "does not exist"),
        (("--ca", pair[0], "--insecure"), "give one of them"),
    ):
        result = run(command, *sides, *bad)
        assert result.exit_code == 2
        assert text in result.stderr
