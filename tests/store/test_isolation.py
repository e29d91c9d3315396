"""Redis is shared (spec 9): the user `fastgw` is refused what is not its own; a gateway under load asks for none."""

from __future__ import annotations

import contextlib
import json
import time
from hashlib import sha256

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from fastgw.store.acl import COMMANDS, READ_KEYS, user_line
from fastgw.store.keys import PREFIX
from tests.support.processes import Gateway, Uvicorn
from tests.support.raw_client import request
from tests.support.valkey import ACL_FILE, PASSWORD, Cluster, Configured, Valkey
from tests.support.wait import until

ALLOWED = {command for group in COMMANDS.values() for command in group}
READABLE = tuple(pattern.rstrip("*").encode() for pattern in READ_KEYS)

KEY, WRONG_KEY = "api-key-of-the-tests", "a-key-that-is-wrong"
TOKEN, SALT = "token-of-the-tests", "distributed-gpu-inference-v1"


@pytest.fixture
def fastgw(valkey: Valkey):
    with Redis.from_url(valkey.url, protocol=2) as client:
        yield client


def platform(admin) -> None:
    """What GPU workers and the FastAPI server keep in Redis."""
    for number in range(3):
        status = {"worker_id": f"w{number}", "region": "europe-west", "status": "idle"}
        admin.set(f"worker:w{number}:status", json.dumps(status))
        admin.set(f"worker:w{number}:gpu", json.dumps({"name": "H100"}))
        admin.set(f"worker:w{number}:heartbeat", str(time.time()), ex=3600)
    admin.set("queue:stats", json.dumps({"queued": 3}))
    admin.set("queue:job:1", json.dumps({"id": "1"}))


# -- what the server refuses --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "KEYS *",
        "FLUSHALL",
        "FLUSHDB",
        "CONFIG GET maxmemory",
        "CONFIG SET maxmemory 1",
        "ACL WHOAMI",
        "DEBUG SLEEP 0",
        "SHUTDOWN NOSAVE",
        "MONITOR",
        "CLIENT LIST",
        "SCRIPT FLUSH",
        "FUNCTION LIST",
        "REPLICAOF NO ONE",
        "RENAME gateway:a gateway:b",
        "COPY gateway:a worker:a",
        "PUBLISH gateway:a b",
        "SUBSCRIBE gateway:a",
        "RANDOMKEY",
        "SWAPDB 0 1",
        "CLUSTER FAILOVER",
        "SET worker:w0:status x",
        "DEL worker:w0:status",
        "UNLINK worker:w0:status",
        "EXPIRE worker:w0:status 1",
        "SET queue:stats x",
        "ZADD queue:stats 1 x",
        "SADD queue:job:1 x",
        "GET other:key",
        "MGET worker:w0:status other:key",
        "STRLEN other:key",
        "MEMORY USAGE other:key",
        "SET other:key x",
        "SET gateway x",
    ],
)
def test_what_is_not_ours_is_refused(valkey: Valkey, fastgw: Redis, command: str) -> None:
    platform(valkey.admin)
    valkey.admin.set("other:key", "x")
    before = contents(valkey.admin)
    with pytest.raises(NoPermissionError):
        fastgw.execute_command(*command.split(" "))
    assert contents(valkey.admin) == before


@pytest.mark.parametrize("keys", [["gateway:a"], ["gateway:a", "worker:w0:status"], ["other:key"]])
def test_scripts_can_do_no_more_than_their_user(valkey: Valkey, fastgw: Redis, keys: list[str]) -> None:
    """Whether a script declares the key that it wants, or not."""
    platform(valkey.admin)
    before = contents(valkey.admin)
    for text in (
        "return redis.call('SET', 'worker:w0:status', 'x')",
        "return redis.call('SET', 'other:key', 'x')",
        "return redis.call('KEYS', '*')",
        "return redis.call('FLUSHALL')",
        "return redis.call('PUBLISH', 'a', 'b')",
    ):
        with pytest.raises((NoPermissionError, ResponseError), match=r"(?i)permission|can't run"):
            fastgw.eval(text, len(keys), *keys)
    assert contents(valkey.admin) == before


