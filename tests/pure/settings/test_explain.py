"""`fastgw config`: what is shown, where, and what never is."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from fastgw.cli import main
from fastgw.settings.load import NAMES, load

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]
SECRET = {
    "REDIS_URL": "redis://user:hunter2@h/0",
    "REDIS_PASSWORD": "hunter2",
    "AUTH_VERIFY_URL": "http://u:hunter2@h/{worker_id}",
    "AUTH_API_KEYS": "ops:hunter2",
    "AUTH_TOKEN_SALT": "hunter2",
    "ADMIN_TOKEN": "hunter2",
    "OTEL_ZIPKIN_ENDPOINT": "http://u:hunter2@z/",
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str, **environ: str) -> Result:
        return CliRunner().invoke(main, ["config", *arguments], env=environ)

    return call


@pytest.mark.parametrize("arguments", [(), ("--json",)], ids=["text", "json"])
def test_no_secret_is_shown(run: Callable[..., Result], arguments: tuple[str, ...]) -> None:
    result = run(*arguments, **SECRET)
    assert result.exit_code == 0
    assert "hunter2" not in result.output
    assert "redis://user:***@h/0" in result.stdout


def test_no_secret_is_in_repr() -> None:
    assert "hunter2" not in repr(load(SECRET, None))


def test_value_and_origin_are_shown(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FASTAPI_TIMEOUT=5\nLOG_LEVEL=debug")
    shown = json.loads(run("--json", LOG_LEVEL="error", AUTH_ENABLED="no").stdout)
    assert list(shown) == list(NAMES)
    assert shown["FASTAPI_TIMEOUT"] == {"value": 5, "unit": "ms", "origin": ".env"}
    assert shown["LOG_LEVEL"] == {"value": "error", "unit": "", "origin": "environment"}
    assert shown["AUTH_ENABLED"]["value"] is False
    assert shown["REDIS_URL"] == {"value": None, "unit": "", "origin": "default"}


def test_piped_text_is_one_whole_line_per_setting_without_colour(run: Callable[..., Result]) -> None:
    lines = run(FASTAPI_URL="http://[2001:db8::1]:8000;region=" + "x" * 60).stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(NAMES)
    assert any("http://[2001:db8::1]:8000;region=" + "x" * 60 in line for line in lines)
    assert not any("\x1b" in line for line in lines)


def test_warnings_go_to_stderr(run: Callable[..., Result]) -> None:
    result = run("--json", FASTAPI_TIMOUT="1")
    assert "warning: FASTAPI_TIMOUT is not a setting" in result.stderr
    json.loads(result.stdout)


def test_bad_settings_end_with_status_2_and_nothing_on_stdout(run: Callable[..., Result]) -> None:
    result = run(GATEWAY_PORT="x")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "GATEWAY_PORT" in result.stderr


@pytest.mark.parametrize("environ", [{}, {"NO_COLOR": "1"}], ids=["colour", "no-colour"])
def test_a_terminal_gets_a_table_with_colour_unless_it_is_not_wanted(tmp_path: Path, environ: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    env = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "100", "PYTHONPATH": str(ROOT), **environ}
    command = [sys.executable, "-m", "fastgw", "config"]
    with subprocess.Popen(command, stdout=theirs, env=env | {"LOG_LEVEL": "error"}, cwd=tmp_path) as process:
        os.close(theirs)
        output = b""
        while piece := _read(ours):
            output += piece
    os.close(ours)
    assert process.returncode == 0
    assert b"CONCURRENCY_LIMIT_PER_IDENTITY" in output
    assert b"setting" in output
    assert b"\x1b[3" not in output or not environ


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the other side is closed
        return b""


def test_help_and_version_name_the_commands() -> None:
    helped = CliRunner().invoke(main, ["--help"])
    assert all(command in helped.stdout for command in ("serve", "demo", "config"))
    assert CliRunner().invoke(main, ["--version"]).stdout.startswith("fastgw")


def test_showing_settings_does_not_load_the_server() -> None:
    code = (
        "import sys; from fastgw.cli import main; main(['config'], standalone_mode=False); "
        "sys.exit('granian' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
