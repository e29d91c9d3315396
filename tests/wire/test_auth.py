"""Who may pass: credentials of all kinds, on a real gateway with a real Redis; nothing secret is left anywhere.

The gateways are shared, so each test comes from an address of its own: X-Forwarded-For is believed of 127.0.0.1.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.ports import RefusingPort
from tests.support.processes import Gateway
from tests.support.raw_client import RawClient, Response, request
from tests.support.wait import until

SALT = "distributed-gpu-inference-v1"
KEY, OTHER_KEY, TOKEN = "secret-key-1", "secret-key-2", "secret-token-1"
MAX_FAILURES = 20
NUMBERS = itertools.count(1)


def token_hash(token: str) -> str:
    return hashlib.sha256((token + SALT).encode()).hexdigest()


def new_address() -> str:
    number = next(NUMBERS)
    return f"198.51.{number >> 8}.{number & 255}"


@pytest.fixture
def address() -> str:
    return new_address()


class Verifier:
    """The platform's POST /api/v1/workers/{id}/verify: 200 for all, `valid` tells."""

    def __init__(self) -> None:
        self.tokens: dict[tuple[str, str], bool] = {}
        self.asked: Counter[tuple[str, str]] = Counter()
        self.status = 200
        self.body: bytes | None = None
        self.location = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["content-length"])))
                token = self.headers["x-worker-token"]
                assert content == {"token": token}
                question = (token, self.path.removeprefix("/api/v1/workers/").removesuffix("/verify"))
                outer.asked[question] += 1
                body = outer.body or json.dumps({"valid": outer.tokens.get(question, False)}).encode()
                self.send_response(outer.status)
                if outer.location:
                    self.send_header("location", outer.location)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{self.origin}/api/v1/workers/{{worker_id}}/verify"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def verifier_server():
    server = Verifier()
    yield server
    server.close()


@pytest.fixture
def verifier(verifier_server):
    verifier_server.status, verifier_server.body, verifier_server.location = 200, None, ""
    return verifier_server


@pytest.fixture
def guarded(gateways, backend, valkey) -> Gateway:
    """A gateway with two keys and one hash, that logs all it can."""
    request(backend.port, "/_reset")
    return gateways(
        backend.url,
        REDIS_URL=valkey.url,
        AUTH_ENABLED="true",
        AUTH_API_KEYS=f"ops:{KEY},{OTHER_KEY}",
        AUTH_TOKEN_HASHES=token_hash(TOKEN),
        LOG_LEVEL="debug",
    )


@pytest.fixture
def verifying(gateways, backend, valkey, verifier):
    """Make gateways that ask the verifier; number: several of the same kind."""
    return lambda number=1, **more: gateways(
        backend.url,
        REDIS_URL=valkey.url,
        AUTH_ENABLED="true",
        AUTH_API_KEYS=f"ops:{KEY}",
        AUTH_VERIFY_URL=verifier.url,
        LOG_LEVEL="debug",
        OTEL_SERVICE_NAME=f"gateway-{number}",
        **more,
    )


def get(gateway: Gateway, address: str, target: str = "/api/v1/jobs", method: str = "GET", **fields: str) -> Response:
    return request(gateway.port, target, method, X_Forwarded_For=address, **fields)


def everything_in(valkey) -> bytes:
    """All names and values."""
    client = valkey.admin
    found = []
    for key in client.scan_iter():
        kind = client.type(key)
        found.append(key)
        if kind == b"string":
            found.append(client.get(key))
        elif kind == b"set":
            found += client.smembers(key)
        elif kind == b"zset":
            found += client.zrange(key, 0, -1)
        else:
            raise AssertionError(f"{key!r} is a {kind!r}")
    return b"\n".join(found)


def session(valkey, digest: str) -> dict[str, object]:
    return json.loads(valkey.admin.get(f"gateway:session:{digest}") or "{}")


# -- good credentials