def test_what_fastgw_needs_is_allowed(valkey: Valkey, fastgw: Redis) -> None:
    platform(valkey.admin)
    assert fastgw.mget("worker:w0:status", "queue:stats") != [None, None]
    assert {name.partition(b":")[0] for name in fastgw.scan_iter("worker:*")} == {b"worker"}
    assert fastgw.set("gateway:a", "x", px=10_000, xx=False)
    assert fastgw.eval("redis.call('ZADD', KEYS[1], 1, 'x'); return redis.call('ZCARD', KEYS[1])", 1, "gateway:z") == 1
    assert fastgw.object("idletime", "gateway:a") == 0
    assert fastgw.memory_usage("gateway:a") > 0
    assert fastgw.unlink("gateway:a", "gateway:z") == 2
    assert valkey.admin.execute_command("ACL LOG") == []


def test_no_dangerous_command_is_allowed(valkey: Valkey) -> None:
    categories = ("dangerous", "admin")
    listed = {
        name.decode()
        for category in categories
        for name in valkey.admin.execute_command("COMMAND LIST", "FILTERBY", "ACLCAT", category)
    }
    assert {"flushall", "config|set", "keys"} <= listed
    assert not ALLOWED & listed


def test_every_command_of_the_rules_is_known_to_the_server(valkey: Valkey) -> None:
    known = {name.decode() for name in valkey.admin.execute_command("COMMAND LIST")}
    assert known >= ALLOWED


def test_the_user_can_be_made_in_each_of_the_three_ways(valkey: Valkey, tmp_path) -> None:
    """docs/reference/redis-keys.md: ACL SETUSER, an ACL file (as in all these tests), a line in the configuration."""
    rules = ACL_FILE.read_text().replace("CHANGE-ME", "another-password").split()[2:]
    valkey.admin.execute_command("ACL SETUSER", "fastgw2", *rules)
    configured = tmp_path / "fastgw.acl"
    configured.write_text(user_line(">third"))
    included = tmp_path / "valkey.conf"
    included.write_text(f"include {configured}\n")
    with Redis(port=valkey.port, username="fastgw2", password="another-password", protocol=2) as made:
        with pytest.raises(NoPermissionError):
            made.set("worker:a", "x")
        assert made.set("gateway:a", "x")
    valkey.admin.execute_command("ACL DELUSER", "fastgw2")
    with (
        Configured(included) as other,
        Redis(port=other.port, username="fastgw", password="third", protocol=2) as made,
    ):
        assert made.set("gateway:a", "x")


# -- what a gateway does ------------------------------------------------------------------------------


@pytest.fixture(params=["valkey", "cluster"])
def servers(request):
    return request.getfixturevalue(request.param)


def nodes_of(servers: Valkey | Cluster) -> list[Valkey]:
    return servers.nodes if isinstance(servers, Cluster) else [servers]


def contents(admin) -> dict[bytes, bytes]:
    """All that is not ours, as the server stores it."""
    return {name: admin.dump(name) for name in admin.keys("*") if not name.startswith(PREFIX.encode())}


def mixed_load(port: int) -> list[int]:
    """Requests of each kind; their statuses."""
    good = {"X_API_Key": KEY}
    plans = [
        ("/regions", "GET", None, good),
        ("/regions", "GET", None, good),
        ("/regions", "GET", None, {**good, "If_None_Match": '"x"'}),
        *((f"/api/v1/queue/stats?n={n}", "GET", None, good) for n in range(12)),
        ("/api/v1/jobs", "POST", b'{"type": "llm"}', good),
        ("/api/v1/jobs", "POST", b'{"type": "llm"}', {**good, "Idempotency_Key": "once"}),
        ("/api/v1/jobs", "POST", b'{"type": "llm"}', {**good, "Idempotency_Key": "once"}),
        ("/api/v1/jobs/1", "GET", None, good),
        ("/api/v1/jobs/1", "DELETE", None, good),
        ("/api/v1/workers/w0/next-job", "GET", None, {"X_Worker_Token": TOKEN}),
        ("/api/v1/workers", "GET", None, {"Authorization": f"Bearer {TOKEN}"}),
        ("/api/v1/workers?region=*", "GET", None, good),
        ("/regions", "GET", None, {"X_API_Key": WRONG_KEY}),
        ("/regions", "GET", None, {}),
        ("/worker:w0:status", "GET", None, good),
        ("/gateway/health/detailed", "GET", None, {}),
        ("/gateway/config", "PATCH", b'{"RATE_LIMIT_MAX_REQUESTS": 1000}', {"Content_Type": "application/json"}),
        ("/gateway/config", "GET", None, {}),
        ("/gateway/cache?path=/regions", "DELETE", None, {}),
        ("/regions", "GET", None, good),
    ]
    return [request(port, path, method, body, **fields).status for path, method, body, fields in plans]


