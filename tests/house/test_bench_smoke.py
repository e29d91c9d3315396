"""`python -m bench` measures, prints and keeps what it promises; and what it measures with can be believed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from bench.backends.static import running_static
from bench.harness import chain, proc
from bench.harness.cores import assign
from bench.harness.process import Command, StartError, free_port, running, running_peer, working_home
from bench.harness.stats import Spread, percentile, ratios, spread
from bench.harness.store import TCP, WAYS, Client, running_store
from bench.peers.fastgw import FastgwChain
from bench.peers.nginx import Nginx
from bench.peers.nginx_lua import NginxLua

pytestmark = pytest.mark.bench
REPOSITORY = Path(__file__).parents[2]
BURNED_S = 0.4
needs_nginx_lua = pytest.mark.skipif(
    NginxLua().missing() is not None, reason="needs nginx with its Lua module; .ci/run installs it"
)


def run_bench(output: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Without a verdict: one round of a second on a shared machine misses budgets; tests/pure/bench judges it."""
    command = [sys.executable, "-m", "bench", *arguments, "--no-verdict", "--output", str(output)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=90, check=False)


def test_a_short_run_prints_tables_and_keeps_json_history_and_plot(tmp_path: Path) -> None:
    done = run_bench(
        tmp_path, "forwarding_cost", "overhead_c1", "--rounds", "1", "--seconds", "1", "--against", "nginx"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for title in (
        "Forwarding one small request",
        "CPU us/request",
        "Ratios within a round",
        "overhead p50 ms",
        "budget:",
        "Verdict",
    ):
        assert title in done.stdout
    assert done.stdout.index("Read it with care") < done.stdout.index("CPU us/request"), "caveats come before figures"

    kept = json.loads((tmp_path / "latest" / "results.json").read_text())
    cost, alone = kept["questions"]["forwarding_cost"], kept["questions"]["overhead_c1"]
    measured = {"direct", "fastgw"} | ({"nginx"} if Nginx().missing() is None else set())
    assert set(cost) == set(alone) == measured
    assert kept["method"]["left_out"].keys() == {"nginx"} - measured
    for peer in measured:
        assert cost[peer]["per_second"]["median"] > 0
        assert [taken["errors"] for taken in cost[peer]["rounds"] + alone[peer]["rounds"]] == [0, 0]
    for peer in measured - {"direct"}:
        assert cost[peer]["cpu_us"]["median"] > 0
        assert alone[peer]["overhead_p50_ms"]["median"] > 0

    assert (tmp_path / "latest" / "forwarding.svg").read_text().count("fastgw") >= 1
    assert "Forwarding one small request" in (tmp_path / "latest" / "report.txt").read_text()
    page = (tmp_path / "latest" / "report.html").read_text()
    for text in ("CPU us/request", "CPU per request, us", "p50 at one connection, ms", "Read it with care"):
        assert text in page
    assert (tmp_path / "latest" / "report.png").stat().st_size > 10_000
    line = (tmp_path / "history.jsonl").read_text()
    assert json.loads(line)["questions"]["forwarding_cost"]["fastgw"]["cpu_us"]["median"] > 0
    assert str(REPOSITORY) not in line
    assert str(Path.home()) not in line
    assert json.loads(line)["machine"] == kept["machine"]
    assert kept["machine"]["id"] in run_bench(tmp_path, "--history", "overhead_c1").stdout


@needs_nginx_lua
def test_the_chain_questions_compare_fastgw_with_nginx_and_hits_with_misses(tmp_path: Path) -> None:
    done = run_bench(tmp_path, "chain_cost", "hit_cost", "--rounds", "1", "--seconds", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    for text in ("Full chain, cache miss", "Redis CPU us/request", "Misses and hits", "as a share of nginx_lua's"):
        assert text in done.stdout
    kept = json.loads((tmp_path / "latest" / "results.json").read_text())
    assert not {"fastgw_chain", "nginx_lua"} & kept["method"]["left_out"].keys()
    cost, hits = kept["questions"]["chain_cost"], kept["questions"]["hit_cost"]
    assert set(cost) == set(hits) == {"fastgw_chain", "nginx_lua"}
    for peer in cost:
        assert cost[peer]["cpu_us"]["median"] > 0
        assert cost[peer]["store_us"]["median"] > 0
        for load in ("miss_200", "hit_200", "miss_5k", "hit_5k"):
            assert [taken["errors"] for taken in hits[peer]["rounds"][load]] == [0]
        assert set(hits[peer]["hit_of_miss"]) == {"200 bytes", "5 KB"}
    assert len(kept["budgets"]) == 3
    assert (tmp_path / "latest" / "chain.svg").exists()
    assert "rounds" not in json.loads((tmp_path / "history.jsonl").read_text())["questions"]["hit_cost"]["nginx_lua"]


def test_what_redis_takes_is_measured_by_number_of_clients_and_entries(tmp_path: Path) -> None:
    done = run_bench(tmp_path, "redis_cost", "--redis-clients", "1000", "--redis-entries", "1000")
    assert done.returncode == 0, done.stdout + done.stderr
    kept = json.loads((tmp_path / "latest" / "results.json").read_text())["questions"]["redis_cost"]
    assert set(kept["clients"]) == {"1", "1000"}
    assert set(kept["entries"]) == {"10", "1000"}
    assert kept["clients"]["1000"]["cpu_us"]["limit"]["median"] > 0
    assert kept["clients"]["1000"]["bytes_each"] > 50
    assert set(kept["entries"]["1000"]["cpu_us"]) == {"copy held", "value sent"}
    assert kept["entries"]["1000"]["bytes_each"] > 5000
    assert 5 < kept["guide"]["mb"] < 20


@needs_nginx_lua
@pytest.mark.parametrize("by", WAYS)
def test_nginx_with_lua_has_the_whole_chain(by: str) -> None:
    cores = assign()
    with (
        running_static(cores.backend) as backend,
        running_store(cores.backend, by) as store,
        running_peer(NginxLua(), backend, cores.gateway, store) as nginx,
        Client(store) as redis,
    ):
        chain.check(nginx)
        assert sorted(redis.ask("SMEMBERS", "gateway:cache:keys")) == [
            b"gateway:cache:{bench /hit/200}",
            b"gateway:cache:{bench /hit/5k}",
        ]
        redis.ask("SCRIPT", "FLUSH")
        chain.check(nginx)


def test_fastgw_has_the_whole_chain() -> None:
    cores = assign()
    with (
        running_static(cores.backend) as backend,
        running_store(cores.backend, TCP) as store,
        running_peer(FastgwChain(), backend, cores.gateway, store) as gateway,
    ):
        chain.check(gateway)


def test_a_peer_without_the_chain_is_not_measured() -> None:
    with (
        running_static(assign().backend) as backend,
        pytest.raises(StartError, match="a request without a key got 200 instead of 401: it does not authenticate"),
    ):
        chain.check(backend)


def test_a_wrong_question_is_a_usage_error(tmp_path: Path) -> None:
    done = run_bench(tmp_path, "how_fast")
    assert done.returncode == 2
    assert "forwarding_cost" in done.stderr


def test_cpu_time_counts_the_whole_family_of_a_process() -> None:
    burn = f"import time\nwhile time.process_time() < {BURNED_S}: pass\n"
    parent = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn + 'print(1, flush=True); input()'!r}])"
    )
    command = [sys.executable, "-c", parent]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        with closing(process.stdin):
            process.stdout.readline()
            members = proc.family(process.pid)
            seconds = proc.cpu_ns(members) / 1e9
            assert len(members) == 2
            assert BURNED_S - 0.05 <= seconds < BURNED_S + 1.0
            assert proc.rss_bytes(members) > proc.rss_bytes(members[1:]) > 2**20


