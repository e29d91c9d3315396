"""Each fault that the guide knows, as a line that says what to do."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from fastgw.cutover import troubles
from fastgw.cutover.differences import Answer
from fastgw.cutover.redis_facts import RedisFacts
from fastgw.cutover.troubles import DEFAULT_SALT, Hashing, State

URL = "http://fastapi:8000"
OWN = (("x-gateway-version", "1"),)


@pytest.mark.parametrize(
    ("answer", "state", "hint"),
    [
        (Answer(200), State.OK, ""),
        (Answer(404), State.FAIL, "ROUTER_HEALTH_PATH"),
        (Answer(401), State.WARN, "ROUTER_HEALTH_PATH"),
        (Answer(503), State.FAIL, "log"),
        (Answer(0, error="ConnectError: [Errno 111] Connection refused"), State.FAIL, "nothing listens"),
        (Answer(0, error="ConnectError: [Errno -2] Name or service not known"), State.FAIL, "DNS"),
        (Answer(0, error="ConnectError: [SSL: CERTIFICATE_VERIFY_FAILED]"), State.FAIL, "TLS"),
        (Answer(0, error="no answer in time"), State.FAIL, "firewall"),
        (Answer(0, error="RemoteProtocolError: garbage"), State.FAIL, "FASTAPI_URL"),
    ],
)
def test_a_backend(answer: Answer, state: State, hint: str) -> None:
    line = troubles.backend(URL, "/health", answer)
    assert line.state is state
    assert hint in line.hint
    assert URL in line.name


@pytest.mark.parametrize(
    ("facts", "text", "hint"),
    [
        (RedisFacts("r", problem="r: refused", kind="down"), "refused", "firewall"),
        (RedisFacts("r", problem="invalid password", kind="password"), "invalid", "REDIS_PASSWORD"),
        (RedisFacts("r", problem="can't be read", kind="address"), "read", "%-encoded"),
        (RedisFacts("r", denied_commands=["EVAL"]), "EVAL", "fastgw.acl"),
        (RedisFacts("r", denied_keys=["the prefix"]), "eu1:*", "~eu1:*"),
        (RedisFacts("r", denied_keys=["worker:*"]), "worker:*", "%R~worker:*"),
        (RedisFacts("r", refused="You can't write against a read only replica."), "replica", "master"),
    ],
)
def test_a_redis_that_does_not_do(facts: RedisFacts, text: str, hint: str) -> None:
    line = troubles.redis(facts, "eu1:")[-1]
    assert line.state is State.FAIL
    assert text in line.text
    assert hint in line.hint


def test_a_redis_that_does() -> None:
    assert [line.state for line in troubles.redis(RedisFacts("r"), "gateway:")] == [State.OK, State.OK]


@pytest.mark.parametrize(
    ("answer", "content", "state"),
    [
        (Answer(200, OWN), {"status": "healthy", "version": "1"}, State.OK),
        (Answer(200, OWN), {"status": "degraded", "errors": ["redis: gone"]}, State.WARN),
        (Answer(503, OWN), {"status": "unhealthy", "errors": ["backend x: refused"]}, State.FAIL),
        (Answer(503, OWN), {"status": "draining"}, State.FAIL),
        (Answer(200), {"status": "healthy"}, State.FAIL),
        (Answer(502, OWN), None, State.FAIL),
        (Answer(0, error="Connection refused"), None, State.FAIL),
    ],
)
def test_the_gateway(answer: Answer, content: Any, state: State) -> None:
    line = troubles.gateway("http://gateway:3000", answer, content)
    assert line.state is state
    assert line.state is State.OK or line.hint
    assert not isinstance(content, dict) or all(problem in line.text for problem in content.get("errors", ()))


def known(text: str) -> Any:
    return {sha256(text.encode()).digest()}.__contains__


@pytest.mark.parametrize(
    ("hashed", "form", "salt", "found", "todo"),
    [
        ("tok:s", "{token}{salt}", "s", Hashing("{token}:{salt}", "s"), "set AUTH_TOKEN_FORMAT={token}:{salt}"),
        ("s:tok", "{token}{salt}", "s", Hashing("{salt}:{token}", "s"), "set AUTH_TOKEN_FORMAT={salt}:{token}"),
        ("toks", "{salt}:{token}", "s", Hashing("{token}{salt}", "s"), "set AUTH_TOKEN_FORMAT={token}{salt}"),
        (
            f"tok{DEFAULT_SALT}",
            "{token}{salt}",
            "x",
            Hashing("{token}{salt}", DEFAULT_SALT),
            f"set AUTH_TOKEN_SALT={DEFAULT_SALT}",
        ),
        ("tok", "{token}{salt}", "s", Hashing("{token}", "s"), "set AUTH_TOKEN_FORMAT={token}"),
        ("another", "{token}{salt}", "s", None, "AUTH_TOKEN_SALT"),
    ],
)
def test_a_wrong_salt_or_format_is_found(hashed: str, form: str, salt: str, found: Hashing | None, todo: str) -> None:
    assert troubles.token(known(hashed), b"tok", form, salt) == (State.FAIL, found)
    line = troubles.token_line(State.FAIL, found, form, salt)
    assert line.state is State.FAIL
    assert todo in line.hint
    assert "tok" not in line.text.replace("token", "")


def test_an_accepted_token() -> None:
    state, found = troubles.token(known("toks"), b"tok", "{token}{salt}", "s")
    assert troubles.token_line(state, found, "{token}{salt}", "s").state is State.OK


LISTED = {"workers": [{}, {}], "online": 1}


@pytest.mark.parametrize(
    ("facts", "listed", "source", "state", "text"),
    [
        (RedisFacts("r", workers=2), LISTED, "auto", State.OK, "holds 2, the gateway lists 2"),
        (RedisFacts("r", workers=2), {"workers": [], "online": 0}, "auto", State.FAIL, "lists none"),
        (RedisFacts("r", workers=2), None, "auto", State.FAIL, "gives no list"),
        (RedisFacts("r", workers=2), {**LISTED, "online": 0}, "auto", State.WARN, "none of them online"),
        (RedisFacts("r", others=[("gpu:*", 4)]), [], "auto", State.FAIL, "gpu:* (4)"),
        (RedisFacts("r"), [], "auto", State.FAIL, "no keys at all"),
        (RedisFacts("r", is_complete=False), [], "auto", State.FAIL, "not all keys"),
        (RedisFacts("r", elsewhere=3), [], "auto", State.FAIL, "database 3"),
        (RedisFacts("r"), LISTED, "auto", State.FAIL, "no keys at all"),  # as it was a moment ago
        (RedisFacts("r"), [{}], "backend", State.OK, "lists 1"),
        (None, LISTED, "auto", State.OK, "lists 2"),
        (None, None, "auto", State.SKIP, "Redis"),
    ],
)
def test_workers(facts: RedisFacts | None, listed: Any, source: str, state: State, text: str) -> None:
    line = troubles.workers(facts, listed, source)
    assert (line.state, text in line.text) == (state, True), line


def test_a_backends_own_list_is_a_caution() -> None:
    line = troubles.workers(RedisFacts("r"), [{}], "auto", is_forwarded=True)
    assert line.state is State.WARN
    assert "the 1 listed are the backend's own" in line.text


def trusts(address: str) -> bool:
    return address.startswith("127.")


@pytest.mark.parametrize(
    ("named", "windows", "state", "hint"),
    [
        ((), {}, State.OK, ""),
        ((), {"10.0.0.7": 19}, State.OK, ""),
        ((), {"10.0.0.7": 95, "10.0.0.8": 2}, State.WARN, "add 10.0.0.7 to TRUSTED_PROXIES"),
        ((), {"127.0.0.1": 95}, State.WARN, "X-Forwarded-For"),
        ((), {"8.8.8.8": 95}, State.OK, ""),
        ((), {"10.0.0.7": 50, "10.0.0.8": 50}, State.OK, ""),
        (("10.0.0.7",), {}, State.FAIL, "add 10.0.0.7 to TRUSTED_PROXIES"),
        (("127.0.0.1",), {}, State.OK, ""),
    ],
)
def test_proxies(named: tuple[str, ...], windows: dict[str, int], state: State, hint: str) -> None:
    line = troubles.proxies(trusts, named, windows)
    assert line.state is state
    assert hint in line.hint


METRICS = """# TYPE gateway_requests_total counter
gateway_requests_total{method="GET",route="/a",status="200"} 90.0
gateway_requests_total{method="GET",route="other",status="429"} 1e1
gateway_requests_total_created 5
gateway_ratelimit_rejected_total REJECTED
"""


@pytest.mark.parametrize(("rejected", "state"), [("0.0", State.OK), ("1.0", State.OK), ("10.0", State.FAIL)])
def test_limits(rejected: str, state: State) -> None:
    line = troubles.limits(METRICS.replace("REJECTED", rejected), "now 100 in 60 s")
    assert line.state is state
    assert "of 100 requests" in line.text
    assert state is State.OK or "now 100 in 60 s" in line.hint


def test_limits_without_traffic() -> None:
    assert troubles.limits("", "").state is State.OK