def under_load(backend_url: str, redis_url: str) -> Gateway:
    """A gateway of this test alone: it would go on writing into other tests' Redis."""
    return Gateway(
        backend_url,
        REDIS_URL=redis_url,
        GATEWAY_WORKERS=2,
        AUTH_ENABLED="true",
        AUTH_API_KEYS=f"ops:{KEY}",
        AUTH_TOKEN_HASHES=sha256(f"{TOKEN}{SALT}".encode()).hexdigest(),
        RATE_LIMIT_ENABLED="true",
        RATE_LIMIT_RULES="/api/v1/jobs=50/1s",
        CACHE_ENABLED="true",
        CACHE_MAX_SIZE=5,
    )


def names_of(servers: Valkey | Cluster, pattern: str) -> list[bytes]:
    return [name for node in nodes_of(servers) for name in node.admin.keys(pattern)]


def test_a_mixed_load_writes_nothing_outside_our_prefix(servers) -> None:
    platform(servers.admin)
    nodes = nodes_of(servers)
    before = [contents(node.admin) for node in nodes]
    own = {node.admin.client_info()["addr"] for node in nodes}
    with contextlib.ExitStack() as watching:
        backend = watching.enter_context(Uvicorn("tests.support.quiet_app:app"))
        monitors = [watching.enter_context(node.monitor()) for node in nodes]
        gateway = watching.enter_context(under_load(backend.url, servers.url))
        statuses = [status for _ in range(3) for status in mixed_load(gateway.port)]
        assert {200, 401} <= set(statuses)
        assert not {500, 502, 503, 504} & set(statuses), statuses
        ours = f"{PREFIX}*"
        for kind in (
            "ratelimit",
            "ratelimit:auth",
            "cache:{",
            "cache:keys",
            "session",
            "config",
            "idempotency",
            "workers",
            "lease",
        ):
            until(lambda kind=kind: names_of(servers, f"{PREFIX}{kind}*"), 8, f"{kind} among {names_of(servers, ours)}")
        until(lambda: {b"SSCAN", b"OBJECT"} <= {name for m in monitors for name in m.names()}, 12, "sweep and eviction")
    for node, monitor, kept in zip(nodes, monitors, before, strict=True):
        check_calls(monitor, own)
        assert contents(node.admin) == kept
        assert node.admin.execute_command("ACL LOG") == []


def check_calls(monitor, own: set[str]) -> None:
    """Each call of a gateway: a command of the rules, on keys that are ours or only read, and declared in scripts."""
    declared: set[bytes] = set()
    plain = {command.partition("|")[0].upper().encode() for command in ALLOWED}
    calls = [call for call in monitor.calls if call.source not in own]
    assert len(calls) > 100
    for call in calls:
        keys = monitor.keys(call)
        if call.name in {b"EVAL", b"EVALSHA"}:
            declared = {key for key, _ in keys}
        elif call.source == "lua":
            assert {key for key, _ in keys} <= declared, f"a key that its script did not declare: {call}"
        else:
            assert call.name in plain, call
        for key, flags in keys:
            is_ours = key.startswith(PREFIX.encode())
            assert is_ours or (key.startswith(READABLE) and "RO" in as_text(flags)), f"{key!r} {flags}: {call}"
        for secret in (KEY, WRONG_KEY, TOKEN, PASSWORD):
            assert not any(secret.encode() in argument for argument in call.args), call


def as_text(flags: set[bytes]) -> set[str]:
    return {flag.decode() for flag in flags}