@pytest.mark.parametrize(
    "fields",
    [
        {"X_API_Key": KEY},
        {"X_API_Key": OTHER_KEY},
        {"X_Worker_Token": TOKEN},
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"bEARER  {TOKEN}"},
        {"x_api_key": KEY, "X_WORKER_TOKEN": TOKEN, "authorization": f"Bearer {TOKEN}"},
        {"X_API_Key": KEY, "Authorization": "Basic dXNlcjpwdw=="},
    ],
    ids="+".join,
)
def test_a_good_credential_passes_and_reaches_the_backend_unchanged(guarded, seen, address, fields):
    for _ in range(2):
        assert get(guarded, address, **fields).status == 200
    for one in seen()["seen"]:
        sent = dict(one["headers"])
        for name, value in fields.items():
            assert sent[name.lower().replace("_", "-")] == value


def test_a_body_is_passed_on_with_a_credential(guarded, seen, address):
    assert request(guarded.port, "/api/v1/jobs", "POST", b"{}", X_API_Key=KEY, X_Forwarded_For=address).status == 200
    assert seen()["seen"][0]["size"] == 2


def test_a_session_tells_who_and_how_often_and_nothing_secret(guarded, valkey, address):
    for _ in range(5):
        assert get(guarded, address, X_Worker_Token=TOKEN).status == 200
        assert get(guarded, address, X_API_Key=KEY).status == 200
    of_token = token_hash(TOKEN)
    of_key = hashlib.sha256(KEY.encode()).hexdigest()
    # what tests before this one have not seen written comes on top
    until(lambda: session(valkey, of_token).get("requests", 0) >= 5, 8, "the token's session")
    until(lambda: session(valkey, of_key).get("requests", 0) >= 5, 8, "the key's session")
    content = session(valkey, of_token)
    assert content.keys() == {"type", "identity", "first_seen", "last_seen", "requests"}
    assert (content["type"], content["identity"]) == ("token", f"token:{of_token[:12]}")
    assert session(valkey, of_key)["identity"] == "key:ops"
    assert time.time() - 30 < content["first_seen"] <= content["last_seen"] < time.time() + 5
    assert 3_590 < valkey.admin.ttl(f"gateway:session:{of_token}") <= 3_600
    assert not [secret for secret in (KEY, TOKEN, SALT) if secret.encode() in everything_in(valkey)]
    assert not [secret for secret in (KEY, TOKEN, SALT) if secret in guarded.log]


# -- none, and bad ones


def test_without_a_credential_the_answer_is_401_and_says_what_is_wanted(guarded, seen, address):
    response = get(guarded, address)
    assert response.status == 401
    assert response.error == "UNAUTHORIZED"
    assert response.header("www-authenticate") == 'Bearer realm="fastgw"'
    content = response.json["error"]
    assert content["requestId"] == response.header("x-request-id")
    assert "X-API-Key, X-Worker-Token or Authorization: Bearer" in content["message"]
    assert response.header("cache-control") == "no-store"
    assert seen()["seen"] == []


def test_own_pages_and_preflights_need_none(guarded, address):
    assert get(guarded, address, "/gateway/health").status == 200
    asked = {"Origin": "https://app.test", "Access_Control_Request_Method": "PUT"}
    assert get(guarded, address, method="OPTIONS", **asked).status in {200, 204}  # the backend's, or ours: test_cors
    assert get(guarded, address, method="OPTIONS").status == 401


BAD = {
    "wrong": "wr0ng-secret",
    "empty": "",
    "oversized": "0versized" * 600,
    "utf-8": "schl\u00c3\u00bcssel-secret",  # as latin-1, the bytes of UTF-8
    "latin-1": "caf\xe9-secret",
    "two words": "two w0rds",
    "two in one": f"{KEY}, {KEY}",
    "a part": KEY[:-1],
    "more": KEY + "1",
}


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
@pytest.mark.parametrize("name", ["X_API_Key", "X_Worker_Token", "Authorization"])
def test_a_bad_credential_is_401_and_leaves_no_trace(guarded, valkey, seen, address, name, value):
    log = len(guarded.log)
    fields = {name: f"Bearer {value}" if name == "Authorization" else value}
    for more in ({}, {"X_API_Key": KEY} if name != "X_API_Key" else {"X_Worker_Token": TOKEN}):
        response = get(guarded, address, **fields, **more)
        assert (response.status, response.error) == (401, "UNAUTHORIZED")
        assert response.header("www-authenticate").startswith('Bearer realm="fastgw"')
        assert not value or value.encode("latin-1") not in response.body
    assert seen()["seen"] == []
    assert not value or value not in guarded.log[log:]
    left = everything_in(valkey)
    assert not value or value.encode("latin-1") not in left
    for digest in (hashlib.sha256(value.encode("latin-1")).hexdigest(), token_hash(value)):
        assert digest.encode() not in left


