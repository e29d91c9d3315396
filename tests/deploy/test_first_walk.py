"""docs/guide/first-walk.md, walked: its commands run as they stand, but for ports, waits, and what is installed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from tests.support.nginx import NGINX, assert_share
from tests.support.ports import free_pair, free_port
from tests.support.processes import ROOT, SETTINGS, Running
from tests.support.wait import until

GUIDE = ROOT / "docs" / "guide"
PAGES = [path for path in (GUIDE / "first-walk.md", GUIDE / "first-walk.zh-CN.md") if path.exists()]
CLIENTS = 1000
INSTALLED = (
    "sudo apt install nginx-light curl jq make python3-venv",
    ". .venv/bin/activate",
    "pip install -q -e '.[demo,loadtests]'",
)
"""Lines that are not run: the tests' own environment has all of it."""

needs_tools = [
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed: apt install nginx-light"),
    pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="apt install curl jq"),
    pytest.mark.skipif(sys.platform != "linux", reason="the page is for Linux"),
]


def commands(page: Path) -> list[str]:
    """The blocks that a reader copies."""
    return re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@dataclass
class Walk:
    """What is there to look at after it."""

    home: Path
    printed: str
    demo: str

    def nginx_log(self) -> list[dict]:
        return [json.loads(line) for line in (self.home / "walk" / "fastgw.access.log").read_text().splitlines()]

    def answers(self, phase: str) -> Counter[str]:
        """By side."""
        return Counter(line["side"] for line in self.nginx_log() if line["phase"] == phase)


class Ports:
    """The page's numbers, and ours."""

    def __init__(self) -> None:
        self.gateway, self.server, self.nginx, self.phase = free_port(), free_port(), free_port(), free_pair()

    def put_into(self, text: str) -> str:
        for old, new in ((":3000", self.gateway), (":8000", self.server), (":8080", self.nginx)):
            text = text.replace(old, f":{new}")
        return text

    def environment(self) -> dict[str, str]:
        return {
            "GATEWAY_PORT": str(self.gateway),
            "FASTAPI_URL": f"http://localhost:{self.server}",
            "GATEWAY_URL": f"http://localhost:{self.gateway}",
            "NGINX_PORT": str(self.nginx),
            "NGINX_PHASE_URL": f"http://127.0.0.1:{self.phase}/phase",
        }


def shell(script: str, home: Path, environment: dict[str, str], timeout_s: float) -> str:
    """Run it in a shell of its own; whatever it leaves behind in its group is ended."""
    bash = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=home,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = bash.communicate(timeout=timeout_s)
    finally:
        if bash.poll() is None or "kill $!" in script:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(bash.pid, signal.SIGKILL)
    load = home / "load.txt"
    assert bash.returncode == 0, printed + (load.read_text()[-3000:] if load.exists() else "")
    return printed


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    home, ports = tmp_path_factory.mktemp("first-walk"), Ports()
    for name in ("deploy", "loadtests"):
        (home / name).symlink_to(ROOT / name)
    apt, demo, *steps, tidy = [ports.put_into(block) for block in commands(PAGES[0])]
    assert apt.strip() == INSTALLED[0]
    base = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**base, **ports.environment(), "PATH": path, "LOADTEST_LATENCY_SCALE": "40"}
    options = f"--port {ports.gateway} --backend-port {ports.server} --log {home}/gateway.log"
    line = re.sub(r"make demo OPTIONS='--log gateway.log'\n", f"exec {sys.executable} -m fastgw demo {options}", demo)
    assert "exec" in line, "the page starts the demo in another way"
    script = "\n".join(steps).replace("--p99-ms 100", "--p50-ms 500 --p99-ms 5000").replace("sleep 20", "sleep 3")
    for installed in INSTALLED[1:]:
        assert installed in script
        script = script.replace(installed, "")
    with Running(["bash", "-c", line.replace("exec", "exec env PYTHONUNBUFFERED=1", 1)]) as running:
        until(lambda: "Ctrl-C" in running.log or running.process.poll() is not None, 60, "the demo's start")
        assert running.process.poll() is None, running.log
        try:
            yield Walk(home, shell(script, home, environment, 90), running.log)
        finally:
            shell(tidy, home, {**environment, "NGINX_CONF_DIR": f"{home}/walk"}, 20)
            assert sorted(path.name for path in home.iterdir()) == ["deploy", "loadtests"]


