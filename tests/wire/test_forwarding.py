"""What the client sent is what the backend gets, and the other way round."""

from __future__ import annotations

import hashlib
import os

import pytest

from tests.support.raw_client import RawClient, request
from tests.support.scripted_backend import OK


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "M-SEARCH"])
def test_every_method_reaches_the_backend(gateway, seen, method):
    response = request(gateway.port, "/any/thing", method, body=b"abc" if method in {"POST", "PUT", "PATCH"} else None)
    assert response.status == 200
    assert [entry["method"] for entry in seen()["seen"]] == [method]


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/a%2Fb%20c",
        "/a;b=c/d",
        "//double//slash",
        "/x/./y/../z",
        "/caf%C3%A9/%E4%B8%AD",
        "/p?a=b&&c&=d",
        "/p?a=%20+%2B&u=http://x/?y",
        "/p?" + "q" * 6000,
        "/%67ate/way",
        "/gatewayx",
    ],
    ids=lambda target: target[:24],
)
def test_path_and_query_arrive_byte_for_byte(gateway, seen, target):
    assert request(gateway.port, target).status == 200
    path, _, query = target.partition("?")
    entry = seen()["seen"][0]
    assert (entry["raw_path"], entry["query"]) == (path, query)


@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 1_000_000])
def test_a_body_with_a_length_arrives_whole(gateway, seen, size):
    body = os.urandom(size)
    assert request(gateway.port, "/up", "POST", body=body).status == 200
    entry = seen()["seen"][0]
    assert (entry["size"], entry["sha256"]) == (size, hashlib.sha256(body).hexdigest())
    assert ["content-length", str(size)] in entry["headers"]