@pytest.mark.parametrize("name", ["X-API-Key", "X-Worker-Token", "Authorization"])
@pytest.mark.parametrize("right_first", [True, False])
def test_a_repeated_field_is_401(guarded, address, name, right_first):
    right = {"X-API-Key": KEY, "X-Worker-Token": TOKEN, "Authorization": f"Bearer {TOKEN}"}[name]
    values = [right, "Bearer other" if name == "Authorization" else "other"]
    for pair in (values if right_first else values[::-1], [right, right]):
        fields = "".join(f"{name}: {value}\r\n" for value in pair)
        with RawClient(guarded.port) as client:
            client.send(f"GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {address}\r\n{fields}\r\n".encode())
            assert client.response().status == 401


@pytest.mark.parametrize("value", ["Basic dXNlcjpwdw==", "Digest username=x", "Negotiate", "Bearer", "Bearer "])
def test_an_authorization_that_is_no_bearer_opens_nothing(guarded, address, value):
    assert get(guarded, address, Authorization=value).status == 401


def test_keys_and_tokens_do_not_stand_for_each_other(guarded, address):
    assert get(guarded, address, X_API_Key=TOKEN).status == 401
    assert get(guarded, address, X_Worker_Token=KEY).status == 401
    assert get(guarded, address, Authorization=f"Bearer {KEY}").status == 401
    assert get(guarded, address, X_Worker_Token=token_hash(TOKEN)).status == 401


def test_a_refused_body_is_not_read_as_the_next_request(guarded, address):
    smuggled = b"GET /_seen HTTP/1.1\r\nHost: a\r\n\r\n"
    head = f"POST /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {address}\r\nContent-Length: {len(smuggled)}\r\n\r\n"
    with RawClient(guarded.port) as client:
        client.send(head.encode() + smuggled)
        response = client.response()
        assert response.status == 401
        assert client.rest() == b""


def handshake(gateway: Gateway, address: str, *fields: str) -> int:
    lines = [
        "GET /ws/about HTTP/1.1",
        "Host: a",
        f"X-Forwarded-For: {address}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *fields,
    ]
    with RawClient(gateway.port) as client:
        client.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        return int(client.sock.recv(4096).split(b" ")[1])


def test_a_websocket_is_let_in_by_the_same_rules(guarded, address):
    assert handshake(guarded, address) == 401
    assert handshake(guarded, address, "X-API-Key: wr0ng") == 401
    assert handshake(guarded, address, f"X-API-Key: {KEY}") == 101
    assert handshake(guarded, address, f"Authorization: Bearer {TOKEN}") == 101


def test_nothing_is_asked_when_authentication_is_off(gateways, backend, address):
    gateway = gateways(backend.url, AUTH_API_KEYS=f"ops:{KEY}")  # the tests' default is AUTH_ENABLED=false
    assert get(gateway, address).status == 200
    assert get(gateway, address, X_API_Key="wr0ng").status == 200


def test_a_credential_source_alone_turns_it_on(gateways, backend, address):
    gateway = gateways(backend.url, AUTH_ENABLED="", AUTH_API_KEYS=f"ops:{KEY}")
    assert get(gateway, address).status == 401
    assert get(gateway, address, X_API_Key=KEY).status == 200


def test_another_format_of_the_hash(gateways, backend, address):
    digest = hashlib.sha256(b"pepper:t0ken").hexdigest()
    gateway = gateways(
        backend.url,
        AUTH_ENABLED="true",
        AUTH_TOKEN_HASHES=digest.upper(),
        AUTH_TOKEN_SALT="pepper",
        AUTH_TOKEN_FORMAT="{salt}:{token}",
    )
    assert get(gateway, address, X_Worker_Token="t0ken").status == 200
    assert get(gateway, address, X_Worker_Token="t0ken2").status == 401


# -- the file of hashes


