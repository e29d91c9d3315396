"""deploy/nginx and deploy/phase.sh, with a real nginx, a real gateway and a real uvicorn."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from websockets.sync.client import connect

from fastgw.forwarding.retry import is_known_safe
from tests.support.nginx import (
    NGINX,
    PHASE,
    Breaking,
    Client,
    Nginx,
    Silent,
    Traffic,
    addresses,
    ask,
    assert_share,
    timed,
)
from tests.support.ports import RefusingPort
from tests.support.processes import Gateway, Uvicorn
from tests.support.raw_client import RawClient, request
from tests.support.wait import until

pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed: apt install nginx-light"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed, and phase.sh needs it"),
    pytest.mark.skipif(sys.platform != "linux", reason="clients need addresses of their own: 127.x.y.z"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Uvicorn]:
    with Uvicorn("tests.support.app:app") as one:
        yield one


@pytest.fixture(scope="module")
def through(server: Uvicorn) -> Iterator[Gateway]:
    """The gateway that is cut over to. nginx is the only proxy that it believes; clients are at other 127.x.y.z."""
    settings = {
        "TRUSTED_PROXIES": "127.0.0.1/32",
        "RATE_LIMIT_ENABLED": "true",
        "RATE_LIMIT_MAX_REQUESTS": 1_000_000,
        "RATE_LIMIT_RULES": "/limited=3/60",
    }
    with Gateway(server.url, **settings) as one:
        yield one


@pytest.fixture(scope="module")
def nginx(server: Uvicorn, through: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with Nginx(tmp_path_factory.mktemp("nginx"), server.port, through.port) as one:
        yield one


@pytest.fixture(scope="module")
def spare(server: Uvicorn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """One whose gateway is never there, for what asks for none."""
    refusing = RefusingPort()
    with Nginx(tmp_path_factory.mktemp("spare"), server.port, refusing.port) as one:
        yield one
    refusing.close()


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("own")


def sides(nginx: Nginx, clients: list[str]) -> dict[str, str]:
    """Which side each client is on: by the header, which must be what the server has seen (Via is the gateway's)."""
    found = {}
    for client in clients:
        answer = ask(nginx.port, client)
        assert answer.status == 200
        side = str(answer.header("x-served-by"))
        came_by = "gateway" if "via" in dict(answer.json["headers"]) else "direct"
        assert side == came_by
        found[client] = side
    return found


def gateway_clients(nginx: Nginx, clients: list[str]) -> set[str]:
    return {client for client, side in sides(nginx, clients).items() if side == "gateway"}


# -- who goes where -----------------------------------------------------------------------------------


def test_the_shares_are_as_configured_and_who_has_moved_stays_moved(nginx: Nginx) -> None:
    clients = addresses(2_000)
    nginx.to("2")
    ten = gateway_clients(nginx, clients)
    nginx.to("3")
    fifty = gateway_clients(nginx, clients)
    assert_share(len(ten), len(clients), 0.1)
    assert_share(len(fifty), len(clients), 0.5)
    assert ten < fifty, "a client that was on the gateway's side at 10 % left it at 50 %"
    for phase, share in (("1", 0), ("4", 200), ("rollback", 0)):
        nginx.to(phase)
        assert len(gateway_clients(nginx, clients[:200])) == share


def test_a_client_stays_on_its_side_whatever_it_asks(nginx: Nginx) -> None:
    nginx.to("3")
    seen = set()
    for address in addresses(40):
        client = Client(nginx.port, address)
        answers = [
            client.ask("/regions"),
            client.ask("/api/v1/jobs", "POST", b"{}"),
            client.ask("/api/v1/workers/w1/next-job", X_Worker_Token="t"),
            client.ask("/x?a=1", Authorization="Bearer t"),
        ]
        client.close()
        (side,) = {answer.header("x-served-by") for answer in answers}
        seen.add(side)
    assert seen == {"gateway", "direct"}


def test_the_log_tells_the_side(nginx: Nginx) -> None:
    nginx.to("3")
    clients = addresses(20, seed=3)
    known = sides(nginx, clients)
    nginx.to("rollback")
    lines = [json.loads(line) for line in (nginx.home / "fastgw.access.log").read_text().splitlines()]
    logged = {line["client"]: line for line in lines if line["client"] in known}
    assert {client: line["served_by"] for client, line in logged.items()} == known
    assert {client: line["side"] for client, line in logged.items()} == known
    one = next(line for line in logged.values() if line["side"] == "gateway")
    assert (one["phase"], one["status"], len(one["requestId"])) == ("3-50", "200", 36)


def test_no_request_fails_while_phases_change(nginx: Nginx) -> None:
    nginx.to("rollback")
    with Traffic(nginx.port) as traffic:
        for phase in ("1", "2", "3", "4", "rollback"):
            traffic.more(150)
            nginx.to(phase)
        traffic.more(150)
    assert traffic.failures == []
    assert set(traffic.served) == {"gateway", "direct"}
    copies = "/_fastgw_shadow"  # one may be under way when phase 1 ends; its client has its answer all the same
    problems = re.findall(r".*\[(?:error|crit|alert|emerg)\].*", nginx.errors)
    assert [line for line in problems if copies not in line] == []
    assert len(traffic.crossed) <= 5, traffic.crossed  # of 15 kept connections that the reloads have closed
    assert traffic.reopened > 0, "no kept connection has lived through a switch"


def test_no_request_fails_while_the_gateway_is_replaced(nginx: Nginx, through: Gateway) -> None:
    """Not even a POST that goes out on a connection which nginx has kept: the gateway says so before it closes one."""
    nginx.to("4")
    with Traffic(nginx.port) as traffic:
        for _ in range(2):
            traffic.more(100)
            before = through.log.count(" reloaded\n")
            through.process.send_signal(signal.SIGHUP)
            until(lambda n=before: through.log.count(" reloaded\n") > n, 15, "the reload")
            until(lambda: len(through.workers()) == 1, 15, "the old worker's end")
        traffic.more(300)
    assert (traffic.failures, traffic.crossed) == ([], [])
    assert set(traffic.served) == {"gateway"}


# -- what the gateway and the server are told ----------------------------------------------------------


def test_the_gateway_knows_the_clients_address_whatever_the_client_says(nginx: Nginx, through: Gateway) -> None:
    """The limit of a client is its own: it is counted by its address, which it can't make up."""
    nginx.to("4")
    first = [ask(nginx.port, "127.9.9.1", "/limited", X_Forwarded_For=f"203.0.113.{n}").status for n in range(5)]
    other = ask(nginx.port, "127.9.9.2", "/limited", X_Forwarded_For="127.9.9.1")
    assert first == [200, 200, 200, 429, 429]
    assert other.status == 200
    headers = dict(other.json["headers"])
    assert headers["x-forwarded-for"].split(", ")[:2] == ["127.9.9.1", "127.9.9.2"]


def test_the_time_in_front_of_the_gateway_is_measured(nginx: Nginx, through: Gateway) -> None:
    def counted() -> float:
        page = request(through.port, "/gateway/metrics").body.decode()
        return float(re.findall(r"^gateway_queue_seconds_count (\S+)", page, re.MULTILINE)[0])

    nginx.to("4")
    before = counted()
    for _ in range(5):
        ask(nginx.port, "127.9.9.3")
    until(lambda: counted() >= before + 5, what="five more measurements")


@pytest.mark.parametrize("phase", ["rollback", "4"])
def test_paths_arrive_byte_for_byte(nginx: Nginx, phase: str) -> None:
    nginx.to(phase)
    for target in ("/a%2Fb//c/../d%20e?q=%26&r", "/regions?x=%2F", "/api/v1/jobs/j-1?a=%20"):
        entry = ask(nginx.port, "127.9.9.4", target).json
        assert f"{entry['raw_path']}?{entry['query']}" == target
        assert dict(entry["headers"]).get("x-forwarded-host") is not None


@pytest.mark.parametrize("phase", ["rollback", "4"])
def test_events_arrive_at_once(nginx: Nginx, phase: str) -> None:
    nginx.to(phase)
    with RawClient(nginx.port) as client:
        client.send(b"GET /events?n=3&every=0.3 HTTP/1.1\r\nHost: a\r\n\r\n")
        data, late = b"", []
        while data.count(b"\n\n") < 3:
            data += client.sock.recv(65536)
            late += [time.time() - float(at) for at in re.findall(rb"data: \d (\S+)\n\n", data)[len(late) :]]
    assert max(late) < 0.25, "an event waited in a buffer"


@pytest.mark.parametrize(("phase", "side"), [("rollback", "direct"), ("4", "gateway")])
def test_websockets_pass(nginx: Nginx, phase: str, side: str) -> None:
    nginx.to(phase)
    with connect(f"ws://127.0.0.1:{nginx.port}/ws/about?a=1") as websocket:
        about = json.loads(websocket.recv(5))
        websocket.send("hello")
        assert websocket.recv(5) == "hello"
        assert websocket.response is not None
        assert websocket.response.headers["x-served-by"] == side
    assert about["query"] == "a=1"


def test_no_other_protocol_is_upgraded_to(nginx: Nginx) -> None:
    nginx.to("rollback")
    answer = ask(nginx.port, "127.9.9.5", Upgrade="h2c", Connection="Upgrade, HTTP2-Settings", HTTP2_Settings="AA")
    assert answer.status == 200
    assert "upgrade" not in dict(answer.json["headers"])


# -- what is sent twice, and what is not ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/api/v1/jobs"),
        ("GET", "/api/v1/workers/w1/next-job"),
        ("GET", "/api/v1/workers/w1/%6eext-job"),
        ("DELETE", "/api/v1/jobs/j1"),
        ("GET", "/unheard-of"),
    ],
)
def test_what_may_have_been_done_is_not_sent_again(server: Uvicorn, home, method: str, target: str) -> None:
    """The gateway hangs up in the middle; nginx has the server to fall back on, and must not."""
    breaking = Breaking()
    with Nginx(home, server.port, breaking.port) as nginx:
        nginx.edit("10%  gateway;", "99%  gateway;")
        nginx.to("2")
        request(server.port, "/_reset")
        refused = ask(nginx.port, "127.9.9.6", target, method)
        assert (refused.status, refused.header("x-served-by")) == (502, "gateway-away")
        harmless = ask(nginx.port, "127.9.9.6", "/regions")
        assert (harmless.status, harmless.header("x-served-by")) == (200, "gateway-away")
    assert breaking.lines == [f"{method} {target} HTTP/1.1", "GET /regions HTTP/1.1"]
    assert [one["raw_path"] for one in request(server.port, "/_seen").json["seen"]] == ["/regions"]
    breaking.close()


