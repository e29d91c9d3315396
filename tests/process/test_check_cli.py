"""`fastgw check` on a good set-up, and on one with each fault that the guide knows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastgw.cli import main
from fastgw.store.acl import rules
from tests.support.ports import RefusingPort
from tests.support.processes import SETTINGS, Gateway, Uvicorn
from tests.support.raw_client import request
from tests.support.valkey import PASSWORD, Valkey

APP = "tests.support.cutover_app:app"
TOKEN, SALT = "a-token-that-works", "a-salt-of-the-tests"
HASH = sha256(f"{TOKEN}{SALT}".encode()).hexdigest()
AUTH = {"AUTH_TOKEN_HASHES": HASH, "AUTH_TOKEN_SALT": SALT}
KEY = "an-api-key-of-the-tests"

Found = dict[str, dict[str, str]]
Run = Callable[..., Found]


@pytest.fixture(scope="module")
def server() -> Iterator[Uvicorn]:
    with Uvicorn(APP) as one:
        yield one


@pytest.fixture(scope="module")
def redis() -> Iterator[Valkey]:
    with Valkey() as one:
        yield one


@pytest.fixture(scope="module")
def gateway(server: Uvicorn, redis: Valkey) -> Iterator[Gateway]:
    """With authentication, a limit and the platform's Redis."""
    limits = {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_MAX_REQUESTS": "200", "TRUSTED_PROXIES": "none"}
    settings = {**AUTH, "AUTH_API_KEYS": f"ops:{KEY}", "AUTH_ENABLED": "true", "REDIS_URL": redis.url, **limits}
    with Gateway(server.url, **settings) as one:
        yield one


@pytest.fixture(autouse=True)
def workers(redis: Valkey) -> None:
    """One GPU worker, and no windows of other tests."""
    redis.flush()
    redis.admin.set("worker:w1:status", '{"status": "idle", "region": "europe-west"}')
    redis.admin.set("worker:w1:heartbeat", str(time.time()))


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Uvicorn, redis: Valkey) -> Callable[..., Result]:
    """The command in this process, with good settings, of which some are replaced, and no .env."""
    monkeypatch.chdir(tmp_path)
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    def call(*arguments: str, **environ: str) -> Result:
        settings = {"FASTAPI_URL": server.url, "REDIS_URL": redis.url, **AUTH, **environ}
        return CliRunner().invoke(main, ["check", *arguments], env=settings)

    return call


@pytest.fixture
def run(command: Callable[..., Result], gateway: Gateway) -> Run:
    """The lines by name; of two of one name the one that did not go well."""

    def call(*arguments: str, **environ: str) -> Found:
        credentials = ("--token", TOKEN) if "--token" not in arguments else ()
        result = command("--json", "--gateway", gateway.url, *credentials, *arguments, **environ)
        assert result.stderr == ""
        content = json.loads(result.stdout)
        failed = [line["name"] for line in content["lines"] if line["state"] == "fail"]
        assert (result.exit_code, content["passed"]) == ((1, False) if failed else (0, True))
        return {line["name"]: line for line in content["lines"]}

    return call


def failed(found: Found) -> list[str]:
    return [name for name, line in found.items() if line["state"] == "fail"]


def settled(run: Run) -> Found:
    """Until the gateway has read the workers of this test; it looks every second."""
    end = time.monotonic() + 10
    while (found := run())["workers"]["state"] != "ok" and time.monotonic() < end:
        time.sleep(0.3)
    return found


def test_a_good_set_up_passes_and_leaves_nothing(run, redis):
    found = settled(run)
    assert [(name, line["text"]) for name, line in found.items() if line["state"] != "ok"] == []
    assert "holds 1, the gateway lists 1" in found["workers"]["text"]
    assert redis.admin.keys("gateway:check:*") == []
    assert redis.admin.execute_command("ACL LOG") == []  # nothing was asked for that the user may not do


def test_people_get_lines_and_nothing_secret(command, gateway):
    result = command("--gateway", gateway.url, "--token", TOKEN, "--header", f"X-API-Key: {KEY}")
    assert "ok    redis rights: " in result.stdout
    for secret in (TOKEN, KEY, SALT, HASH, PASSWORD):
        assert secret not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("environ", "name", "text", "hint"),
    [
        ({"ROUTER_HEALTH_PATH": "/nowhere"}, "backend", "answers 404", "ROUTER_HEALTH_PATH"),
        ({"REDIS_URL": "redis://127.0.0.1:REFUSING"}, "redis", "refused", "is Redis running there"),
        ({"REDIS_URL": "redis://fastgw:wrong-one@127.0.0.1:REDIS"}, "redis", "password", "REDIS_PASSWORD"),
        ({"REDIS_URL": "redis://poor:poor-password@127.0.0.1:REDIS"}, "redis rights", "commands EVAL", "fastgw.acl"),
        ({"REDIS_URL": "redis://other:poor-password@127.0.0.1:REDIS"}, "redis rights", "keys gateway:*", "~gateway:*"),
        ({"AUTH_TOKEN_FORMAT": "{salt}:{token}"}, "token hash", "format", "AUTH_TOKEN_FORMAT={token}{salt}"),
        ({"AUTH_TOKEN_SALT": "another"}, "token hash", "no known salt", "AUTH_TOKEN_SALT"),
    ],
)
def test_a_fault_is_named_and_what_to_do(run, redis, environ, name, text, hint):
    port = RefusingPort()
    for user, given in (("poor", (*rules(), "-eval")), ("other", rules("other:"))):
        redis.admin.execute_command("ACL SETUSER", user, "reset", "on", ">poor-password", *given)
    ports = {"REFUSING": str(port.port), "REDIS": str(redis.port)}
    for word, number in ports.items():
        environ = {key: value.replace(word, number) for key, value in environ.items()}
    found = run(**environ)
    port.close()
    (line,) = [line for key, line in found.items() if key == name or key.startswith(f"{name} http")]
    assert line["state"] == "fail"
    assert text in line["text"]
    assert hint in line["hint"]
    assert not {"wrong-one", "poor-password"} & set(json.dumps(found).split('"'))
    redis.admin.execute_command("ACL LOG", "RESET")


