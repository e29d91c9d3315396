"""Workers that die, workers that can't start, and a parent that is killed."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.serve_process import Load, ServeProcess, is_gone, until

if TYPE_CHECKING:
    from pathlib import Path


def test_a_killed_worker_is_replaced_while_the_others_serve(tmp_path: Path) -> None:
    with ServeProcess.tiny(tmp_path) as gateway:
        before = gateway.wait_up()
        victim = gateway.who()
        with Load(gateway.port, clients=4) as load:
            until(lambda: load.done > 20, 5, "requests flow")
            os.kill(victim, signal.SIGKILL)
            after = until(lambda: len(p := gateway.pids()) == 2 and victim not in p and p, 5, "a new worker")
            until(lambda: gateway.served() == 3, 5, "it serves")
            done = load.done
            until(lambda: load.done > done + 50, 5, "requests flow again")
        assert before - after == {victim}
        # each client had one connection at most: only what the killed worker held may fail, and only once
        assert len(load.failures) <= 4, load.failures
        assert "killed by SIGKILL" in gateway.log
        assert gateway.end() == 0
        gateway.assert_no_trace()


def test_connections_that_wait_for_a_killed_worker_are_served_by_the_next(tmp_path: Path) -> None:
    """With one worker there is nobody else: each new connection waits in the queue that outlives the worker."""
    with ServeProcess.tiny(tmp_path, workers=1) as gateway:
        (victim,) = gateway.wait_up()
        with Load(gateway.port, clients=2, new_connections=True) as load:
            until(lambda: load.done > 20, 5, "requests flow")
            os.kill(victim, signal.SIGKILL)
            until(lambda: gateway.served() == 2, 5, "a new worker")
            done = load.done
            until(lambda: load.done > done + 20, 5, "requests flow again")
        assert len(load.failures) <= 2, load.failures


def test_killing_workers_in_a_row_does_not_end_the_gateway(tmp_path: Path) -> None:
    """granian's own supervisor exits upon the second crash within 5.5 s."""
    with ServeProcess.tiny(tmp_path) as gateway:
        gateway.wait_up()
        for kills in range(1, 5):
            os.kill(min(gateway.pids()), signal.SIGKILL)
            until(lambda n=kills: gateway.served() == 2 + n, 8, f"respawned {kills} times")
        assert gateway.get()[0] == 200
        assert gateway.process.poll() is None


def test_all_workers_killed_at_once_come_back(tmp_path: Path) -> None:
    with ServeProcess.tiny(tmp_path) as gateway:
        for pid in gateway.wait_up():
            os.kill(pid, signal.SIGKILL)
        assert gateway.get()[0] == 200, "the request waits for the new workers"
        until(lambda: gateway.served() == 4, 5, "both respawned")


@pytest.mark.parametrize("mode", ["raise", "fail", "build", "die"])
def test_workers_that_can_not_start_end_the_gateway(tmp_path: Path, mode: str) -> None:
    with ServeProcess.tiny(tmp_path, mode) as gateway:
        assert gateway.process.wait(15) == 1
        assert "no worker could be started" in gateway.log
        assert gateway.served() == 0
        gateway.assert_no_trace()


def test_a_slot_whose_workers_do_not_start_swallows_no_connections(tmp_path: Path) -> None:
    """New connections reach the worker that serves; when the fault is gone, the slot comes back."""
    with ServeProcess.tiny(tmp_path) as gateway:
        gateway.wait_up()
        (tmp_path / "mode").write_text("die")
        os.kill(gateway.who(), signal.SIGKILL)
        until(lambda: gateway.log.count("exit status 7") >= 2, 5, "its successors die")
        for _ in range(30):
            assert gateway.get(timeout=2)[0] == 200
        (tmp_path / "mode").write_text("ok")
        until(lambda: gateway.served() == 3, 8, "the slot is filled again")


def test_when_no_worker_starts_any_more_the_gateway_ends(tmp_path: Path) -> None:
    """Not to sit there and look alive: whoever runs it is told by the exit status."""
    with ServeProcess.tiny(tmp_path) as gateway:
        pids = gateway.wait_up()
        (tmp_path / "mode").write_text("die")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert gateway.process.wait(20) == 1
        gateway.assert_no_trace()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_a_killed_parent_leaves_no_orphans(tmp_path: Path, number: signal.Signals) -> None:
    with ServeProcess.tiny(tmp_path) as gateway:
        gateway.wait_up()
        gateway.end(number)
        gateway.assert_no_trace(3)


def test_a_killed_parent_frees_the_port_at_once_and_its_streams_within_the_grace(tmp_path: Path) -> None:
    """A supervisor such as systemd starts the next gateway right away: it must get the port."""
    with ServeProcess.tiny(tmp_path, grace_s=2) as gateway:
        gateway.wait_up()
        with socket.create_connection(("127.0.0.1", gateway.port)) as stream:
            stream.sendall(b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n")
            stream.recv(1)
            family = [psutil.Process(pid) for pid in gateway.pids()]
            start = time.monotonic()
            gateway.end(signal.SIGKILL)
            until(gateway.is_refused, 0.7, "the port is free though a stream is open")
            until(lambda: all(is_gone(p) for p in family), 4, "the stream's worker ends with the grace")
            assert time.monotonic() - start < 4