def test_the_file_of_hashes_is_read_again_when_it_changes(gateways, backend, valkey, address, tmp_path_factory):
    path = tmp_path_factory.mktemp("hashes") / "accepted"
    path.write_text(f"# first\n{token_hash('file-token-1')}\n")
    gateway = gateways(backend.url, REDIS_URL=valkey.url, AUTH_ENABLED="true", AUTH_TOKEN_HASHES_FILE=path)

    def status(token: str) -> int:
        """From a new address each time: these are no guesses."""
        return get(gateway, new_address(), X_Worker_Token=token).status

    assert status("file-token-1") == 200
    assert status("file-token-2") == 401
    new = path.with_suffix(".new")
    new.write_text(f"{token_hash('file-token-2')}\nfile-token-3 # no hash\n")
    new.replace(path)
    until(lambda: status("file-token-2") == 200, 6, "the new hash")
    assert status("file-token-1") == 401, "in Redis there still is a session, which is no credential"
    assert "line 2 " in gateway.log
    assert "file-token" not in gateway.log
    path.unlink()
    until(lambda: "stay in force" in gateway.log, 6, "the warning")
    assert status("file-token-2") == 200


# -- AUTH_VERIFY_URL


def test_a_second_verification_is_saved_on_every_gateway(verifying, verifier, valkey, address, seen, backend):
    request(backend.port, "/_reset")
    verifier.tokens["v-token-1", "w-1"] = True
    first, second = verifying(1), verifying(2)
    for _ in range(3):
        assert get(first, address, "/api/v1/workers/w-1/heartbeat", X_Worker_Token="v-token-1").status == 200
    for target in ("/api/v1/workers/w-1/next-job", "/api/v1/jobs"):
        assert get(second, address, target, X_Worker_Token="v-token-1").status == 200
    assert verifier.asked["v-token-1", "w-1"] == 1
    content = session(valkey, token_hash("v-token-1"))
    assert (content["type"], content["identity"], content["workers"]) == ("verified", "worker:w-1", ["w-1"])
    assert 3_590 < valkey.admin.ttl(f"gateway:session:{token_hash('v-token-1')}") <= 3_600
    assert b"v-token-1" not in everything_in(valkey)
    assert "v-token-1" not in first.log + second.log
    assert all(dict(one["headers"])["x-worker-token"] == "v-token-1" for one in seen()["seen"])


def test_status_200_alone_is_no_yes(verifying, verifier, valkey, address):
    gateway = verifying()
    for _ in range(5):
        response = get(gateway, address, "/api/v1/workers/w-1/heartbeat", X_Worker_Token="v-token-2")
        assert (response.status, response.error) == (401, "UNAUTHORIZED")
    assert verifier.asked["v-token-2", "w-1"] == 1, "a no is remembered for a moment"
    assert token_hash("v-token-2").encode() not in everything_in(valkey)


def test_without_a_worker_in_the_path_nobody_is_asked(verifying, verifier, address):
    gateway = verifying()
    assert get(gateway, address, "/api/v1/jobs", X_Worker_Token="v-token-3").status == 401
    assert get(gateway, address, "/api/v1/workers/../jobs", X_Worker_Token="v-token-3").status == 401
    assert not [question for question in verifier.asked if question[0] == "v-token-3"]


def test_a_token_of_another_worker_is_403(verifying, verifier, address, seen, backend):
    request(backend.port, "/_reset")
    verifier.tokens["v-token-4", "w-1"] = True
    gateway = verifying()
    assert get(gateway, address, "/api/v1/workers/w-1/heartbeat", X_Worker_Token="v-token-4").status == 200
    for path in ("/api/v1/workers/w-2/next-job", "/api/v1/%77orkers/w-2/next-job"):
        response = get(gateway, address, path, X_Worker_Token="v-token-4")
        assert (response.status, response.error) == (403, "FORBIDDEN")
    assert len(seen()["seen"]) == 1
    assert get(gateway, address, "/api/v1/workers/w-1/heartbeat", X_Worker_Token="v-token-4").status == 200