class TestWalk:
    pytestmark = needs_tools

    def test_no_request_failed(self, walk: Walk) -> None:
        verdict = re.search(r"^thresholds met: (\d+) requests, (\d+) failed$", walk.printed, re.MULTILINE)
        assert verdict, walk.printed
        assert int(verdict[1]) > 500
        assert verdict[2] == "0", (walk.home / "load.txt").read_text()[-3000:]

    def test_nothing_but_what_the_page_names_was_answered(self, walk: Walk) -> None:
        """503: only a submission that was told to ask again (Redis was slow for a moment), and seldom."""
        asked = Counter((line["status"], line["method"]) for line in walk.nginx_log())
        again = asked.pop(("503", "POST"), 0)
        assert {status for status, _ in asked} <= {"200", "201", "409"}
        assert again <= asked["201", "POST"] * 0.1
        assert "gateway-away" not in {line["served_by"] for line in walk.nginx_log()}

    @pytest.mark.parametrize(("phase", "share"), [("2-10", 0.1), ("3-50", 0.5)])
    def test_the_share_is_as_configured(self, walk: Walk, phase: str, share: float) -> None:
        answers = walk.answers(phase)
        assert_share(answers["gateway"], answers.total(), share, CLIENTS)

    @pytest.mark.parametrize(("phase", "side"), [("1-shadow", "direct"), ("4-100", "gateway"), ("rollback", "direct")])
    def test_one_side_has_all(self, walk: Walk, phase: str, side: str) -> None:
        answers = walk.answers(phase)
        assert answers.total() > 50
        assert set(answers) == {side}

    def test_who_has_moved_stays_moved(self, walk: Walk) -> None:
        moved = {
            phase: {line["client"] for line in walk.nginx_log() if (line["phase"], line["side"]) == (phase, "gateway")}
            for phase in ("2-10", "3-50")
        }
        stayed = {line["client"] for line in walk.nginx_log() if (line["phase"], line["side"]) == ("3-50", "direct")}
        assert moved["2-10"]
        assert not moved["2-10"] & stayed

    def test_the_gateway_knows_the_clients(self, walk: Walk) -> None:
        """In its log, and in the windows of its rate limit. 127.0.0.1 is who compares and checks."""
        asked = {line["client"] for line in walk.nginx_log() if line["side"] == "gateway"}
        lines = [json.loads(line) for line in (walk.home / "gateway.log").read_text().splitlines()]
        known = {line["client"] for line in lines if "client" in line}
        assert asked <= known
        assert len(asked) > 100
        assert all(client == "127.0.0.1" or client.startswith("10.") for client in known)
        socket = re.search(r"unix://(\S+valkey\.sock)", walk.demo)
        assert socket
        with Redis(unix_socket_path=socket[1]) as redis:
            counted = {
                key.decode().removeprefix("gateway:ratelimit:") for key in redis.scan_iter("gateway:ratelimit:*")
            }
        assert any(client in counted or f"{{{client}}}" in counted for client in asked), sorted(counted)[:5]

    def test_it_prints_what_the_page_shows(self, walk: Walk) -> None:
        for line in (
            "X-Served-By: direct",
            "the gateway answers as the server does",
            "was         phase 3: 50 % of the clients to the gateway",
            "now         phase 4: all clients to the gateway",
        ):
            assert line in walk.printed
            assert line in PAGES[0].read_text()
        assert re.findall(r"^(fail|warn)", walk.printed, re.MULTILINE) == ["warn"]


def local_nginx(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "deploy" / "local-nginx.sh"
    environment = {**os.environ, "NGINX_CONF_DIR": str(home / "walk")}
    return subprocess.run(
        [script, *arguments], env=environment, capture_output=True, text=True, timeout=20, check=False
    )


def test_what_is_used_wrongly_is_said(tmp_path: Path) -> None:
    used_wrongly = local_nginx(tmp_path)
    assert used_wrongly.returncode == 2
    assert "deploy/local-nginx.sh start" in used_wrongly.stderr
    nothing_runs = local_nginx(tmp_path, "stop")
    assert (nothing_runs.returncode, nothing_runs.stdout) == (1, "")
    assert "no nginx runs" in nothing_runs.stderr


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda path: path.name)
def test_translations_have_the_same_commands(page: Path) -> None:
    assert commands(page) == commands(PAGES[0])
