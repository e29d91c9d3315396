"""auth/authenticate.py, with Redis away and a backend that is a function: what is decided, counted and answered."""

from __future__ import annotations

import hashlib
import inspect
import json

import pytest

from fastgw.auth import authenticate
from fastgw.auth.authenticate import Authenticate, Sources, no_authentication
from fastgw.auth.verify import Verdict
from fastgw.respond import Answer
from fastgw.store.errors import StoreDown
from fastgw.store.keys import Keys
from tests.pure.asgi import HOST, accepted, exchange
from tests.pure.loop import in_loop

SALT = "distributed-gpu-inference-v1"
KEY, OTHER_KEY, TOKEN, WRONG = b"secret-key-1", b"secret-key-2", b"t0ken-1", b"wr0ng"
ADDRESS = "203.0.113.9"
HEARTBEAT = b"/api/v1/workers/w-1/heartbeat"


def token_hash(token: bytes) -> str:
    return hashlib.sha256(token + SALT.encode()).hexdigest()


class Away:
    is_up = False
    keys = Keys()

    def command(self, *_: object) -> None:
        raise StoreDown("no connection")

    run = command


class Failures:
    """Counts; `limit` of them block an address."""

    def __init__(self, limit: int = 1000) -> None:
        self.limit = limit
        self.counts: dict[str, int] = {}

    def blocked(self, address: str) -> int | None:
        return 30 if self.counts.get(address, 0) >= self.limit else None

    async def note(self, address: str) -> int | None:
        self.counts[address] = self.counts.get(address, 0) + 1
        return 30 if self.counts[address] > self.limit else None


class Door:
    """The door with its stand-ins. says: (token, worker) -> the backend's verdict; without it nobody is asked."""

    def __init__(
        self, failures: Failures | None = None, says: dict[tuple[bytes, str | None], Verdict] | None = None, **sources
    ) -> None:
        self.failures = failures or Failures()
        url = "http://backend.test/{worker_id}" if says is not None else ""
        given = {"api_keys": ("ops:" + KEY.decode(), OTHER_KEY.decode()), "token_hashes": (token_hash(TOKEN),)}
        given |= {"token_salt": SALT, "verify_url": url}
        self.door = Authenticate(Sources(**(given | sources)), Away(), self.failures)
        self.asked: list[tuple[bytes, str | None]] = []
        if says is not None:

            async def ask(digest: bytes, token: bytes, worker: str | None) -> Verdict:
                self.asked.append((token, worker))
                return says.get((token, worker), Verdict.NO)

            self.door._verify.ask = ask  # type: ignore[method-assign]

    async def __call__(
        self, *fields: tuple[bytes, bytes], target: bytes = b"/api/v1/jobs", **more
    ) -> tuple[object, str]:
        """The answer, or None, and the identity."""
        x = accepted(exchange(HOST, *fields, target=target, **more))
        self.x = x
        self.was_at_once = True
        answer = self.door(x)
        if inspect.iscoroutine(answer):
            self.was_at_once = False
            answer = await answer
        return answer, x.identity


def key(value: bytes) -> tuple[bytes, bytes]:
    return (b"x-api-key", value)


def token(value: bytes) -> tuple[bytes, bytes]:
    return (b"x-worker-token", value)


def bearer(value: bytes) -> tuple[bytes, bytes]:
    return (b"authorization", b"Bearer " + value)


def error(answer: object) -> tuple[int, str, str]:
    """Status, code and message; the answer must be one to read, and not to be stored."""
    assert isinstance(answer, Answer)
    content = json.loads(answer.body)["error"]
    assert (b"cache-control", b"no-store") in answer.fields
    return answer.status, content["code"], content["message"]


def field(answer: object, name: bytes) -> bytes:
    assert isinstance(answer, Answer)
    return dict(answer.fields).get(name, b"")


