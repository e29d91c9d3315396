"""`fastgw serve`, the real command: what it starts, what it says, how it ends."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.serve_process import Load, ServeProcess, free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(2)
        body = b'{"path": "%s"}' % self.path.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def backend() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Backend) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_it_serves_with_an_embedded_valkey_and_leaves_nothing(tmp_path: Path, backend: str) -> None:
    with ServeProcess.serve(tmp_path, FASTAPI_URL=backend) as gateway:
        assert len(gateway.wait_up()) == 2
        assert gateway.get("/api/v1/jobs")[2] == b'{"path": "/api/v1/jobs"}'
        health = until(
            lambda: (h := json.loads(gateway.get("/gateway/health")[2]))["redis"] == "connected" and h, 5, ""
        )
        assert health["status"] == "healthy"
        valkeys = [c for c in psutil.Process(gateway.process.pid).children() if "valkey" in c.name()]
        assert len(valkeys) == 1
        assert f"listening on http://127.0.0.1:{gateway.port} with 2 workers" in gateway.log
        assert "nothing in it outlives this process" in gateway.log
        assert gateway.end() == 0
        gateway.assert_no_trace()
        assert "Traceback" not in gateway.log


def test_health_says_draining_and_a_request_under_way_finishes(tmp_path: Path, backend: str) -> None:
    with ServeProcess.serve(tmp_path, FASTAPI_URL=backend) as gateway:
        gateway.wait_up()
        got: list[int] = []
        slow = threading.Thread(target=lambda: got.append(gateway.get("/slow")[0]))
        slow.start()
        time.sleep(0.3)
        gateway.tell(signal.SIGTERM)
        time.sleep(0.2)
        status, fields, body = gateway.get("/gateway/health")
        assert (status, json.loads(body)["status"], fields["connection"]) == (503, "draining", "close")
        assert gateway.process.wait(10) == 0
        slow.join(5)
        assert got == [200]
        gateway.assert_no_trace()


def test_sighup_under_load_takes_over_new_settings_without_a_failed_request(tmp_path: Path, backend: str) -> None:
    (tmp_path / ".env").write_text(f"FASTAPI_URL={backend}\nMAX_BODY_BYTES=1000000\n")
    with ServeProcess(tmp_path, "-m", "fastgw", "serve", REDIS_URL="", RATE_LIMIT_ENABLED="false") as gateway:
        before = gateway.wait_up()
        with Load(gateway.port, 2, "/api/v1/jobs") as kept, Load(gateway.port, 2, "/x", new_connections=True) as fresh:
            until(lambda: kept.done and fresh.done, 5, "requests flow")
            (tmp_path / ".env").write_text(f"FASTAPI_URL={backend}\nMAX_BODY_BYTES=bad\n")
            gateway.tell(signal.SIGHUP)
            until(lambda: "reload refused" in gateway.log, 5, "bad settings are refused")
            assert gateway.pids() == before
            (tmp_path / ".env").write_text(f"FASTAPI_URL={backend}\nMAX_BODY_BYTES=10\nGATEWAY_PORT=1\n")
            gateway.tell(signal.SIGHUP)
            until(lambda: len(p := gateway.pids()) == 2 and not p & before, 15, "all workers are new")
        assert (kept.failures, fresh.failures) == ([], [])
        with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
            client.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\nhello world")
            assert client.recv(100).startswith(b"HTTP/1.1 413")
        assert gateway.end() == 0
        gateway.assert_no_trace()


@pytest.mark.parametrize("taken", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_told_in_one_line(tmp_path: Path, taken: str) -> None:
    with socket.create_server((taken, 0)) as other:
        port = other.getsockname()[1]
        with ServeProcess.serve(tmp_path, GATEWAY_PORT=str(port)) as gateway:
            assert gateway.process.wait(15) == 1
            assert f"port {port} on 127.0.0.1 is taken" in gateway.log
            assert "GATEWAY_PORT" in gateway.log
            assert "Traceback" not in gateway.log


def test_a_second_gateway_does_not_share_the_port_in_silence(tmp_path: Path) -> None:
    (second := tmp_path / "second").mkdir()
    with ServeProcess.tiny(tmp_path) as first:
        first.wait_up()
        with ServeProcess.serve(second, GATEWAY_PORT=str(first.port)) as gateway:
            assert gateway.process.wait(15) == 1
            assert "is taken" in gateway.log


@pytest.mark.parametrize("host", ["localhost", "::1", "::"])
def test_the_host_may_be_a_name_or_ipv6(tmp_path: Path, host: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with ServeProcess.serve(tmp_path, GATEWAY_HOST=host) as gateway:
        gateway.wait_up()
        with socket.create_connection(("localhost" if host == "localhost" else "::1", gateway.port), 5) as client:
            client.sendall(b"GET /gateway/health/live HTTP/1.1\r\nhost: a\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")


def test_an_unknown_host_is_told_in_one_line(tmp_path: Path) -> None:
    with ServeProcess.serve(tmp_path, GATEWAY_HOST="no-such-host.invalid") as gateway:
        assert gateway.process.wait(30) == 1
        assert "set GATEWAY_HOST" in gateway.log
        assert "Traceback" not in gateway.log


def test_bad_settings_stop_the_start(tmp_path: Path) -> None:
    with ServeProcess.serve(tmp_path, GATEWAY_PORT="none", FASTAPI_TIMEOUT="soon") as gateway:
        assert gateway.process.wait(15) != 0
        assert "GATEWAY_PORT" in gateway.log
        assert "FASTAPI_TIMEOUT" in gateway.log
        assert "Traceback" not in gateway.log


def test_the_port_can_be_taken_again_at_once(tmp_path: Path) -> None:
    """Connections of the former run linger in TIME_WAIT; a restart must not wait for them."""
    port = free_port()
    for run in range(2):
        (directory := tmp_path / str(run)).mkdir()
        with ServeProcess.serve(directory, GATEWAY_PORT=str(port)) as gateway:
            gateway.port = port
            gateway.wait_up()
            gateway.get("/gateway/health/live")
            assert gateway.end() == 0
