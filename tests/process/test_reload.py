"""SIGHUP: workers are replaced one after the other, and no request fails."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.serve_process import Load, ServeProcess, until

if TYPE_CHECKING:
    from pathlib import Path


def reload(gateway: ServeProcess, before: set[int]) -> set[int]:
    gateway.tell(signal.SIGHUP)
    return until(lambda: len(p := gateway.pids()) == 2 and not p & before and p, 15, f"all are new: {gateway.log}")


def test_no_request_fails_while_all_workers_are_replaced(tmp_path: Path) -> None:
    with ServeProcess.tiny(tmp_path) as gateway:
        pids = gateway.wait_up()
        with Load(gateway.port, 4) as kept, Load(gateway.port, 4, new_connections=True) as fresh:
            for _ in range(2):
                pids = reload(gateway, pids)
        assert (kept.failures, fresh.failures) == ([], [])
        assert kept.done > 200
        assert fresh.done > 200
        assert gateway.end() == 0
        gateway.assert_no_trace()


def test_a_connection_whose_request_is_on_its_way_is_not_cut(tmp_path: Path) -> None:
    """Distant clients: accepted, but their first bytes take 50 ms. Their worker retires in between."""
    with ServeProcess.tiny(tmp_path, workers=1) as gateway:
        before = gateway.wait_up()
        outcomes: list[bytes] = []

        def run() -> None:
            while before & gateway.pids():
                with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as client:
                    time.sleep(0.05)
                    try:
                        client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                        outcomes.append(client.recv(12))
                    except OSError as error:
                        outcomes.append(repr(error).encode())

        threads = [threading.Thread(target=run, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        gateway.tell(signal.SIGHUP)
        for thread in threads:
            thread.join(20)
        assert len(outcomes) > 30
        assert set(outcomes) == {b"HTTP/1.1 200"}


def test_health_does_not_say_draining_while_workers_are_replaced(tmp_path: Path) -> None:
    """The gateway goes on: a load balancer should keep sending."""
    with ServeProcess.tiny(tmp_path, workers=1) as gateway:
        before = gateway.wait_up()
        gateway.tell(signal.SIGHUP)
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as client:
            while before & gateway.pids():
                assert json.loads(gateway.get()[2])["is_stopping"] is False
            client.close()


def test_a_stream_outlives_the_reload_of_its_worker(tmp_path: Path) -> None:
    with ServeProcess.tiny(tmp_path, grace_s=8) as gateway:
        before = gateway.wait_up()
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as stream:
            stream.sendall(b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n")
            stream.recv(65536)
            gateway.tell(signal.SIGHUP)
            until(lambda: gateway.served() == 4, 10, "both replaced")
            time.sleep(1.5)
            assert len(gateway.pids() & before) == 1, "the stream's worker waits for it"
            assert b"data: " in stream.recv(65536)
        until(lambda: not gateway.pids() & before, 3, "and ends when the stream does")


@pytest.mark.parametrize("mode", ["raise", "fail", "build", "die", "refuse"])
def test_a_bad_reload_leaves_the_old_workers_at_work(tmp_path: Path, mode: str) -> None:
    with ServeProcess.tiny(tmp_path) as gateway:
        before = gateway.wait_up()
        (tmp_path / "mode").write_text(mode)
        with Load(gateway.port, 2, new_connections=True) as load:
            gateway.tell(signal.SIGHUP)
            if mode == "refuse":
                time.sleep(1)
            else:
                until(lambda: "reload given up" in gateway.log, 10, "it is given up")
        assert gateway.pids() == before
        assert load.failures == []
        (tmp_path / "mode").write_text("ok")
        reload(gateway, before)


def test_two_reloads_and_a_crash_in_between(tmp_path: Path) -> None:
    with ServeProcess.tiny(tmp_path) as gateway:
        before = gateway.wait_up()
        gateway.tell(signal.SIGHUP)
        time.sleep(0.1)
        gateway.tell(signal.SIGHUP)
        os.kill(max(before), signal.SIGKILL)
        until(lambda: len(p := gateway.pids()) == 2 and not p & before, 15, "all are new")
        time.sleep(3)
        assert len(gateway.pids()) == 2
        assert gateway.get()[0] == 200
        assert gateway.end() == 0
        gateway.assert_no_trace()


def test_a_stop_during_a_reload(tmp_path: Path) -> None:
    """Also a successor that was forked this very moment is told."""
    with ServeProcess.tiny(tmp_path) as gateway:
        gateway.wait_up()
        gateway.tell(signal.SIGHUP)
        until(lambda: gateway.served() >= 3, 5, "the first is replaced")
        assert gateway.end(seconds=4) == 0
        gateway.assert_no_trace()