def test_each_backend_has_its_line(run, server):
    port = RefusingPort()
    down = f"http://127.0.0.1:{port.port}"
    found = run(FASTAPI_URL=f"{down}, {server.url}")
    port.close()
    assert failed(found)[0] == f"backend {down}"
    assert "nothing listens there" in found[f"backend {down}"]["hint"]
    assert found[f"backend {server.url}"]["state"] == found["the same answer"]["state"] == "ok"


def test_a_gateway_that_is_away_and_what_is_none(run, server):
    port = RefusingPort()
    url = f"http://127.0.0.1:{port.port}"
    found = run("--gateway", url)
    port.close()
    assert "start fastgw serve" in found[f"gateway {url}"]["hint"]
    found = run("--gateway", server.url)
    assert "not as fastgw" in found[f"gateway {server.url}"]["text"]


def test_a_gateway_before_another_server(run, redis, monkeypatch):
    monkeypatch.setenv("CUTOVER_STATUS", "418")
    with Uvicorn(APP) as other, Gateway(other.url, REDIS_URL=redis.url) as gateway:
        found = run("--gateway", gateway.url, "--path", "/regions")
    line = found["the same answer"]
    assert line["state"] == "fail"
    assert "directly 200, through the gateway 418" in line["text"]
    assert "FASTAPI_URL" in line["hint"]


def test_a_token_that_the_server_refuses_and_one_that_only_the_gateway_does(run, gateway, server, redis):
    found = run("--token", "a-wrong-token")
    assert "token" in failed(found)
    assert "the server itself refuses it" in found["token"]["hint"]
    assert "a-wrong-token" not in json.dumps(found)
    with Gateway(server.url, REDIS_URL=redis.url, **{**AUTH, "AUTH_TOKEN_SALT": "old", "AUTH_ENABLED": "true"}) as old:
        found = run("--gateway", old.url)
    assert "restart or SIGHUP it" in found["token"]["hint"]


def test_workers_under_other_keys_and_in_another_database(run, redis):
    redis.flush()
    for number in range(3):
        redis.admin.set(f"gpu-worker:{number}:status", "idle")
    redis.admin.set("queue:stats", "{}")
    line = run()["workers"]
    assert line["state"] == "fail"
    assert "gpu-worker:*:status (3)" in line["text"]
    assert "queue" not in line["text"]
    redis.admin.execute_command("SELECT", 0)
    redis.admin.set("worker:w1:status", "idle")
    redis.admin.execute_command("MOVE", "worker:w1:status", 3)
    line = run()["workers"]
    assert "in database 3" in line["text"]
    assert "REDIS_DB=3" in line["hint"]


def test_a_proxy_that_is_not_trusted(run, gateway):
    """The gateway's own setting counts (none is trusted), not the one that the command finds."""
    assert run("--proxy", "127.0.0.1")["client addresses"]["hint"] == "add 127.0.0.1 to TRUSTED_PROXIES"
    for number in range(25):
        request(gateway.port, "/regions", X_API_Key=KEY, X_Forwarded_For=f"203.0.113.{number}")
    line = run()["client addresses"]
    assert line["state"] == "warn"
    assert "requests counted now come from 127.0.0.1" in line["text"]
    assert "TRUSTED_PROXIES" in line["hint"]


def test_limits_that_are_too_low(run, server, redis):
    limits = {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_MAX_REQUESTS": "5"}
    with Gateway(server.url, REDIS_URL=redis.url, **limits) as gateway:
        for _ in range(40):
            request(gateway.port, "/regions", X_Forwarded_For="203.0.113.9")
        line = run("--gateway", gateway.url)["rate limit"]
    assert line["state"] == "fail"
    assert "35 of " in line["text"]
    assert "now 5 in 60 s" in line["hint"]


def test_wrong_use_and_bad_settings_are_status_2(command):
    assert command("--path", "regions").exit_code == 2
    assert command("--proxy", "nginx").exit_code == 2
    result = command(GATEWAY_PORT="x")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "GATEWAY_PORT" in result.stderr
