"""The sample server keeps the platform's API: a real uvicorn, asked over real sockets."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DEMO = {"X-Worker-Token": "demo-worker-token"}
GPU = {"name": "Test GPU", "memory_total_mb": 24576}


class Server:
    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "fastgw.demo.app", "--port", str(self.port)]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                httpx.get(f"{self.url}/health", trust_env=False)
                return
            except httpx.TransportError:
                time.sleep(0.05)
        pytest.fail(f"the sample server did not come up: {self.stop()}")

    def stop(self) -> str:
        self.process.terminate()
        errors = self.process.communicate(timeout=10)[1]
        assert self.process.returncode in (0, -15)
        return errors


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    assert running.stop() == "", "the server complained"


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10, trust_env=False) as http:
        yield http


class Worker:
    def __init__(self, client: httpx.Client, region: str) -> None:
        self.client = client
        answer = client.post("/api/v1/workers/register", json={"region": region, "gpu": GPU}, headers=DEMO)
        assert answer.status_code == 201
        self.id, token = answer.json()["worker_id"], answer.json()["token"]
        self.headers = {"X-Worker-Token": token}
        self.path = f"/api/v1/workers/{self.id}"

    def next_job(self) -> Any:
        answer = self.client.get(f"{self.path}/next-job", headers=self.headers)
        assert answer.status_code in (200, 204)
        return answer.json() if answer.status_code == 200 else None

    def complete(self, job_id: str, **outcome: Any) -> httpx.Response:
        return self.client.post(f"{self.path}/jobs/{job_id}/complete", json=outcome, headers=self.headers)

    def beat(self, **facts: Any) -> None:
        assert self.client.post(f"{self.path}/heartbeat", json=facts, headers=self.headers).status_code == 200

    def leave(self) -> None:
        self.beat(status="offline")


@pytest.fixture
def region() -> str:
    """One of the test's own: its jobs and workers meet nobody else's."""
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def worker(client: httpx.Client, region: str) -> Iterator[Worker]:
    registered = Worker(client, region)
    yield registered
    registered.leave()


def submit(client: httpx.Client, region: str, **fields: Any) -> Any:
    body = {"type": "llm", "params": {"prompt": "hi"}, "region": region, "allow_cross_region": False, **fields}
    answer = client.post("/api/v1/jobs", json=body)
    assert answer.status_code == 201
    return answer.json()


def test_a_job_goes_from_queued_to_running_to_completed(client: httpx.Client, region: str, worker: Worker) -> None:
    receipt = submit(client, region)
    assert receipt["status"] == "queued"
    assert receipt["queue_position"] >= 1
    assert receipt["estimated_wait_seconds"] >= 0
    assert receipt["created_at"].endswith("+00:00")
    job_id = receipt["job_id"]

    job = worker.next_job()
    assert (job["job_id"], job["params"]) == (job_id, {"prompt": "hi"})
    assert client.get(f"/api/v1/jobs/{job_id}").json()["status"] == "running"
    worker.beat(status="busy", current_job_id=job_id, progress=40)
    assert client.get(f"/api/v1/jobs/{job_id}").json()["progress"] == 40

    assert worker.complete(job_id, result={"text": "done"}).json() == {"job_id": job_id, "status": "completed"}
    facts = client.get(f"/api/v1/jobs/{job_id}").json()
    assert (facts["status"], facts["result"], facts["progress"]) == ("completed", {"text": "done"}, 100)
    assert worker.complete(job_id).status_code == 409


def test_each_job_is_handed_out_exactly_once(server: Server, client: httpx.Client, region: str) -> None:
    wanted = {submit(client, region)["job_id"] for _ in range(20)}
    got: list[str] = []

    def ask() -> None:
        with httpx.Client(base_url=server.url, trust_env=False) as http:
            worker = Worker(http, region)
            while (job := worker.next_job()) is not None:
                got.append(job["job_id"])
            worker.leave()

    askers = [threading.Thread(target=ask) for _ in range(5)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(got) == 20
    assert set(got) == wanted


def test_urgent_jobs_run_first_and_only_where_they_may(client: httpx.Client, region: str, worker: Worker) -> None:
    late = submit(client, region, priority=1)["job_id"]
    soon = submit(client, region, priority=9)["job_id"]
    elsewhere = submit(client, f"{region}-x")["job_id"]
    assert [worker.next_job()["job_id"], worker.next_job()["job_id"], worker.next_job()] == [soon, late, None]
    assert client.delete(f"/api/v1/jobs/{elsewhere}").json()["status"] == "cancelled"
    assert client.delete(f"/api/v1/jobs/{elsewhere}").status_code == 409


def test_a_cancelled_job_is_not_handed_out(client: httpx.Client, region: str, worker: Worker) -> None:
    job_id = submit(client, region)["job_id"]
    assert client.delete(f"/api/v1/jobs/{job_id}").status_code == 200
    assert worker.next_job() is None


def test_a_job_fails_by_its_worker_or_by_its_timeout(client: httpx.Client, region: str, worker: Worker) -> None:
    broken = submit(client, region)["job_id"]
    worker.next_job()
    assert worker.complete(broken, error="out of memory").json()["status"] == "failed"
    slow = submit(client, region, timeout_seconds=1)["job_id"]
    worker.next_job()
    with client.stream("GET", f"/api/v1/jobs/{slow}/events") as stream:
        assert list(stream.iter_lines()), "the stream ends with the job"
    facts = client.get(f"/api/v1/jobs/{slow}").json()
    assert (facts["status"], facts["error"]) == ("failed", "not done within 1 s")


def test_another_workers_job_can_not_be_completed(client: httpx.Client, region: str, worker: Worker) -> None:
    job_id = submit(client, region)["job_id"]
    worker.next_job()
    other = Worker(client, region)
    assert other.complete(job_id, result={}).status_code == 403
    other.leave()


def test_sync_waits_for_the_result(server: Server, client: httpx.Client, region: str, worker: Worker) -> None:
    answers: list[httpx.Response] = []

    def ask() -> None:
        body = {"type": "llm", "region": region, "allow_cross_region": False}
        answers.append(httpx.post(f"{server.url}/api/v1/jobs/sync?timeout=10", json=body, trust_env=False))

    asker = threading.Thread(target=ask)
    asker.start()
    while (job := worker.next_job()) is None:
        time.sleep(0.01)
    worker.complete(job["job_id"], result={"text": "here"})
    asker.join()
    assert (answers[0].status_code, answers[0].json()["result"]) == (200, {"text": "here"})


def test_sync_gives_up_after_its_timeout(client: httpx.Client, region: str) -> None:
    body = {"type": "llm", "region": region, "allow_cross_region": False}
    answer = client.post("/api/v1/jobs/sync?timeout=0.2", json=body)
    assert answer.status_code == 408
    assert "was not done within 0.2 s" in answer.json()["detail"]


def test_sync_of_a_client_that_leaves_is_cancelled(server: Server, client: httpx.Client, region: str) -> None:
    body = json.dumps({"type": "llm", "region": region, "allow_cross_region": False}).encode()
    head = (
        f"POST /api/v1/jobs/sync HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )

    def states() -> list[str]:
        newest = client.get("/api/v1/jobs").json()["jobs"]
        return [job["status"] for job in newest if job["region"] == region]

    with socket.create_connection(("127.0.0.1", server.port)) as leaver:
        leaver.sendall(head.encode() + b"\r\n\r\n" + body)
        while states() != ["queued"]:
            time.sleep(0.01)
    while states() != ["cancelled"]:
        time.sleep(0.01)


def test_statistics_stand_still_while_nothing_happens(client: httpx.Client, region: str, worker: Worker) -> None:
    for path in ("/api/v1/queue/stats", "/api/v1/jobs/stats/queue"):
        worker.beat(status="idle")
        before = client.get(path).content
        worker.beat(status="idle")
        time.sleep(0.1)
        assert client.get(path).content == before
    stats = client.get("/api/v1/queue/stats").json()
    assert stats["workers_by_region"][region] == 1
    job_id = submit(client, region)["job_id"]
    by_kind = client.get("/api/v1/jobs/stats/queue").json()
    assert (by_kind["queued"], by_kind["queued_by_region"][region]) == (stats["queued"] + 1, 1)
    client.delete(f"/api/v1/jobs/{job_id}")


def test_workers_need_a_token(client: httpx.Client, region: str, worker: Worker) -> None:
    other = Worker(client, region)
    for headers in ({}, {"X-Worker-Token": "wrong"}, other.headers):
        answer = client.get(f"{worker.path}/next-job", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    bearer = {"Authorization": f"Bearer {worker.headers['X-Worker-Token']}"}
    assert client.get(f"{worker.path}/next-job", headers=bearer).status_code == 204
    assert client.get(f"{worker.path}/next-job", headers=DEMO).status_code == 204
    assert client.get("/api/v1/workers/nobody/next-job", headers=DEMO).status_code == 404
    other.leave()


def test_a_wrong_token_is_verified_with_200_and_false(client: httpx.Client, worker: Worker) -> None:
    path = f"{worker.path}/verify"
    for headers, valid in ((worker.headers, True), (DEMO, True), ({"X-Worker-Token": "wrong"}, False), ({}, False)):
        answer = client.post(path, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"valid": valid})
    assert client.post(path, json={"token": "demo-worker-token"}).json() == {"valid": True}


def test_tokens_are_hashed_as_the_guide_says() -> None:
    from fastgw.demo.crew import DEMO_TOKEN_HASH

    text = "demo-worker-token" + "distributed-gpu-inference-v1"
    assert hashlib.sha256(text.encode()).hexdigest() == DEMO_TOKEN_HASH


def test_the_guides_step_3(client: httpx.Client) -> None:
    assert client.get("/api/v1/jobs", headers=DEMO).status_code == 200
    assert client.get("/api/v1/jobs", headers={"X-Worker-Token": "wrong"}).status_code == 401


def test_the_list_of_workers_is_a_bare_array(client: httpx.Client, region: str, worker: Worker) -> None:
    found = client.get("/api/v1/workers").json()
    assert isinstance(found, list)
    facts = next(entry for entry in found if entry["worker_id"] == worker.id)
    assert (facts["region"], facts["status"], facts["gpu"]["name"]) == (region, "idle", "Test GPU")


def test_a_workers_config_is_read_and_replaced(client: httpx.Client, region: str, worker: Worker) -> None:
    path = f"{worker.path}/config"
    before = client.get(path, headers=worker.headers).json()
    answer = client.put(path, json={"paused": True}, headers=worker.headers)
    assert answer.json()["version"] == before["version"] + 1
    assert client.get(path, headers=worker.headers).json()["config"]["paused"] is True
    job_id = submit(client, region)["job_id"]
    assert worker.next_job() is None
    client.delete(f"/api/v1/jobs/{job_id}")


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "type"), ({"type": "llm", "priority": 11}, "priority"), ({"type": "llm", "region": "NO"}, "region")],
)
def test_bad_submissions_are_422_and_named(client: httpx.Client, body: dict[str, Any], field: str) -> None:
    answer = client.post("/api/v1/jobs", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", field]


def test_the_other_pages(client: httpx.Client) -> None:
    assert client.get("/health").json()["status"] == "healthy"
    assert "asia-east" in {entry["code"] for entry in client.get("/regions").json()}
    assert client.get("/admin").headers["content-type"].startswith("text/html")
    assert "swagger" in client.get("/docs").text.lower()
    assert client.get("/api/v1/jobs/nothing").json() == {"detail": "Job nothing not found"}


def events_of(stream: httpx.Response) -> Iterator[dict[str, Any]]:
    assert stream.headers["content-type"].startswith("text/event-stream")
    for line in stream.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_events_of_a_job_arrive_as_they_happen(client: httpx.Client, region: str, worker: Worker) -> None:
    job_id = submit(client, region)["job_id"]
    with client.stream("GET", f"/api/v1/jobs/{job_id}/events") as stream:
        events = events_of(stream)
        assert next(events)["status"] == "queued"
        worker.next_job()
        assert next(events)["status"] == "running"
        worker.beat(status="busy", current_job_id=job_id, progress=50)
        assert next(events)["progress"] == 50
        worker.complete(job_id, result={})
        assert [event["status"] for event in events] == ["completed"]


def test_events_of_all_jobs(client: httpx.Client, region: str) -> None:
    with client.stream("GET", "/api/v1/events") as stream:
        lines = stream.iter_lines()
        assert next(lines) == ": open"
        job_id = submit(client, region)["job_id"]
        client.delete(f"/api/v1/jobs/{job_id}")
        seen: list[str] = []
        for line in lines:
            if line.startswith("data: ") and (facts := json.loads(line[6:]))["job_id"] == job_id:
                seen.append(facts["status"])
            if len(seen) == 2:
                break
        assert seen == ["queued", "cancelled"]


def test_echo_gives_back_text_and_bytes(server: Server) -> None:
    address = f"ws://127.0.0.1:{server.port}/ws/echo"
    with connect(address, subprotocols=["other", "echo.v1"], proxy=None) as ws:  # type: ignore[list-item]
        assert ws.subprotocol == "echo.v1"
        for message in ("text ✓", b"\x00\xff", "", "x" * 70_000, "close:99"):
            ws.send(message)
            assert ws.recv(timeout=5) == message
        ws.send("close:4001:enough")
        with pytest.raises(ConnectionClosed):
            ws.recv(timeout=5)
        assert (ws.close_code, ws.close_reason) == (4001, "enough")


def test_a_job_watched_by_websocket(server: Server, client: httpx.Client, region: str, worker: Worker) -> None:
    job_id = submit(client, region)["job_id"]
    with connect(f"ws://127.0.0.1:{server.port}/ws/jobs/{job_id}", proxy=None) as ws:
        assert json.loads(ws.recv(timeout=5))["status"] == "queued"
        worker.next_job()
        worker.complete(job_id, result={})
        assert [json.loads(message)["status"] for message in ws] == ["running", "completed"]
        assert ws.close_code == 1000
    with connect(f"ws://127.0.0.1:{server.port}/ws/jobs/nothing", proxy=None) as ws:
        with pytest.raises(ConnectionClosed):
            ws.recv(timeout=5)
        assert ws.close_code == 4404


def test_open_streams_do_not_hold_up_the_end() -> None:
    server = Server()
    start = time.monotonic()
    with (
        httpx.Client(base_url=server.url, timeout=10, trust_env=False) as client,
        client.stream("GET", "/api/v1/events") as stream,
        connect(f"ws://127.0.0.1:{server.port}/ws/echo", proxy=None),
    ):
        lines = stream.iter_lines()
        next(lines)
        start = time.monotonic()
        server.process.terminate()
        assert list(lines) == [""], "the stream ends as a whole"
    assert server.stop() == ""
    assert time.monotonic() - start < 2