def test_without_a_gateway_its_clients_are_answered_by_the_server_but_not_at_100(spare: Nginx) -> None:
    spare.edit("10%  gateway;", "99%  gateway;")
    spare.to("2")
    assert [ask(spare.port, "127.9.9.7", "/regions").status for _ in range(20)] == [200] * 20
    posts = [ask(spare.port, "127.9.9.7", "/api/v1/jobs", "POST").status for _ in range(20)]
    assert posts == [200] * 20, "the failures of harmless requests have shown that it is away"
    spare.to("4")
    answer = ask(spare.port, "127.9.9.7", "/regions")
    assert (answer.status, answer.header("x-served-by")) == (502, "gateway-away")
    spare.to("rollback")
    assert ask(spare.port, "127.9.9.7", "/regions").status == 200


# -- the shadow ----------------------------------------------------------------------------------------

HARMLESS = [
    ("GET", "/health"),
    ("GET", "/regions"),
    ("HEAD", "/regions"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/admin"),
    ("GET", "/api/v1/queue/stats?x=1"),
    ("GET", "/api/v1/jobs/stats/queue"),
    ("GET", "/api/v1/jobs/3f2a-77"),
    ("GET", "/api/v1/workers"),
    ("GET", "/api/v1/workers/w1/config"),
]
NOT_HARMLESS = [
    ("GET", "/api/v1/workers/w1/next-job"),
    ("GET", "/api/v1/workers/w1/next-job/"),
    ("GET", "/api/v1/workers/w1/next-job?config"),
    ("GET", "/api/v1/workers/w1/%6eext-job"),
    ("GET", "/api/v1/workers/w1/NEXT-JOB"),
    ("GET", "/api/v1/workers//w1/next-job"),
    ("GET", "/api/v1/jobs/../workers/w1/next-job"),
    ("GET", "/api/v1/jobs/%2e%2e%2fworkers/w1/next-job"),
    ("GET", "/regions/../api/v1/workers/w1/next-job"),
    ("GET", "/api/v1/workers/w1/next-job;/config"),
    ("GET", "/api/v1/jobs/"),
    ("GET", "//regions"),
    ("GET", "/unheard-of"),
    ("HEAD", "/api/v1/workers/w1/next-job"),
    ("POST", "/regions"),
    ("POST", "/api/v1/jobs"),
    ("POST", "/api/v1/jobs/sync?timeout=60"),
    ("PUT", "/api/v1/workers/w1/config"),
    ("DELETE", "/api/v1/jobs/3f2a-77"),
    ("OPTIONS", "/regions"),
]


def copies(server: Uvicorn) -> list[dict]:
    seen = request(server.port, "/_seen").json["seen"]
    return [one for one in seen if "via" in dict(one["headers"])]


def test_only_harmless_requests_are_copied(nginx: Nginx, server: Uvicorn) -> None:
    nginx.to("1")
    request(server.port, "/_reset")
    asked = [one for one in HARMLESS if one[1] != "/health"]  # the server keeps no record of that
    for method, target in [*NOT_HARMLESS, *asked]:
        answer = ask(nginx.port, "127.8.7.6", target, method)
        assert (answer.status, answer.header("x-served-by")) == (200, "direct")
    with_body = ask(nginx.port, "127.8.7.6", "/regions", "GET", body=b"a body")
    assert with_body.json["size"] == 6
    until(lambda: len(copies(server)) >= len(asked), what="all copies")
    last = ask(nginx.port, "127.8.7.6", "/regions?last")
    assert last.status == 200
    until(lambda: any(one["query"] == "last" for one in copies(server)), what="the last copy")
    got = [(one["method"], one["raw_path"] + (f"?{one['query']}" if one["query"] else "")) for one in copies(server)]
    assert sorted(got) == sorted([*asked, ("GET", "/regions?last")])
    for one in copies(server):
        headers = dict(one["headers"])
        assert headers["x-forwarded-for"].split(", ")[0] == "127.8.7.6"
        assert headers["x-shadow"] == "1"
        assert one["size"] == 0
        assert "127.0.0.1:3082" not in json.dumps(one)


def test_the_gateways_own_list_agrees() -> None:
    def judged(method: str, target: str) -> bool:
        return is_known_safe(SimpleNamespace(method=method.encode(), raw_path=target.partition("?")[0].encode()))  # type: ignore[arg-type]

    assert [one for one in HARMLESS if not judged(*one)] == []
    odd = ("GET", "/api/v1/workers/w1/next-job;/config")  # six parts to the gateway's list, odd to nginx's
    assert [one for one in NOT_HARMLESS if judged(*one) and one != odd] == []


def test_one_request_in_five_is_copied_as_it_comes(server: Uvicorn, through: Gateway, home) -> None:
    with Nginx(home, server.port, through.port, copied="20%") as nginx:
        nginx.to("1")
        request(server.port, "/_reset")
        client = Client(nginx.port, "127.8.7.5")
        for _ in range(500):
            client.ask("/regions")
        nginx.to("rollback")
        time.sleep(0.2)
        assert_share(len(copies(server)), 500, 0.2)
        client.close()


def test_a_gateway_that_hangs_slows_nothing_down(server: Uvicorn, home) -> None:
    """On one connection, where nginx takes the next request only when the copy of the last is done with. Every request
    is copied to a gateway that never answers, and that is given 5 s. Were production to wait for it, p99 would be 5 s.
    """
    silent = Silent()
    with Nginx(home, server.port, silent.port) as nginx:
        timed(nginx.port, 50)
        alone = timed(nginx.port, 400)
        nginx.to("1")
        timed(nginx.port, 50)
        copied = timed(nginx.port, 400)
        at = int(0.99 * 400)
        print(f"p99 {alone[at] * 1e3:.2f} ms alone, {copied[at] * 1e3:.2f} ms with copies that hang")
        assert copied[at] < 3 * alone[at] + 0.02
        assert copied[-1] < 1
    silent.close()


def test_a_gateway_that_is_not_there_slows_nothing_down(spare: Nginx) -> None:
    spare.to("1")
    assert timed(spare.port, 300)[-1] < 0.5
    spare.to("rollback")


# -- phase.sh ------------------------------------------------------------------------------------------


def state(nginx: Nginx) -> tuple[str, str]:
    """What the link points to, and what the running nginx says."""
    return nginx.phase, request(nginx.phase_port, "/phase").body.decode().strip()


def test_a_failing_comparison_stops_the_way_up(spare: Nginx) -> None:
    spare.to("1")
    done = spare.tell("2", compare="echo two answers differ; exit 1")
    assert (done.returncode, state(spare)) == (1, ("phase-1-shadow.conf", "1-shadow"))
    assert "two answers differ" in done.stdout
    assert "refused: the comparison failed" in done.stderr
    assert "--force" in done.stderr
    forced = spare.tell("2", "--force", compare="false")
    assert (forced.returncode, state(spare)) == (0, ("phase-2-10.conf", "2-10"))
    assert "WARNING" in forced.stderr
    assert "was         phase 1" in forced.stdout
    assert "way back" in forced.stdout
    assert spare.tell("3", compare="false").returncode == 1


def test_the_way_down_asks_nobody(spare: Nginx) -> None:
    assert spare.tell("4", compare="true").returncode == 0
    for phase, file in (("3", "phase-3-50.conf"), ("1", "phase-1-shadow.conf"), ("rollback", "rollback.conf")):
        done = spare.tell(phase, compare="echo asked; false")
        assert (done.returncode, spare.phase) == (0, file)
        assert "asked" not in done.stdout


def test_a_configuration_that_nginx_does_not_take_is_not_switched_to(spare: Nginx) -> None:
    spare.to("rollback")
    target = spare.home / "fastgw" / "phase-2-10.conf"
    good = target.read_text()
    target.write_text(good.replace("split_clients", "split_client"))
    done = spare.tell("2", compare="echo asked")
    assert (done.returncode, state(spare)) == (1, ("rollback.conf", "rollback"))
    assert f"{spare.home}/fastgw/phase-2-10.conf" in done.stderr or "current.conf" in done.stderr
    assert "asked" not in done.stdout
    target.write_text(good)
    assert spare.tell("status").returncode == 0


def test_a_configuration_that_does_not_include_the_phase_is_refused(spare: Nginx) -> None:
    main = spare.home / "nginx.conf"
    good = main.read_text()
    main.write_text(good.replace("include fastgw/current.conf;", f"include {spare.home}/fastgw/rollback.conf;"))
    done = spare.tell("1")
    main.write_text(good)
    assert done.returncode == 1
    assert "include fastgw/current.conf;" in done.stderr


def test_it_works_where_the_main_file_includes_a_folder_by_its_full_name(spare: Nginx) -> None:
    """As Debian's nginx.conf does; the line with the phase is in a file of that folder."""
    main, folder = spare.home / "nginx.conf", spare.home / "conf.d"
    good = main.read_text()
    folder.mkdir()
    (folder / "fastgw.conf").write_text("include fastgw/current.conf;\n")
    main.write_text(good.replace("include fastgw/current.conf;", f"include {folder}/*.conf;"))
    spare.to("1")
    assert state(spare) == ("phase-1-shadow.conf", "1-shadow")
    spare.to("rollback")
    main.write_text(good)


def test_a_switch_that_is_not_confirmed_is_taken_back(spare: Nginx) -> None:
    spare.to("rollback")
    done = spare.tell("1", NGINX_PHASE_URL=f"http://127.0.0.1:{spare.port}/phase", NGINX_TAKEN_S="1")
    assert (done.returncode, spare.phase) == (1, "rollback.conf")
    until(lambda: state(spare)[1] == "rollback", what="nginx is back")


def test_status_says_what_is_configured_and_what_runs(spare: Nginx) -> None:
    spare.to("1")
    done = spare.tell("status")
    assert done.returncode == 0
    assert re.search(r"configured +phase 1: .*\nrunning +1-shadow\n", done.stdout)
    link = spare.home / "fastgw" / "current.conf"
    link.unlink()
    link.symlink_to("phase-4-100.conf")  # by hand, and without a reload
    apart = spare.tell("status")
    assert apart.returncode == 1
    assert "does not run what is configured" in apart.stderr
    spare.to("rollback")


def test_a_reload_that_fails_leaves_the_link_as_it_was(spare: Nginx) -> None:
    spare.to("rollback")
    done = spare.tell("1", NGINX_PID=str(spare.home / "no-such.pid"))
    assert (done.returncode, state(spare)) == (1, ("rollback.conf", "rollback"))
    assert "The link is as it was" in done.stderr


def test_nginx_itself_can_be_told_instead_of_the_process(spare: Nginx) -> None:
    spare.to("rollback")
    assert spare.tell("1", NGINX_PID="").returncode == 0
    assert state(spare) == ("phase-1-shadow.conf", "1-shadow")
    spare.to("rollback")


def test_one_switch_at_a_time(spare: Nginx) -> None:
    spare.to("rollback")
    waiting = spare.home / "waiting"
    with subprocess.Popen(
        ["flock", str(spare.home / "fastgw"), "sh", "-c", f"touch {waiting}; exec cat"], stdin=-1
    ) as p:
        until(waiting.exists, what="the lock")
        done = spare.tell("1")
        assert p.stdin is not None
        p.stdin.close()
    assert (done.returncode, spare.phase) == (1, "rollback.conf")
    assert "another phase.sh" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("5",), ("2", "3"), ("--force",), ("help",)])
def test_used_wrongly_it_says_how(spare: Nginx, arguments: tuple[str, ...]) -> None:
    done = spare.tell(*arguments)
    assert done.returncode == 2
    assert "FASTGW_COMPARE" in done.stderr


def test_shellcheck_has_nothing_to_say() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed: apt install shellcheck")
    done = subprocess.run(
        ["shellcheck", str(PHASE), str(PHASE.with_name("local-nginx.sh"))],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_a_name_that_is_gone_does_not_stop_the_way_back(spare: Nginx) -> None:
    """The rollback does not read where the gateway is."""
    spare.to("1")
    file = spare.home / "fastgw" / "upstreams-gateway.conf"
    good = file.read_text()
    file.write_text(re.sub(r"server 127\.0\.0\.1:\d+", "server gateway.invalid:3000", good))
    assert spare.tell("2").returncode == 1
    assert spare.tell("rollback").returncode == 0
    file.write_text(good)


def test_the_test_clients_may_have_their_addresses() -> None:
    with socket.socket() as sock:
        sock.bind(("127.200.1.1", 0))