@pytest.mark.parametrize(
    ("fields", "identity"),
    [
        ([key(KEY)], "key:ops"),
        ([key(OTHER_KEY)], "key:" + hashlib.sha256(OTHER_KEY).hexdigest()[:12]),
        ([token(TOKEN)], "token:" + token_hash(TOKEN)[:12]),
        ([bearer(TOKEN)], "token:" + token_hash(TOKEN)[:12]),
        ([(b"authorization", b"bearer  " + TOKEN)], "token:" + token_hash(TOKEN)[:12]),
        ([bearer(TOKEN), key(KEY)], "key:ops"),
        ([bearer(TOKEN), token(TOKEN)], "token:" + token_hash(TOKEN)[:12]),
        ([(b"authorization", b"Basic eDp5"), key(KEY)], "key:ops"),
    ],
)
def test_a_good_credential_passes_at_once(fields, identity):
    @in_loop
    async def body() -> None:
        door = Door()
        for _ in range(3):
            assert await door(*fields) == (None, identity)
            assert door.was_at_once
        assert door.failures.counts == {}
        assert sum(
            session.pending for session in (*door.door._sessions.keys.values(), *door.door._sessions.tokens.values())
        ) == 3 * len([name for name, value in fields if not value.startswith(b"Basic")])

    body()


@in_loop
async def test_the_known_way_compares_digests_in_constant_time(monkeypatch):
    compared = []
    door = Door()
    await door(key(KEY))
    monkeypatch.setattr(
        authenticate, "compare_digest", lambda one, other: compared.append((one, other)) or one == other
    )
    assert (await door(key(KEY)))[0] is None
    digest = hashlib.sha256(KEY).digest()
    assert compared == [(digest, digest)]


@in_loop
async def test_without_a_credential_the_answer_says_where_one_is_looked_for():
    door = Door()
    for fields in ([], [(b"authorization", b"Basic eDp5")], [(b"cookie", b"x-api-key=1")]):
        answer, identity = await door(*fields)
        status, code, message = error(answer)
        assert (status, code, identity) == (401, "UNAUTHORIZED", "")
        assert "X-API-Key, X-Worker-Token or Authorization: Bearer" in message
        assert field(answer, b"www-authenticate") == b'Bearer realm="fastgw"'
        assert door.was_at_once
    assert door.failures.counts == {}, "nothing was guessed"


BAD = {
    "wrong": [WRONG],
    "empty": [b""],
    "repeated": [None, None],
    "wrong and right": [WRONG, None],
    "oversized": [b"x" * 5000],
    "non-ascii": ["schlüssel".encode()],
    "space": [b"two words"],
    "control": [b"a\x01b"],
    "prefix": [b"secret-key-", b"t0ken-"],
}


@pytest.mark.parametrize("values", BAD.values(), ids=BAD)
@pytest.mark.parametrize("make", [key, token, bearer])
def test_a_bad_credential_is_401_and_counted(make, values):
    @in_loop
    async def body() -> None:
        door = Door()
        right = KEY if make is key else TOKEN
        for _ in range(2):
            assert (await door(make(right)))[0] is None
            answer, identity = await door(*(make(right if value is None else value) for value in values))
            status, code, message = error(answer)
            assert (status, code, identity) == (401, "UNAUTHORIZED", "")
            challenge = field(answer, b"www-authenticate")
            assert challenge.startswith(b'Bearer realm="fastgw"')
            assert (b"invalid_token" in challenge) == (make is bearer)
            for value in values:
                assert not value or value.decode("latin-1") not in message
        assert door.failures.counts == {ADDRESS: 2}

    body()


@pytest.mark.parametrize(
    "fields",
    [
        [key(WRONG), token(TOKEN)],
        [key(KEY), token(WRONG)],
        [key(KEY), bearer(WRONG)],
        [token(WRONG), bearer(TOKEN)],
        [token(TOKEN), bearer(WRONG)],
        [key(KEY), token(b"")],
        [key(b""), token(TOKEN)],
    ],
)
def test_one_wrong_credential_is_401_whatever_the_others_are(fields):
    @in_loop
    async def body() -> None:
        door = Door()
        await door(key(KEY), token(TOKEN))
        answer, identity = await door(*fields)
        assert (error(answer)[0], identity) == (401, "")
        assert door.failures.counts == {ADDRESS: 1}

    body()


@in_loop
async def test_the_kinds_of_credentials_are_not_mixed_up():
    door = Door(token_salt="", token_format="{token}", token_hashes=(hashlib.sha256(TOKEN).hexdigest(),))
    assert (await door(key(KEY)))[0] is None
    assert (await door(token(TOKEN)))[0] is None
    for fields in (key(TOKEN), token(KEY), bearer(KEY), token(token_hash(TOKEN).encode())):
        assert error((await door(fields))[0])[0] == 401