def test_a_peer_that_does_not_start_says_why_and_leaves_nothing() -> None:
    command = Command((sys.executable, "-c", "raise SystemExit('no licence found')"))
    with working_home("broken") as home:
        with (
            pytest.raises(StartError, match=r"broken ended with status 1 while starting: no licence found"),
            running("broken", command, home, 1, assign().gateway),
        ):
            pytest.fail("it cannot be running")
        assert home.exists()
    assert not home.exists()


def test_leaving_stops_every_process_of_a_peer() -> None:
    with running_static(assign().backend) as backend:
        assert backend.pid is not None
        members = proc.family(backend.pid)
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in members) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [pid for pid in members if Path(f"/proc/{pid}").exists()] == []


def test_an_interrupt_while_a_peer_is_being_stopped_is_heard_once_it_is() -> None:
    """The peer takes its SIGTERM as a request to interrupt us: the worst moment there is."""
    ending = f"os.kill({os.getpid()}, signal.SIGINT), time.sleep(0.3), os._exit(0)"
    rude = f"import os, signal, time\nsignal.signal(signal.SIGTERM, lambda *_: ({ending}))\n"
    serve = "import asyncio, bench.backends.static as s, sys\nasyncio.run(s._serve(int(sys.argv[1])))"
    port = free_port()
    command = Command((sys.executable, "-c", rude + serve, str(port)))
    pids: list[int] = []

    def start_and_leave(home: Path) -> None:
        with running("rude", command, home, port, assign().backend) as peer:
            assert peer.pid is not None
            pids.append(peer.pid)

    with working_home("rude") as home, pytest.raises(KeyboardInterrupt):
        start_and_leave(home)
    assert not Path(f"/proc/{pids[0]}").exists()
    assert not home.exists()


@pytest.mark.skipif(Nginx().missing() is not None, reason="needs nginx; .ci/run installs it")
def test_nginx_is_in_front_of_the_backend_on_its_own_core() -> None:
    cores = assign()
    with running_static(cores.backend) as backend, running_peer(Nginx(), backend, cores.gateway) as nginx:
        assert nginx.port != backend.port
        assert nginx.pid is not None
        for pid in proc.family(nginx.pid):
            status = Path(f"/proc/{pid}/status").read_text()
            assert f"Cpus_allowed_list:\t{cores.gateway}\n" in status


def test_ratios_are_taken_within_rounds() -> None:
    assert ratios([10.0, 30.0, 8.0], [20.0, 60.0, 8.0]) == Spread(median=0.5, low=0.5, high=1.0)
    assert ratios([1.0], [0.0]) is None
    assert spread([3.0, 1.0, 2.0, 4.0]) == Spread(median=2.5, low=1.0, high=4.0)


@pytest.mark.parametrize(("percent", "rank"), [(50, 50), (99, 99), (99.5, 100), (100, 100), (0, 1)])
def test_percentiles_are_nearest_rank(percent: float, rank: int) -> None:
    assert percentile([float(value) for value in range(1, 101)], percent) == rank
