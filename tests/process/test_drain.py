"""SIGTERM and SIGINT: what is under way finishes, the rest is told to go elsewhere, and nothing is left."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.serve_process import ServeProcess, until

if TYPE_CHECKING:
    from pathlib import Path


class Call(threading.Thread):
    """One request in the background."""

    def __init__(self, gateway: ServeProcess, path: str) -> None:
        super().__init__(daemon=True)
        self.gateway, self.path, self.status, self.body = gateway, path, 0, b""
        self.start()
        time.sleep(0.2)  # it is under way

    def run(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.status, _, self.body = self.gateway.get(self.path, timeout=20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_under_way_finishes_and_new_connections_are_refused(tmp_path: Path, number: signal.Signals) -> None:
    with ServeProcess.tiny(tmp_path) as gateway:
        gateway.wait_up()
        slow = Call(gateway, "/slow?s=3")
        gateway.tell(number)
        started = time.monotonic()
        until(gateway.is_refused, 2, "new connections are refused after the notice")
        assert gateway.process.poll() is None, "it waits for the request"
        assert gateway.process.wait(10) == 0
        slow.join(5)
        assert slow.status == 200
        assert 2 < time.monotonic() - started < 5
        gateway.assert_no_trace()


def test_while_draining_clients_are_told_to_close(tmp_path: Path) -> None:
    with ServeProcess.tiny(tmp_path, workers=1) as gateway:
        gateway.wait_up()
        client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5)
        client.request("GET", "/")
        response = client.getresponse()
        response.read()
        assert response.getheader("connection") is None
        gateway.tell(signal.SIGTERM)
        time.sleep(0.3)
        client.request("GET", "/")  # on the same connection
        response = client.getresponse()
        assert json.loads(response.read())["is_stopping"] is True
        assert response.getheader("connection") == "close"
        status, _, body = gateway.get()  # a new one, such as a load balancer's check
        assert (status, json.loads(body)["is_stopping"]) == (200, True)
        assert gateway.process.wait(5) == 0


def test_idle_connections_do_not_hold_it_up(tmp_path: Path) -> None:
    with ServeProcess.tiny(tmp_path) as gateway, contextlib.ExitStack() as stack:
        gateway.wait_up()
        for _ in range(10):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port)))
        idle = http.client.HTTPConnection("127.0.0.1", gateway.port)
        idle.request("GET", "/")
        idle.getresponse().read()
        started = time.monotonic()
        assert gateway.end() == 0
        assert time.monotonic() - started < 3
        silent.settimeout(2)
        with contextlib.suppress(ConnectionResetError):
            assert silent.recv(1) == b""
        idle.close()
        gateway.assert_no_trace()


def test_what_does_not_finish_within_the_grace_is_cut(tmp_path: Path) -> None:
    with ServeProcess.tiny(tmp_path, grace_s=2) as gateway:
        gateway.wait_up()
        slow = Call(gateway, "/slow?s=30")
        started = time.monotonic()
        assert gateway.end() == 0
        assert 1.5 < time.monotonic() - started < 4.5
        slow.join(5)
        assert slow.status == 0
        gateway.assert_no_trace()


def test_streams_go_on_while_it_drains(tmp_path: Path) -> None:
    with ServeProcess.tiny(tmp_path, grace_s=3) as gateway:
        gateway.wait_up()
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as stream:
            stream.sendall(b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n")
            stream.recv(65536)
            gateway.tell(signal.SIGTERM)
            time.sleep(1.6)  # notice is over, nobody accepts
            assert b"data: " in stream.recv(65536)
            assert b"data: " in stream.recv(65536)
        started = time.monotonic()
        assert gateway.process.wait(5) == 0
        assert time.monotonic() - started < 1, "with the stream gone there is nothing to wait for"


def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    with ServeProcess.tiny(tmp_path, grace_s=30) as gateway:
        gateway.wait_up()
        Call(gateway, "/slow?s=30")
        gateway.tell(signal.SIGINT)
        time.sleep(1.5)
        started = time.monotonic()
        assert gateway.end(signal.SIGINT) == 0
        assert time.monotonic() - started < 2
        gateway.assert_no_trace()


def test_a_signal_that_comes_twice_at_once_is_one(tmp_path: Path) -> None:
    """Process managers that signal the group as well as the process deliver it twice within milliseconds."""
    with ServeProcess.tiny(tmp_path) as gateway:
        gateway.wait_up()
        slow = Call(gateway, "/slow?s=2")
        gateway.tell(signal.SIGTERM)
        time.sleep(0.05)
        gateway.tell(signal.SIGTERM)
        assert gateway.process.wait(10) == 0
        slow.join(5)
        assert slow.status == 200


def test_signals_to_every_process_at_once_still_drain(tmp_path: Path) -> None:
    """systemd signals the whole control group: workers are told before the parent tells them, and told twice."""
    with ServeProcess.tiny(tmp_path) as gateway:
        workers = gateway.wait_up()
        slow = Call(gateway, "/slow?s=2.5")
        client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5)
        client.request("GET", "/")
        client.getresponse().read()
        for _ in range(3):
            for pid in workers:
                os.kill(pid, signal.SIGTERM)
        gateway.tell(signal.SIGTERM)
        time.sleep(0.3)
        client.request("GET", "/")  # the notice: the idle connection still serves, and says that it closes
        response = client.getresponse()
        assert (response.status, response.getheader("connection")) == (200, "close")
        assert gateway.process.wait(10) == 0
        slow.join(5)
        assert slow.status == 200
        gateway.assert_no_trace()


def test_a_stop_during_the_start(tmp_path: Path) -> None:
    with ServeProcess.tiny(tmp_path) as gateway:
        until(lambda: gateway.pids() or gateway.process.poll() is not None, 10, "workers are being started")
        assert gateway.end(seconds=5) == 0
        gateway.assert_no_trace()
