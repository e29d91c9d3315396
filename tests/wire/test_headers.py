"""What is added, kept, replaced and dropped in either direction."""

from __future__ import annotations

import re

import pytest

from tests.support.raw_client import RawClient, request
from tests.support.scripted_backend import OK

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture
def fields(gateway, seen):
    """Send a request with these fields; the fields that reached the backend, as a dict of lists, and the response."""

    def send(**headers):
        response = request(gateway.port, "/x", **headers)
        found = {}
        for name, value in seen()["seen"][-1]["headers"]:
            found.setdefault(name, []).append(value)
        return found, response

    return send


@pytest.fixture
def untrusting(gateways, backend):
    """A gateway that trusts no proxy on this machine."""
    return gateways(backend.url, TRUSTED_PROXIES="10.0.0.0/8")


@pytest.mark.parametrize("given", ["client-id_1.2", "a", "Z" * 128], ids=["plain", "shortest", "longest"])
def test_a_sane_request_id_is_kept_both_ways(fields, given):
    found, response = fields(X_Request_ID=given)
    assert found["x-request-id"] == [given]
    assert response.all("x-request-id") == [given]


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, 'a"b', "<script>", "caf\xe9"])
def test_any_other_request_id_is_replaced_by_a_uuid4(fields, given):
    found, response = fields(X_Request_ID=given)
    assert UUID4.fullmatch(response.header("x-request-id"))
    assert found["x-request-id"] == [response.header("x-request-id")]


def test_request_ids_differ(gateway):
    ids = {request(gateway.port, "/x").header("x-request-id") for _ in range(50)}
    assert len(ids) == 50
    assert all(UUID4.fullmatch(one) for one in ids)


def test_host_is_the_backends_and_the_clients_is_told(fields, backend):
    found, _ = fields(Host="api.example.com")
    assert found["host"] == [f"127.0.0.1:{backend.port}"]
    assert found["x-forwarded-host"] == ["api.example.com"]
    assert found["x-forwarded-proto"] == ["http"]
    assert found["x-forwarded-for"] == ["127.0.0.1"]


def test_a_trusted_peers_words_are_kept_and_added_to(fields):
    found, _ = fields(
        X_Forwarded_For="203.0.113.7, 10.0.0.1",
        X_Forwarded_Proto="https",
        X_Forwarded_Host="a.b",
        X_Real_IP="203.0.113.7",
    )
    assert found["x-forwarded-for"] == ["203.0.113.7, 10.0.0.1, 127.0.0.1"]
    assert found["x-forwarded-proto"] == ["https"]
    assert found["x-forwarded-host"] == ["a.b"]
    assert found["x-real-ip"] == ["203.0.113.7"]


def test_an_untrusted_peers_words_are_replaced(untrusting, seen):
    request(
        untrusting.port,
        "/x",
        X_Forwarded_For="203.0.113.7",
        X_Forwarded_Proto="https",
        X_Forwarded_Host="evil",
        X_Real_IP="1.2.3.4",
        Forwarded="for=1.2.3.4",
    )
    headers = dict(seen()["seen"][-1]["headers"])
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-forwarded-host"] == "gateway.test"
    assert "x-real-ip" not in headers
    assert "forwarded" not in headers


def test_via_is_appended_both_ways(fields):
    found, response = fields(Via="1.0 edge")
    assert found["via"] == ["1.0 edge, 1.1 fastgw"]
    assert response.header("via") == "1.1 fastgw"


def test_hop_by_hop_fields_end_here(gateway, seen):
    with RawClient(gateway.port) as client:
        client.send(
            b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, X-Hop, Host, Authorization\r\nX-Hop: 1\r\n"
            b"Keep-Alive: timeout=9\r\nTE: trailers\r\nTrailer: X\r\nUpgrade: h2c\r\n"
            b"Proxy-Authorization: Basic eDp5\r\n"
            b"Proxy-Connection: close\r\nAuthorization: Bearer t\r\nX-Stays: yes\r\n\r\n"
        )
        assert client.response().status == 200
    headers = dict(seen()["seen"][-1]["headers"])
    gone = {"connection", "x-hop", "keep-alive", "te", "trailer", "upgrade", "proxy-authorization", "proxy-connection"}
    assert not gone & set(headers)
    assert headers["authorization"] == "Bearer t"  # naming it in Connection does not take it away
    assert headers["x-stays"] == "yes"


def test_the_backends_hop_by_hop_fields_end_here(gateway):
    response = request(gateway.port, "/cookies")
    assert response.header("x-secret") is None  # named in its Connection
    assert response.header("keep-alive") is None


def test_trace_context_is_untouched(fields):
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    found, _ = fields(traceparent=parent, tracestate="a=1,b=2")
    assert (found["traceparent"], found["tracestate"]) == ([parent], ["a=1,b=2"])


