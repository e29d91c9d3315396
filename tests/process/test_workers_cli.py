"""`fastgw workers` as people and scripts use it, in front of a server that answers like the gateway."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from fastgw.cli import main
from tests.support.ports import RefusingPort
from tests.support.processes import SETTINGS
from tests.support.wait import until

ROOT = Path(__file__).parents[2]
GPU = {"name": "NVIDIA A100-SXM4-80GB", "memory_total_mb": 80000, "memory_used_mb": 20000, "utilization_percent": 37.4}
SHAPE = {"region": None, "gpu": None, "last_heartbeat": None, "uptime_seconds": None, "jobs_completed": None}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


ASIA = {**SHAPE, "worker_id": "w-asia", "region": "asia-east", "status": "busy", "gpu": GPU, "jobs_completed": 12}
ASIA["last_heartbeat"] = now()
EAST = {**SHAPE, "worker_id": "w-east", "region": "europe-east", "status": "idle"}
LOST = {**SHAPE, "worker_id": "w-lost", "status": "offline", "last_heartbeat": "2020-01-01T00:00:00.000Z"}
FLEET = [ASIA, EAST, LOST]


def answer_of(workers: list[Any], **more: Any) -> dict[str, Any]:
    return {"workers": workers, "total": len(workers), "online": 2, "busy": 1, "idle": 1, **more}


class Answers:
    """What the server says, and what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        ASIA["last_heartbeat"] = now()
        self.body: bytes = json.dumps(answer_of(FLEET)).encode()
        self.asked: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def say(self, content: Any, status: int = 200) -> None:
        self.status, self.body = status, content if isinstance(content, bytes) else json.dumps(content).encode()


@pytest.fixture
def gateway() -> Iterator[Answers]:
    answers = Answers()
    thread = threading.Thread(target=answers.server.serve_forever, args=(0.01,))
    thread.start()
    yield answers
    answers.server.shutdown()
    thread.join()
    answers.server.server_close()


def surroundings(**more: str) -> dict[str, str]:
    return {**{k: v for k, v in os.environ.items() if k not in SETTINGS}, "PYTHONPATH": str(ROOT), **more}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no .env is, and nothing of the developer's own environment counts."""
    monkeypatch.chdir(tmp_path)
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


def run(*arguments: str, **environment: str) -> Result:
    """The command without a terminal, in this process."""
    return CliRunner().invoke(main, ["workers", *arguments], env=environment)


class Terminal:
    """The command on a terminal of 120 columns."""

    def __init__(self, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fastgw", "workers", *arguments],
            cwd=tempfile.gettempdir(),
            env=surroundings(TERM="xterm-256color", COLUMNS="120", LINES="30"),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._seen = b""

    @property
    def text(self) -> str:
        """All that it has shown so far, without colours."""
        while select.select([self._ours], [], [], 0)[0]:
            try:
                self._seen += os.read(self._ours, 65536)
            except OSError:  # Linux: the other side is closed
                break
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._seen.decode())

    def wait_for(self, text: str) -> None:
        until(lambda: text in self.text, 10, f"{text!r} in {self.text!r}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(10)


def test_columns_for_scripts(gateway):
    result = run("--url", gateway.url)
    assert result.exit_code == 0, result.stderr
    rows = [line.split(maxsplit=7) for line in result.stdout.splitlines()]
    assert rows[0][:5] == ["w-asia", "asia-east", "busy", "37%", "25%"]
    assert re.fullmatch(r"\d+s", rows[0][5])
    assert rows[0][6:] == ["12", GPU["name"]]
    assert rows[1] == ["w-east", "europe-east", "idle", "-", "-", "-", "-", "-"]
    assert rows[2][:3] == ["w-lost", "-", "offline"]
    assert re.fullmatch(r"\d+d", rows[2][5])
    assert result.stderr == "3 workers: 2 online, 1 busy, 1 idle\n"


def test_json(gateway):
    result = run("--url", gateway.url, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == answer_of(FLEET)


def test_the_gateway_is_asked_for_what_is_wanted(gateway):
    result = run(
        "--url", gateway.url + "/", "--region", "asia-east", "--region", "a&b", "--status", "busy", "--api-key", "k-1"
    )
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["w-asia"]
    (target, fields), *_ = gateway.asked
    assert urlsplit(target).path == "/api/v1/workers"
    assert parse_qs(urlsplit(target).query) == {
        "format": ["object"],
        "region": ["asia-east", "a&b"],
        "status": ["busy"],
    }
    assert (fields["x-api-key"], fields.get("x-worker-token")) == ("k-1", None)


def test_credentials_may_stand_in_the_environment(gateway):
    run("--url", gateway.url, FASTGW_API_KEY="k-2", FASTGW_TOKEN="t-2")
    fields = gateway.asked[0][1]
    assert (fields["x-api-key"], fields["x-worker-token"]) == ("k-2", "t-2")


def test_the_address_comes_from_the_settings(gateway):
    result = run(GATEWAY_PORT=str(gateway.port), http_proxy="http://127.0.0.1:9")
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 3), result.stderr


def test_a_backends_own_list_is_understood(gateway):
    gateway.say([*FLEET, {"id": "of another form"}])
    result = run("--url", gateway.url, "--status", "busy")
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["w-asia"]
    assert "1 more in another form" in result.stderr


def test_nobody_there(gateway):
    gateway.say(answer_of([]))
    result = run("--url", gateway.url)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "0 workers: 0 online, 0 busy, 0 idle\n")


