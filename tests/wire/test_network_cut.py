"""The network between gateway and backend fails: bounded waits, no half taken for a whole, and it heals by itself."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time

import pytest

from tests.support.raw_client import RawClient, request
from tests.support.tcp_proxy import TcpProxy
from tests.support.wait import until

MIB = 1024 * 1024
TIMEOUT_S = 0.6


@pytest.fixture(scope="module")
def network(backend):
    """The way from the gateway to a real uvicorn."""
    proxy = TcpProxy(backend.port)
    yield proxy
    proxy.close()


@pytest.fixture
def behind(gateways, network):
    """A gateway that reaches its backend by `network` only, which is whole at first and in the end."""
    network.whole()
    time.sleep(0.05)  # the gateway sees the ends of its idle connections
    yield gateways(network.url, FASTAPI_TIMEOUT=int(TIMEOUT_S * 1000), ROUTER_HEALTH_CHECK_INTERVAL=600_000)
    network.whole()


@pytest.mark.parametrize("by_reset", [False, True], ids=["end", "reset"])
@pytest.mark.parametrize("framing", ["", "&chunked=1"], ids=["length", "chunked"])
def test_a_body_that_is_cut_is_never_complete(behind, network, framing, by_reset):
    with RawClient(behind.port) as client:
        client.send(f"GET /sized?size={64 * MIB}{framing} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert client.sock.recv(12) == b"HTTP/1.1 200"
        network.cut(by_reset=by_reset)
        data = client.rest()
    assert len(data) < 64 * MIB
    assert not data.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("by_reset", [False, True], ids=["end", "reset"])
def test_a_cut_before_the_answer_is_502_at_once(behind, network, by_reset):
    cutting = threading.Timer(0.2, lambda: network.cut(by_reset=by_reset))
    cutting.start()
    begun = time.monotonic()
    response = request(behind.port, "/slow?s=5", "POST", body=b"x")
    cutting.join()
    assert (response.status, response.error) == (502, "BAD_GATEWAY")
    assert time.monotonic() - begun < 0.5


@pytest.mark.parametrize("by_reset", [False, True], ids=["end", "reset"])
def test_connections_that_were_cut_while_idle_cost_no_post(behind, network, by_reset):
    threads = [threading.Thread(target=request, args=(behind.port, "/slow?s=0.1")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert network.connections >= 8  # so many are idle now
    network.cut(by_reset=by_reset)
    time.sleep(0.05)
    assert [request(behind.port, "/x", "POST", body=b"x").status for _ in range(8)] == [200] * 8


def test_a_frozen_network_is_504_in_time_and_heals(behind, network):
    assert request(behind.port, "/x").status == 200
    network.freeze()
    for method in ("GET", "POST"):
        begun = time.monotonic()
        response = request(behind.port, "/x", method, body=b"x" if method == "POST" else None)
        assert (response.status, response.error) == (504, "GATEWAY_TIMEOUT")
        assert TIMEOUT_S - 0.1 < time.monotonic() - begun < TIMEOUT_S + 0.6
    network.thaw()
    for number in range(10):  # the answers that were held back reach nobody
        assert request(behind.port, f"/after{number}").json["raw_path"] == f"/after{number}"


def test_a_body_that_freezes_is_broken_off_in_time(behind, network):
    network.piece_bytes, network.pause_s = 1024, 0.01
    with RawClient(behind.port) as client:
        client.send(b"GET /sized?size=1000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.sock.recv(12) == b"HTTP/1.1 200"
        network.freeze()
        begun = time.monotonic()
        assert len(client.rest()) < 1_000_000
    assert time.monotonic() - begun < TIMEOUT_S + 0.6


def test_an_upload_that_freezes_is_504_in_time(behind, network):
    size = 64 * MIB
    network.freeze()
    with RawClient(behind.port) as client:
        client.send(b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        sending = threading.Thread(target=_send_what_is_taken, args=(client, size), daemon=True)
        sending.start()
        begun = time.monotonic()
        assert client.sock.recv(12) == b"HTTP/1.1 504"
        assert time.monotonic() - begun < TIMEOUT_S + 1.5
    sending.join(5)


def _send_what_is_taken(client, size):
    with contextlib.suppress(OSError):  # the gateway has closed, or the test has
        client.send(bytes(size))


@pytest.mark.parametrize("framing", ["", "&chunked=1"], ids=["length", "chunked"])
@pytest.mark.parametrize("piece_bytes", [1, 7, 1000])
def test_pieces_of_any_size_make_a_whole(behind, network, piece_bytes, framing):
    size = 300 * piece_bytes
    network.piece_bytes, network.pause_s = piece_bytes, 0.0005
    response = request(behind.port, f"/sized?size={size}{framing}")
    assert (response.body, response.is_complete) == (b"x" * size, True)


def test_an_upload_in_pieces_arrives_whole(behind, network):
    body = bytes(range(256)) * 20
    network.piece_bytes, network.pause_s = 11, 0.0005
    assert request(behind.port, "/up", "POST", body=body).json["sha256"] == hashlib.sha256(body).hexdigest()


def test_a_frozen_network_holds_no_departed_client(behind, network, seen):
    """Whoever leaves meanwhile is not asked for when it thaws: the backend's side is closed."""
    client = RawClient(behind.port)
    client.send(b"GET /slow?s=5 HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: [e for e in seen()["seen"] if e["raw_path"] == "/slow"], 2, "the request's arrival")
    network.freeze()
    client.close()
    time.sleep(0.2)
    before = len([e for e in seen()["events"] if e["what"] == "left"])
    network.thaw()
    until(lambda: len([e for e in seen()["events"] if e["what"] == "left"]) > before, 2, "the backend's noticing")
