"""Dockerfile and docker-compose.yml, without Docker: what they say fits together, and what can be run of them is."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from fastgw.settings.model import Settings
from fastgw.store.embedded import find_binary
from tests.support.ports import RefusingPort, free_port
from tests.support.processes import ROOT, SETTINGS, Gateway, Running
from tests.support.wait import until

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
HEALTHCHECK = ROOT / "deploy" / "docker" / "healthcheck.py"
DEFAULTS = Settings()


def filled(text: str) -> str:
    """With Compose's ${NAME:-default} resolved to the defaults."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def stage(name: str) -> str:
    """The instructions of one stage."""
    return next(text for text in DOCKERFILE.split("\nFROM ") if text.partition("\n")[0].endswith(f" AS {name}"))


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a path through: the last line that matches it, or a folder above it, decides."""
    verdict = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().lstrip("!")
        if not pattern or pattern.startswith("#"):
            continue
        parents = [str(one) for one in (Path(path), *Path(path).parents) if str(one) != "."]
        if any(fnmatch.fnmatchcase(one, pattern.removeprefix("**/")) for one in parents) or (
            pattern.startswith("**/") and any(fnmatch.fnmatchcase(Path(one).name, pattern[3:]) for one in parents)
        ):
            verdict = line.startswith("!")
    return verdict


# -- the image -----------------------------------------------------------------------------------------


def test_what_is_copied_exists_and_reaches_the_builder() -> None:
    copied = [path for line in re.findall(r"^COPY (?!--)(.*)$", DOCKERFILE, re.MULTILINE) for path in line.split()[:-1]]
    assert copied
    for path in copied:
        assert (ROOT / path).exists()
        assert is_sent(path.removeprefix("./"))


@pytest.mark.parametrize(
    "path", [".env", ".git/config", ".venv/bin/python", "tests/conftest.py", "deploy/redis/fastgw.acl"]
)
def test_secrets_and_ballast_do_not_reach_the_builder(path: str) -> None:
    assert not is_sent(path)


def test_every_source_file_reaches_the_builder_but_no_bytecode() -> None:
    for path in ("fastgw/gateway.py", "fastgw/endpoints/ui.html", "fastgw/store/admission.lua"):
        assert is_sent(path)
    assert not is_sent("fastgw/__pycache__/gateway.cpython-311.pyc")


def test_the_image_that_is_built_by_default_is_the_gateway_without_rights() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    assert stages[-1] == "gateway"
    assert "FROM run AS gateway" in DOCKERFILE
    assert "USER 10001:10001" in stage("run")
    assert f"EXPOSE {DEFAULTS.gateway_port}" in stage("gateway")
    assert 'CMD ["fastgw", "serve"]' in stage("gateway"), "not through a shell, which would not pass SIGTERM on"
    assert not re.search(r"^(ADD|USER root)", DOCKERFILE, re.MULTILINE)


def healthcheck(**env: object) -> int:
    base = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    more = {name: str(value) for name, value in env.items()}
    return subprocess.run([sys.executable, str(HEALTHCHECK)], env={**base, **more}, timeout=10, check=False).returncode


def test_the_health_check_says_whether_the_gateway_answers() -> None:
    refusing = RefusingPort()
    with Gateway(f"http://127.0.0.1:{refusing.port}") as gateway:
        # A backend that is down is no reason to start the gateway again; a proxy is not asked about ourselves.
        assert healthcheck(GATEWAY_PORT=gateway.port, http_proxy=f"http://127.0.0.1:{refusing.port}") == 0
    assert healthcheck(GATEWAY_PORT=refusing.port) == 1
    refusing.close()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody without rights"
)
def test_the_gateway_runs_as_somebody_who_may_write_to_tmp_only(tmp_path_factory: pytest.TempPathFactory) -> None:
    """As user 10001, with an empty TMPDIR as the only place of its own, in which nothing is left at the end."""
    python = Path(sys.executable).resolve()
    if not all(one.stat().st_mode & 0o001 for one in (*python.parents, *ROOT.parents, ROOT)):
        pytest.skip(f"{python} or {ROOT} lies in a folder that others may not enter")
    home = Path(tmp_path_factory.mktemp("own"))
    for folder in (home, *home.parents):
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    own = home / "tmp"
    own.mkdir(mode=0o700)
    os.chown(own, 10001, 10001)
    command = ["setpriv", "--reuid=10001", "--regid=10001", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]
    port = free_port()
    env = {"GATEWAY_PORT": str(port), "GATEWAY_HOST": "127.0.0.1", "GATEWAY_WORKERS": "1", "TMPDIR": str(own)}
    with Running(
        [*command, sys.executable, "-m", "fastgw", "serve"], {**env, "PYTHONDONTWRITEBYTECODE": "1"}
    ) as gateway:
        until(lambda: gateway.process.poll() is not None or " serves" in gateway.log, 20, "the start")
        assert gateway.process.poll() is None, gateway.log
        assert healthcheck(GATEWAY_PORT=port) == 0
        assert [path.name[:14] for path in own.iterdir()] == ["fastgw-valkey-"]
        assert gateway.stop() == 0
    assert list(own.iterdir()) == []


# -- docker compose --------------------------------------------------------------------------------------


def test_compose_reads_it(tmp_path: Path) -> None:
    tool = next(
        (one for one in (["docker", "compose"], ["docker-compose"]) if shutil.which(one[0]) and works(one)), None
    )
    if tool is None:
        pytest.skip("neither `docker compose` nor docker-compose is installed")
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    (tmp_path / ".env").touch()
    done = subprocess.run([*tool, "config"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) >= {"gateway", "redis", "zipkin"}


def works(tool: list[str]) -> bool:
    return subprocess.run([*tool, "version"], capture_output=True, timeout=30, check=False).returncode == 0


def test_the_gateway_is_given_settings_that_it_knows_and_takes() -> None:
    environment = {name: filled(str(value)) for name, value in SERVICES["gateway"]["environment"].items()}
    assert set(environment) <= SETTINGS
    settings = Settings(**{name.lower(): value for name, value in environment.items()})
    assert settings.redis_url == "redis://fastgw@redis:6379"
    assert [one.url for one in settings.fastapi_url] == ["http://host.docker.internal:8000"]
    (network,) = COMPOSE["networks"]["platform"]["ipam"]["config"]
    assert network["gateway"] in environment["TRUSTED_PROXIES"], "nginx on the host comes in from there"


def test_the_gateway_has_no_rights_and_enough_time_to_stop() -> None:
    gateway = SERVICES["gateway"]
    assert gateway["read_only"] is True
    assert gateway["cap_drop"] == ["ALL"]
    assert gateway["security_opt"] == ["no-new-privileges:true"]
    assert [one.partition(":")[0] for one in gateway["tmpfs"]] == ["/tmp"]
    assert int(gateway["stop_grace_period"].removesuffix("s")) > DEFAULTS.shutdown_grace_seconds + 5
    assert set(gateway["depends_on"]) == {"redis"}, "`docker compose up -d gateway` starts what it needs, and no more"
    assert filled(gateway["ports"][0]) == "127.0.0.1:3000:3000"
    assert "ports" not in SERVICES["redis"]
    assert SERVICES["sample"]["profiles"] == ["demo"]
    for name in ("gateway", "sample"):
        assert f"AS {SERVICES[name]['build']['target']}\n" in DOCKERFILE


def test_the_redis_has_the_gateways_user_and_no_open_door(tmp_path: Path) -> None:
    """Its command is run as it stands, with Valkey for Redis and folders of this test."""
    port, password = free_port(), "s3cretPassw0rd"
    script = SERVICES["redis"]["command"][2].replace("$$", "$")
    for old, new in (
        ("/etc/redis/fastgw.acl", str(ROOT / "deploy" / "redis" / "fastgw.acl")),
        ("/tmp/users.acl", str(tmp_path / "users.acl")),
        ("/data", str(tmp_path)),
        ("exec redis-server", f"exec {find_binary()} --port {port} --bind 127.0.0.1"),
    ):
        assert old in script
        script = script.replace(old, new)
    with Running(["sh", "-c", script], {"REDIS_PASSWORD": password}) as server:
        until(lambda: "Ready to accept" in server.log or server.process.poll() is not None, 10, "the start")
        with redis.Redis(port=port, username="fastgw", password=password) as as_gateway:
            assert as_gateway.ping()
            as_gateway.set("gateway:config", "{}")
            with pytest.raises(redis.exceptions.NoPermissionError):
                as_gateway.set("worker:w1:status", "{}")
        with redis.Redis(port=port) as stranger, pytest.raises(redis.exceptions.AuthenticationError):
            stranger.ping()
        assert (tmp_path / "users.acl").stat().st_mode & 0o077 == 0


def test_the_sample_server_takes_its_command() -> None:
    command = re.findall(r'^CMD \["python", (.*)\]$', stage("sample"), re.MULTILINE)[0]
    words = [word.strip('" ') for word in command.split(",")]
    assert words[:2] == ["-m", "fastgw.demo.app"]
    done = subprocess.run([sys.executable, *words, "--help"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