def test_every_answer_tells_version_duration_and_the_gateways_share(gateway):
    for target in ("/x", "/gateway/health/live", "/gateway/none"):
        response = request(gateway.port, target)
        assert re.fullmatch(r"\d+\.\d+\.\d+.*", response.header("x-gateway-version"))
        assert re.fullmatch(r"\d+\.\d\dms", response.header("x-gateway-duration"))
        assert re.fullmatch(r"gateway;dur=\d+\.\d\d, backend;dur=\d+\.\d\d", response.header("server-timing"))


def test_the_gateways_share_is_not_the_backends_time(gateway):
    timing = request(gateway.port, "/slow?s=0.3").header("server-timing")
    own, backend = (float(part.split("=")[1]) for part in timing.split(", "))
    assert backend >= 290
    assert own < 100


def test_two_request_ids_become_one(gateway, seen):
    with RawClient(gateway.port) as client:
        client.send(b"GET /x HTTP/1.1\r\nHost: x\r\nX-Request-ID: one\r\nX-Request-ID: two\r\n\r\n")
        response = client.response()
    reached = [value for name, value in seen()["seen"][0]["headers"] if name == "x-request-id"]
    assert len(reached) == 1
    assert response.all("x-request-id") == reached


def answer(to_scripted, scripted, *lines, body=b"ok"):
    """What the client gets when the backend answers with these fields."""
    scripted.answering(b"HTTP/1.1 200 OK\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body)
    return request(to_scripted.port, "/regions")


def test_what_the_gateway_states_is_stated_once(to_scripted, scripted):
    lines = [b"X-Request-ID: theirs", b"X-Gateway-Version: 9", b"X-Gateway-Duration: 9ms", b"Content-Length: 2"]
    response = answer(to_scripted, scripted, *lines)
    for name in ("x-request-id", "x-gateway-version", "x-gateway-duration", "date", "server"):
        assert len(response.all(name)) == 1, name
    assert UUID4.fullmatch(response.header("x-request-id"))
    assert response.header("x-gateway-version") != "9"


def test_the_backends_via_and_timing_are_kept_before_ours(to_scripted, scripted):
    response = answer(to_scripted, scripted, b"Via: 1.0 inner", b"Server-Timing: db;dur=3", b"Content-Length: 2")
    assert ", ".join(response.all("via")) == "1.0 inner, 1.1 fastgw"
    timing = ", ".join(response.all("server-timing"))
    assert "db;dur=3" in timing
    assert "gateway;dur=" in timing


def test_no_hop_by_hop_field_of_the_backend_passes(to_scripted, scripted):
    response = answer(
        to_scripted,
        scripted,
        b"Connection: X-A ,x-b",
        b"Connection: close, X-C",
        b"X-A: 1",
        b"X-B: 1",
        b"X-C: 1",
        b"Keep-Alive: timeout=1",
        b"Proxy-Connection: close",
        b"Proxy-Authenticate: Basic",
        b"TE: trailers",
        b"Trailer: X-T",
        b"Upgrade: h2c",
        b"X-Stays: 1",
        b"Content-Length: 2",
    )
    gone = ["x-a", "x-b", "x-c", "keep-alive", "proxy-connection", "proxy-authenticate", "te", "trailer", "upgrade"]
    assert [name for name in gone if response.all(name)] == []
    assert (response.header("x-stays"), response.body) == ("1", b"ok")


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 2", b"ok"),
        (b"Transfer-Encoding: chunked", b"2\r\nok\r\n0\r\n\r\n"),
        (b"X: until-close", b"ok"),
    ],
    ids=["length", "chunked", "until_close"],
)
def test_a_response_is_framed_once(to_scripted, scripted, framing, body):
    response = answer(to_scripted, scripted, framing, b"Connection: Content-Length, Transfer-Encoding", body=body)
    assert (response.body, response.is_complete) == (b"ok", True)
    assert len(response.all("content-length") + response.all("transfer-encoding")) == 1


@pytest.mark.parametrize("framing", ["Content-Length: 2", "Transfer-Encoding: chunked"])
def test_a_request_is_framed_once(to_scripted, scripted, framing):
    scripted.answering(OK)
    body = "ok" if "Length" in framing else "2\r\nok\r\n0\r\n\r\n"
    with RawClient(to_scripted.port) as client:
        client.send(f"POST /x HTTP/1.1\r\nHost: x\r\nConnection: Content-Length\r\n{framing}\r\n\r\n{body}".encode())
        assert client.response("POST").status == 200
    head = scripted.heads[0].partition(b"\r\n\r\n")[0].lower()
    assert head.count(b"content-length:") + head.count(b"transfer-encoding:") == 1


def test_names_of_one_connection_end_here_however_they_are_listed(gateway, seen):
    with RawClient(gateway.port) as client:
        client.send(
            b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: X-One ,x-two\r\nconnection: X-THREE\r\n"
            b"x-one: 1\r\nX-Two: 2\r\nX-Three: 3\r\nX-Four: 4\r\n\r\n"
        )
        assert client.response().status == 200
    headers = dict(seen()["seen"][0]["headers"])
    assert not {"x-one", "x-two", "x-three"} & set(headers)
    assert headers["x-four"] == "4"