def test_a_stale_list_says_so(gateway):
    gateway.say(answer_of(FLEET, stale=True))
    assert "not up to date" in run("--url", gateway.url).stderr
    assert json.loads(run("--url", gateway.url, "--json").stdout)["stale"] is True


def test_what_workers_write_gives_no_orders_to_the_terminal(gateway):
    gateway.say(answer_of([{**ASIA, "worker_id": "\x1b[2Jw", "region": "a\nb", "gpu": {**GPU, "name": "\x07[bold]"}}]))
    result = run("--url", gateway.url)
    assert len(result.stdout.splitlines()) == 1
    assert "\x1b" not in result.stdout
    assert "\x07" not in result.stdout
    with Terminal("--url", gateway.url) as terminal:
        terminal.wait_for("1 worker:")
        assert "[bold]" in terminal.text
        assert "\x07" not in terminal.text


def one_line(result: Result) -> str:
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return result.stderr


def test_no_gateway_there():
    port = RefusingPort()
    said = one_line(run("--url", f"http://127.0.0.1:{port.port}"))
    assert "can't be reached" in said
    assert "fastgw serve" in said
    port.close()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://", "http://[", "localhost:3000", "http://a:b"])
def test_an_address_that_is_none(url):
    said = one_line(run("--url", url))
    assert "http://localhost:3000" in said or "can't be reached" in said


@pytest.mark.parametrize("status", [401, 403])
def test_a_gateway_that_wants_a_credential(gateway, status):
    gateway.say({"error": {"code": "UNAUTHORIZED", "message": "no"}}, status)
    said = one_line(run("--url", gateway.url, "--api-key", "hush"))
    assert "--api-key" in said
    assert "hush" not in said


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"error": {"code": "RATE_LIMIT_EXCEEDED", "message": "Too many"}}, "503: Too many"),
        ({"detail": "Not today"}, "503: Not today"),
        ({"detail": [1]}, "503"),
        (b"<html>", "503"),
        (b"", "503"),
    ],
)
def test_an_error_is_told(gateway, content, text):
    gateway.say(content, 503)
    assert text in one_line(run("--url", gateway.url))


@pytest.mark.parametrize("content", [b"<html>", {"workers": 7}, {}, "text", b"\xff"])
def test_what_is_no_list_is_told(gateway, content):
    gateway.say(content)
    assert "no list of workers" in one_line(run("--url", gateway.url))


def test_a_key_that_is_no_field_value_is_not_shown(gateway):
    said = one_line(run("--url", gateway.url, "--api-key", "hush\nhush"))
    assert "hush" not in said


def test_bad_settings_are_told():
    result = run(GATEWAY_PORT="none")
    assert result.exit_code == 2
    assert "GATEWAY_PORT" in result.stderr


def test_a_table_on_a_terminal(gateway):
    with Terminal("--url", gateway.url) as terminal:
        terminal.wait_for("3 workers: 2 online, 1 busy, 1 idle")
        assert re.search(r"worker +region +status +GPU +memory", terminal.text)
        assert re.search(r"w-asia +asia-east +busy +NVIDIA A100-SXM4-80GB +\S+ +25% +37% +\d+s +12", terminal.text)
        assert terminal.process.wait(10) == 0


def test_watching_on_a_terminal(gateway):
    with Terminal("--watch", "--url", gateway.url) as terminal:
        terminal.wait_for("w-lost")
        gateway.say(answer_of([{**EAST, "worker_id": "w-new"}]))
        terminal.wait_for("w-new")
        gateway.say({"error": {"message": "no backend"}}, 503)
        terminal.wait_for("answered 503: no backend")
        terminal.wait_for("not up to date")
        gateway.say(answer_of([{**EAST, "worker_id": "w-back"}]))
        terminal.wait_for("w-back")
        assert terminal.end(signal.SIGINT) == 0
        assert "Traceback" not in terminal.text


def watched(gateway: Answers, *arguments: str, until_seen: Callable[[str], bool]) -> tuple[int, str, str]:
    """Run a watch without a terminal until its output satisfies, then interrupt it."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "fastgw", "workers", "--watch", "--url", gateway.url, *arguments],
            cwd=tempfile.gettempdir(),
            env=surroundings(),
            stdout=out,
            stderr=err,
        )

        def read(file: Any) -> str:
            return os.pread(file.fileno(), 1 << 20, 0).decode()

        until(lambda: until_seen(read(out)) or process.poll() is not None, 10, "the output of the watch")
        process.send_signal(signal.SIGINT)
        return process.wait(10), read(out), read(err)


def test_watching_as_lines_of_json(gateway):
    status, out, _ = watched(gateway, "--json", until_seen=lambda text: text.count("\n") >= 2)
    assert status == 0
    assert [json.loads(line)["total"] for line in out.splitlines()[:2]] == [3, 3]


def test_watching_in_columns(gateway):
    status, out, err = watched(gateway, until_seen=lambda text: text.count("w-asia") >= 2)
    assert status == 0
    assert "Traceback" not in err
    assert out.count("w-lost") == out.count("w-asia")


def test_watching_nobody_ends():
    port = RefusingPort()
    assert "can't be reached" in one_line(run("--watch", "--url", f"http://127.0.0.1:{port.port}"))
    port.close()
