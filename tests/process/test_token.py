"""`fastgw token hash`: the same digests as the guide's one-liners in Python and Node give."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys

import pytest

from tests.support.processes import ROOT, SETTINGS

SALT = "distributed-gpu-inference-v1"

PYTHON = """
import hashlib
import sys
token = sys.argv[1]
salt = sys.argv[2]
print(hashlib.sha256(f'{token}{salt}'.encode()).hexdigest())
"""

NODE = """
const crypto = require('crypto');
const token = process.argv[1];
const salt = process.argv[2];
console.log(crypto.createHash('sha256').update(token + salt).digest('hex'));
"""
"""Both as in "Verification Script" of the guide, but that token and salt are arguments."""

TOKENS = ["test-token-123", "a", "x" * 4096, "with space", "tökén-日本-🔑", "{token}{salt}", "-", "'\"$`\\", "--help"]


def run(command: list[str], given: bytes | None = None, **settings: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in SETTINGS}
    done = subprocess.run(
        command,
        input=b"" if given is None else given,
        env={**env, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **settings},
        capture_output=True,
        timeout=30,
        check=False,
    )
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def fastgw(*arguments: str, given: bytes | None = None, **settings: str):
    return run([sys.executable, "-m", "fastgw", "token", "hash", *arguments], given, **settings)


def by_python(token: str, salt: str = SALT) -> str:
    return run([sys.executable, "-c", PYTHON, token, salt]).stdout


def by_node(token: str, salt: str = SALT) -> str:
    return run([str(shutil.which("node")), "-e", NODE, "--", token, salt]).stdout


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No .env of the checkout is read."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("token", TOKENS, ids=lambda token: ascii(token[:20]))
def test_the_guides_python_gives_the_same(token):
    done = fastgw(given=token.encode())
    assert done.returncode == 0, done.stderr
    assert done.stdout == by_python(token)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("token", TOKENS, ids=lambda token: ascii(token[:20]))
def test_the_guides_node_gives_the_same(token):
    done = fastgw("--", token) if token != "-" else fastgw(given=b"-")
    assert done.returncode == 0, done.stderr
    assert done.stdout == by_node(token)


def test_the_guides_own_example():
    expected = "fff5bfbe9da8631eb646b0fdc9af31583adac875d1d57e2ae1bd53f9b4df75c4\n"
    assert fastgw("test-token-123").stdout == expected
    assert by_python("test-token-123") == expected


@pytest.mark.parametrize(
    "given", [b"test-token-123", b"test-token-123\n", b"test-token-123\r\n", b"test-token-123\nmore"]
)
def test_a_line_of_standard_input_is_a_token(given):
    expected = by_python("test-token-123")
    assert fastgw(given=given).stdout == expected
    assert fastgw("-", given=given).stdout == expected


def test_salt_and_format_are_the_settings_unless_given(tmp_path):
    (tmp_path / ".env").write_text("AUTH_TOKEN_SALT=from-file\nAUTH_TOKEN_FORMAT={salt}:{token}\n")
    assert fastgw("t").stdout == by_python("from-file:t", "")
    assert fastgw("t", AUTH_TOKEN_SALT="from-env").stdout == by_python("from-env:t", "")
    assert fastgw("t", "--salt", "given").stdout == by_python("given:t", "")
    assert fastgw("t", "--format", "{token}{salt}").stdout == by_python("t", "from-file")
    assert fastgw("t", "--format", "{token}", "--salt", "").stdout == by_python("t", "")


def test_settings_that_can_not_be_used_are_told_and_not_needed_when_all_is_given():
    done = fastgw("t", GATEWAY_PORT="nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert "GATEWAY_PORT" in done.stderr
    given = fastgw("t", "--format", "{token}{salt}", "--salt", SALT, GATEWAY_PORT="nonsense")
    assert given.stdout == by_python("t")


@pytest.mark.parametrize(
    "arguments", [("",), ("-",), (), ("t", "--format", "{salt}"), ("t", "--format", "{x}"), ("a", "b")]
)
def test_wrong_use_has_status_2_and_no_output(arguments):
    done = fastgw(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr


def test_a_token_that_no_header_can_carry_is_warned_about_without_showing_it():
    done = fastgw(given="tökén".encode())
    assert done.returncode == 0
    assert "visible ASCII" in done.stderr
    assert "kén" not in done.stderr
    assert fastgw("good").stderr == ""


def test_on_a_terminal_the_token_is_asked_for_without_echo():
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "fastgw", "token", "hash"]
    env = {**{k: v for k, v in os.environ.items() if k not in SETTINGS}, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=env, start_new_session=True
    ) as process:
        os.close(theirs)
        shown = b""
        while b"Token: " not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, b"hidden-token\n")
        stdout, _ = process.communicate(timeout=30)
        shown += read_rest(ours)
    assert stdout.decode() == by_python("hidden-token")
    assert b"hidden" not in shown


def read_rest(descriptor: int) -> bytes:
    """What a terminal whose other side is closed still holds."""
    data = b""
    try:
        while more := os.read(descriptor, 1000):
            data += more
    except OSError:
        pass
    finally:
        os.close(descriptor)
    return data