def test_a_chunked_body_arrives_whole_without_its_trailers(gateway, seen):
    pieces = [os.urandom(n) for n in (1, 70000, 3)]
    with RawClient(gateway.port) as client:
        client.send(b"POST /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            client.send(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece))
        client.send(b"0\r\nX-Trailer: 1\r\n\r\n")
        assert client.response("POST").status == 200
    entry = seen()["seen"][0]
    assert entry["sha256"] == hashlib.sha256(b"".join(pieces)).hexdigest()
    assert not [name for name, _ in entry["headers"] if name == "x-trailer"]


@pytest.mark.parametrize("status", [200, 201, 299, 301, 404, 418, 451, 500, 503, 599])
def test_the_status_is_the_backends(gateway, status):
    response = request(gateway.port, f"/x?status={status}")
    assert response.status == status
    assert response.json["method"] == "GET"


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body_have_none(gateway, status):
    with RawClient(gateway.port) as client:
        client.send(b"GET /bare?status=%d HTTP/1.1\r\nHost: x\r\n\r\n" % status)
        response = client.response()
        assert (response.status, response.body, response.header("etag")) == (status, b"", '"x"')
        client.send(b"GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")  # the connection is in step
        assert client.response().json["raw_path"] == "/next"


def test_head_has_the_length_and_no_body(gateway):
    with RawClient(gateway.port) as client:
        client.send(b"HEAD /sized?size=1234 HTTP/1.1\r\nHost: x\r\n\r\n")
        response = client.response("HEAD")
        assert (response.status, response.header("content-length"), response.body) == (200, "1234", b"")
        client.send(b"GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.response().json["raw_path"] == "/next"


@pytest.mark.parametrize("query", ["size=10", "size=300000", "size=10&chunked=1", "size=300000&chunked=1", "size=0"])
def test_bodies_of_all_framings_arrive_whole(gateway, query):
    response = request(gateway.port, f"/sized?{query}")
    assert response.is_complete
    assert len(response.body) == int(query.split("&")[0][5:])


def test_repeated_fields_stay_apart_and_bytes_stay_bytes(gateway):
    response = request(gateway.port, "/cookies")
    assert response.all("set-cookie") == ["a=1", "b=2"]
    assert response.header("x-bytes") == "caf\xe9"
    assert response.header("server") == "mine"


def test_http_1_0_clients_are_served(gateway):
    with RawClient(gateway.port) as client:
        client.send(b"GET /old HTTP/1.0\r\n\r\n")
        data = client.rest()
    assert data.startswith((b"HTTP/1.0 200", b"HTTP/1.1 200"))
    assert b'"raw_path": "/old"' in data


def test_pipelined_requests_are_answered_in_order(gateway):
    with RawClient(gateway.port) as client:
        close = b"Connection: close\r\n"
        client.send(b"".join(b"GET /n%d HTTP/1.1\r\nHost: x\r\n%b\r\n" % (n, close * (n == 2)) for n in range(3)))
        data = client.rest()
    assert [data.find(b'"/n%d"' % n) > 0 for n in range(3)] == [True] * 3
    assert data.find(b'"/n0"') < data.find(b'"/n1"') < data.find(b'"/n2"')


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_tunnels_and_traces_are_refused(gateway, seen, method):
    response = request(gateway.port, "gateway.test:80" if method == "CONNECT" else "/", method)
    assert response.status == 405
    assert seen()["seen"] == []


def request_line(to_scripted, scripted, line):
    """Send this request line; the one that reaches the backend."""
    scripted.answering(OK)
    with RawClient(to_scripted.port) as client:
        client.send(line + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        response = client.response()
    return response, [head.partition(b"\r\n")[0] for head in scripted.heads]


@pytest.mark.parametrize(
    "target",
    [
        b"/a%2fb%2F%2e%2E/%00",
        b"/a/%2e%2e/../b/.",
        b"/!$&'()*+,;=:@-._~",
        b"/p?a=b?c=/d//e&&;f=%zz",
        b"/p?a[]=1&b={x}&c=|",
        b"/p?%E4%B8%AD=%ff",
        b"/a%0d%0aX:%20y",
        b"//evil.example/x",
    ],
)
def test_the_request_line_is_the_clients_own(to_scripted, scripted, target):
    response, lines = request_line(to_scripted, scripted, b"GET " + target)
    assert response.status == 200
    assert lines == [b"GET " + target + b" HTTP/1.1"]


@pytest.mark.parametrize("target", [b"/caf\xc3\xa9", b"/caf\xe9", b"/p?q=\xe4"], ids=["utf8", "latin1", "query"])
def test_bytes_that_no_uri_has_are_refused_or_unchanged(to_scripted, scripted, target):
    response, lines = request_line(to_scripted, scripted, b"GET " + target)
    assert response.status in {200, 400}
    assert lines == ([b"GET " + target + b" HTTP/1.1"] if response.status == 200 else [])


def absolute(gateway, seen):
    """What the backend sees of a request whose target is a whole URI, and whose Host says something else."""
    with RawClient(gateway.port) as client:
        client.send(b"GET http://real.example/a%2Fb?c=d HTTP/1.1\r\nHost: other.example\r\n\r\n")
        assert client.response().status == 200
    return seen()["seen"][0]


def test_an_absolute_target_arrives_as_path_and_query(gateway, seen):
    """RFC 9112 3.2.2: a server must accept the absolute form."""
    entry = absolute(gateway, seen)
    assert (entry["raw_path"], entry["query"]) == ("/a%2Fb", "c=d")


@pytest.mark.xfail(strict=True, reason="granian's scope does not tell the authority of an absolute target")
def test_an_absolute_targets_host_goes_before_the_host_field(gateway, seen):
    """RFC 9112 3.2.2: what Host says is ignored then."""
    assert ["x-forwarded-host", "real.example"] in absolute(gateway, seen)["headers"]


def test_an_options_request_for_the_whole_server_is_not_one_for_a_path(to_scripted, scripted):
    """RFC 9110 9.3.7: `*` is no path; it is passed on as it is, or refused."""
    response, lines = request_line(to_scripted, scripted, b"OPTIONS *")
    assert response.status in {200, 400}
    assert lines == ([b"OPTIONS * HTTP/1.1"] if response.status == 200 else [])


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_a_request_without_a_body_gains_no_framing(gateway, seen, method):
    assert request(gateway.port, "/x", method).status == 200
    assert not {"content-length", "transfer-encoding"} & {name for name, _ in seen()["seen"][0]["headers"]}


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "PATCH"])
def test_a_body_is_not_a_matter_of_the_method(gateway, seen, method):
    assert request(gateway.port, "/x", method, body=b"abc").status == 200
    assert seen()["seen"][0]["size"] == 3


def test_a_bodyless_post_is_framed_as_empty(gateway, seen):
    assert request(gateway.port, "/x", "POST").status == 200
    assert ["content-length", "0"] in seen()["seen"][0]["headers"]


def test_request_fields_arrive_as_they_were_sent(gateway, seen):
    sent = [["x-bytes", "caf\xe9"], ["x-empty", ""], ["x-two", "b"], ["x-two", "a"], ["x-long", "l" * 8000]]
    sent += [["x-inner", "a  b\tc"], ["cookie", "a=1; b=2"], ["accept-encoding", "br"], ["user-agent", "me/1"]]
    with RawClient(gateway.port) as client:
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent)
        client.send(f"GET /x HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode("latin-1"))
        assert client.response().status == 200
    names = {name for name, _ in sent}
    assert [field for field in seen()["seen"][0]["headers"] if field[0] in names] == sent


BODYLESS = {
    "304_with_length": ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 10\r\n\r\n"),
    "204_with_length": ("GET", b"HTTP/1.1 204 No Content\r\nETag: x\r\nContent-Length: 0\r\n\r\n"),
    "head_with_length": ("HEAD", b"HTTP/1.1 200 OK\r\nETag: x\r\nContent-Length: 10\r\n\r\n"),
    "head_chunked": ("HEAD", b"HTTP/1.1 200 OK\r\nETag: x\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "head_404": ("HEAD", b"HTTP/1.1 404 Not Found\r\nETag: x\r\nContent-Length: 10\r\n\r\n"),
}


@pytest.mark.parametrize("name", BODYLESS)
def test_a_head_that_speaks_of_a_body_that_never_comes_leaves_both_sides_in_step(to_scripted, scripted, name):
    method, head = BODYLESS[name]

    def handle(connection):
        while connection.head():
            connection.send(head)

    scripted.use(handle)
    with RawClient(to_scripted.port) as client:
        for _ in range(3):
            client.send(f"{method} /x HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            response = client.response(method)
            assert (response.status, response.header("etag"), response.body) == (int(head[9:12]), "x", b"")
    assert scripted.connections == 1