@in_loop
async def test_what_nothing_is_configured_for_is_the_backends_business_but_opens_nothing():
    keys_only = Door(token_hashes=())
    assert await keys_only(key(KEY), token(WRONG), bearer(b"a.jwt.here")) == (None, "key:ops")
    assert error((await keys_only(token(WRONG)))[0])[0] == 401
    tokens_only = Door(api_keys=())
    assert (await tokens_only(key(WRONG), token(TOKEN)))[0] is None
    assert error((await tokens_only(key(WRONG)))[0])[0] == 401
    assert error((await tokens_only(key(b""), token(TOKEN)))[0])[0] == 401, "a malformed field is wrong in any case"


PREFLIGHT = [(b"origin", b"https://app.test"), (b"access-control-request-method", b"PUT")]


@in_loop
async def test_a_preflight_needs_no_credential():
    door = Door()
    assert await door(*PREFLIGHT, method="OPTIONS") == (None, "")
    assert error((await door(*PREFLIGHT))[0])[0] == 401
    assert error((await door(PREFLIGHT[0], method="OPTIONS"))[0])[0] == 401
    assert error((await door(*PREFLIGHT, key(WRONG), method="OPTIONS"))[0])[0] == 401


@in_loop
async def test_a_websocket_handshake_is_judged_too():
    door = Door()
    assert await door(key(KEY), type="websocket") == (None, "key:ops")
    assert error((await door(type="websocket"))[0])[0] == 401


@in_loop
async def test_a_blocked_address_learns_nothing():
    door = Door(Failures(limit=2))
    statuses = [error((await door(key(b"guess-%d" % number)))[0])[:2] for number in range(4)]
    assert statuses == [(401, "UNAUTHORIZED")] * 2 + [(429, "RATE_LIMIT_EXCEEDED")] * 2
    right, _ = await door(key(KEY))
    wrong, _ = await door(key(WRONG))
    empty, _ = await door(key(b""))
    assert door.was_at_once, "it costs no more to refuse"
    assert error(right) == error(wrong) == error(empty)
    assert field(right, b"retry-after") == b"30"
    assert json.loads(right.body)["error"]["retryAfter"] == 30
    assert door.failures.counts == {ADDRESS: 2}
    assert error((await door())[0])[0] == 401, "without a credential nothing is guessed"
    assert (await door(key(KEY), peer="198.51.100.7"))[0] is None


@in_loop
async def test_who_was_good_from_a_blocked_address_before_still_is():
    door = Door(Failures(limit=1))
    assert (await door(key(KEY)))[0] is None
    await door(key(WRONG))
    assert (await door(key(KEY)))[0] is None
    assert error((await door(key(OTHER_KEY)))[0])[0] == 429
    assert error((await door(key(KEY), token(TOKEN)))[0])[0] == 429, "the token was not seen from there"


@in_loop
async def test_the_failure_that_is_one_too_many_is_answered_429():
    failures = Failures(limit=0)
    failures.blocked = lambda _address: None  # another process has counted
    assert error((await Door(failures)(key(WRONG)))[0])[:2] == (429, "RATE_LIMIT_EXCEEDED")


@in_loop
async def test_a_token_that_is_not_known_is_asked_about_once():
    door = Door(says={(b"new", "w-1"): Verdict.YES})
    assert await door(token(b"new"), target=HEARTBEAT) == (None, "worker:w-1")
    assert not door.was_at_once
    for path in (HEARTBEAT, b"/api/v1/jobs", b"/api/v1/workers/register"):
        assert await door(token(b"new"), target=path) == (None, "worker:w-1")
        assert door.was_at_once
    assert await door(bearer(b"new")) == (None, "worker:w-1")
    assert door.asked == [(b"new", "w-1")]


@in_loop
async def test_a_configured_hash_is_not_asked_about():
    door = Door(says={})
    assert await door(token(TOKEN), target=HEARTBEAT) == (None, "token:" + token_hash(TOKEN)[:12])
    assert door.asked == []