@pytest.mark.parametrize("trouble", ["status 500", "no JSON", "redirect"])
def test_a_backend_that_can_not_tell_is_503_for_unknown_tokens_only(verifying, verifier, valkey, address, trouble):
    token = f"v-token-5-{trouble.split()[0]}"
    gateway = verifying()
    verifier.tokens[token, "w-1"] = True
    if trouble == "status 500":
        verifier.status = 500
    elif trouble == "no JSON":
        verifier.body = b"<html>valid: true</html>"
    else:
        verifier.status, verifier.location = 307, "/api/v1/workers/elsewhere/verify"
    response = get(gateway, address, "/api/v1/workers/w-1/heartbeat", X_Worker_Token=token)
    assert (response.status, response.error) == (503, "SERVICE_UNAVAILABLE")
    assert int(response.header("retry-after")) >= 1
    assert (token, "elsewhere") not in verifier.asked
    assert get(gateway, address, X_API_Key=KEY).status == 200
    verifier.status, verifier.body, verifier.location = 200, None, ""
    assert get(gateway, address, "/api/v1/workers/w-1/heartbeat", X_Worker_Token=token).status == 200
    assert token not in gateway.log


def test_a_session_deleted_by_hand_has_the_backend_asked_again(verifying, verifier, valkey, address):
    verifier.tokens["v-token-6", "w-1"] = True
    gateway = verifying()

    def status() -> int:
        return get(gateway, address, "/api/v1/workers/w-1/heartbeat", X_Worker_Token="v-token-6").status

    assert status() == 200
    verifier.tokens.clear()
    assert status() == 200
    valkey.admin.delete(f"gateway:session:{token_hash('v-token-6')}")
    until(lambda: status() == 401, 10, "the backend's no")


def test_a_session_that_others_wrote_is_no_yes(verifying, verifier, valkey, address):
    gateway = verifying()
    name = f"gateway:session:{token_hash('v-token-7')}"
    forged = [
        {"type": "token", "identity": "worker:w-1", "workers": ["w-1"]},
        {"type": "verified", "identity": "key:ops", "workers": ["w-1"]},
        {"type": "verified", "identity": "worker:w-1"},
        [],
    ]
    for content in forged:
        valkey.admin.set(name, json.dumps(content))
        assert get(gateway, new_address(), "/api/v1/workers/w-1/heartbeat", X_Worker_Token="v-token-7").status == 401
    valkey.admin.delete(name)
    valkey.admin.rpush(name, "x")
    assert get(gateway, address, "/api/v1/workers/w-1/heartbeat", X_Worker_Token="v-token-7").status == 401


def test_without_redis_keys_hashes_and_questions_go_on(backend, verifier, address):
    verifier.tokens["v-token-8", "w-1"] = True
    port = RefusingPort()
    with Gateway(
        backend.url,
        REDIS_URL=f"redis://127.0.0.1:{port.port}",
        AUTH_ENABLED="true",
        AUTH_API_KEYS=KEY,
        AUTH_VERIFY_URL=verifier.url,
    ) as gateway:
        assert get(gateway, address, X_API_Key=KEY).status == 200
        assert get(gateway, address, X_API_Key="wr0ng").status == 401
        for _ in range(2):
            assert get(gateway, address, "/api/v1/workers/w-1/x", X_Worker_Token="v-token-8").status == 200
        assert verifier.asked["v-token-8", "w-1"] == 1
    port.close()


# -- brute force


def test_too_many_wrong_credentials_block_an_address_on_every_gateway(verifying, valkey, address):
    first, second = verifying(1), verifying(2)
    assert get(second, address, X_API_Key=KEY).status == 200
    answers = [get(first, address, X_API_Key=f"guess-{number}") for number in range(MAX_FAILURES + 1)]
    assert [answer.status for answer in answers] == [401] * MAX_FAILURES + [429]
    assert answers[-1].error == "RATE_LIMIT_EXCEEDED"
    assert 1 <= int(answers[-1].header("retry-after")) <= 60
    assert get(first, address, X_API_Key=KEY).status == 429, "a right guess looks like a wrong one"
    assert get(first, address).status == 401
    assert get(second, address, X_API_Key="guess").status == 429, "the first wrong one there"
    assert get(second, address, X_API_Key=KEY).status == 200, "it was good from there before"
    assert get(first, new_address(), X_API_Key=KEY).status == 200
    assert b"guess" not in everything_in(valkey)
    assert "guess" not in first.log + second.log