@in_loop
async def test_a_token_for_another_worker_is_403_and_no_failure():
    door = Door(says={(b"new", "w-1"): Verdict.YES})
    await door(token(b"new"), target=HEARTBEAT)
    answer, identity = await door(token(b"new"), target=b"/api/v1/workers/w-2/next-job")
    assert error(answer)[:2] == (403, "FORBIDDEN")
    assert identity == ""
    encoded, _ = await door(token(b"new"), target=b"/api/v1/%77orkers/w-2/next-job")
    assert error(encoded)[0] == 403
    assert error((await door(token(b"new"), target=b"/api/v1/workers/%2e%2e/next-job"))[0])[0] == 403
    assert door.failures.counts == {}
    assert (await door(token(b"new"), target=HEARTBEAT))[0] is None


@in_loop
async def test_a_token_that_is_good_for_two_workers_keeps_its_identity():
    door = Door(says={(b"new", "w-1"): Verdict.YES, (b"new", "w-2"): Verdict.YES})
    await door(token(b"new"), target=HEARTBEAT)
    for _ in range(2):
        assert await door(token(b"new"), target=b"/api/v1/workers/w-2/next-job") == (None, "worker:w-1")
    assert len(door.asked) == 2


@in_loop
async def test_a_no_is_401_and_counted():
    door = Door(says={})
    answer, identity = await door(token(b"new"), target=HEARTBEAT)
    assert (error(answer)[:2], identity) == ((401, "UNAUTHORIZED"), "")
    assert door.failures.counts == {ADDRESS: 1}


@in_loop
async def test_without_a_worker_in_the_path_only_a_session_helps():
    door = Door(says={(b"new", "w-1"): Verdict.YES})
    assert error((await door(token(b"new")))[0])[0] == 401
    await door(token(b"new"), target=HEARTBEAT)
    assert await door(token(b"new")) == (None, "worker:w-1")


@in_loop
async def test_a_session_that_has_ended_is_renewed_though_the_path_names_no_worker():
    says = {(b"new", "w-1"): Verdict.YES}
    door = Door(says=says)
    await door(token(b"new"), target=HEARTBEAT)
    (session,) = door.door._sessions.tokens.values()
    session.good_until = 0.0
    assert await door(token(b"new")) == (None, "worker:w-1")
    assert door.asked == [(b"new", "w-1")] * 2
    (session,) = door.door._sessions.tokens.values()
    session.good_until = 0.0
    says.clear()
    assert error((await door(token(b"new")))[0])[0] == 401
    assert door.door._sessions.tokens == {}


@in_loop
async def test_a_backend_that_can_not_be_asked_is_503_and_no_failure():
    says = {(b"new", "w-1"): Verdict.OPEN}
    door = Door(says=says)
    answer, identity = await door(token(b"new"), target=HEARTBEAT)
    assert (error(answer)[:2], identity) == ((503, "SERVICE_UNAVAILABLE"), "")
    assert field(answer, b"retry-after")
    assert door.failures.counts == {}
    assert (await door(key(KEY)))[0] is None, "what is known here needs no backend"
    says[b"new", "w-1"] = Verdict.YES
    assert await door(token(b"new"), target=HEARTBEAT) == (None, "worker:w-1")


@in_loop
async def test_a_wrong_key_beside_an_unknown_token_is_401_before_anybody_is_asked():
    door = Door(says={(b"new", "w-1"): Verdict.YES})
    assert error((await door(key(WRONG), token(b"new"), target=HEARTBEAT))[0])[0] == 401
    assert door.asked == []
    assert await door(key(KEY), token(b"new"), target=HEARTBEAT) == (None, "key:ops")


def test_a_hash_that_has_left_the_file_is_good_no_more(tmp_path):
    path = tmp_path / "hashes"
    path.write_text(token_hash(b"from-file"))

    @in_loop
    async def body() -> None:
        door = Door(token_hashes_file=path)
        assert (await door(token(b"from-file")))[0] is None
        assert (await door(token(TOKEN)))[0] is None
        path.write_text("# nobody")
        await door.door.refresh()
        assert error((await door(token(b"from-file")))[0])[0] == 401
        assert (await door(token(TOKEN)))[0] is None
        await door.door.close()

    body()


def test_nobody_is_asked_when_authentication_is_off():
    x = accepted(exchange(HOST, key(WRONG)))
    assert no_authentication(x) is None
    assert x.identity == ""


def test_no_repr_shows_what_is_configured():
    sources = Sources(api_keys=("ops:k3y",), token_salt="s4lt", verify_url="http://u:pw@b/", token_hashes=("ab" * 32,))
    assert not [secret for secret in ("k3y", "s4lt", "pw", "abab") if secret in repr(sources)]
