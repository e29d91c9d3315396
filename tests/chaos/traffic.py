"""Clients of all kinds, each a thread: they ask again and again, and note what they were given."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

PATIENCE_S = 15.0
"""Of a client with one answer: longer than the gateway may take."""

KEYED_PATIENCE_S = 60.0
"""Of a client that asks again with the same key."""

SAFE = ("/api/v1/jobs/stats/queue", "/api/v1/jobs/0815", "/api/v1/queue/stats")

Connection = http.client.HTTPConnection


class Traffic:
    """A mix of clients. Between `with` and its end they run."""

    def __init__(self, port: int, *, safe: int = 4, plain: int = 2, keyed: int = 2, streams: int = 2) -> None:
        self._port = port
        self._stop = threading.Event()
        self.safe = Counter[Any]()
        """Answers to safe requests, by status; "why" for what is none."""
        self.safe_failures: list[str] = []
        self.slowest_safe_s = 0.0
        self.plain: dict[str, Any] = {}
        """Submissions without a key: client id -> status, or why there is none. Sent once by the client."""
        self.keyed: dict[str, Any] = {}
        """Submissions with a key: client id -> "done", "unknown" or "given up"."""
        self.streams = Counter[str]()
        self.attempts = Counter[str]()
        kinds = [(self._safe, safe), (self._plain, plain), (self._keyed, keyed), (self._streams, streams)]
        self._threads = [
            threading.Thread(target=self._run, args=(ask,), daemon=True) for ask, count in kinds for _ in range(count)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(KEYED_PATIENCE_S + 10)
        assert not any(thread.is_alive() for thread in self._threads), "a client waits without an end"

    def _run(self, ask: Callable[[Connection, int], None]) -> None:
        connection = Connection("127.0.0.1", self._port, timeout=PATIENCE_S)
        for number in itertools.count():
            if self._stop.is_set():
                break
            ask(connection, number)
        connection.close()

    def _ask(
        self, connection: Connection, method: str, path: str, body: bytes | None = None, key: str = ""
    ) -> tuple[Any, bytes]:
        """Status and body, or why there is no answer and b""."""
        try:
            connection.request(method, path, body, {"Idempotency-Key": f'"{key}"'} if key else {})
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return repr(error), b""
        self.attempts[response.getheader("X-Gateway-Attempts", "none")] += 1
        return response.status, content

    def _safe(self, connection: Connection, number: int) -> None:
        path = SAFE[number % len(SAFE)]
        begun = time.monotonic()
        status, content = self._ask(connection, "GET", path)
        took_s = time.monotonic() - begun
        self.slowest_safe_s = max(self.slowest_safe_s, took_s)
        self.safe[status] += 1
        if status != 200 or json.loads(content)["path"] != path:
            self.safe_failures.append(f"{status} after {took_s:.2f} s: {content[:200]!r}")
        time.sleep(0.01)

    def _plain(self, connection: Connection, number: int) -> None:
        client_id = uuid.uuid4().hex
        self.plain[client_id], _ = self._ask(connection, "POST", "/api/v1/jobs", job(client_id))
        time.sleep(0.02)

    def _keyed(self, connection: Connection, number: int) -> None:
        """One submission, sent with its key until it is answered or its fate is said to be unknown."""
        client_id = uuid.uuid4().hex
        deadline = time.monotonic() + KEYED_PATIENCE_S
        self.keyed[client_id] = "given up"
        while time.monotonic() < deadline:
            status, content = self._ask(connection, "POST", "/api/v1/jobs", job(client_id), key=client_id)
            code = json.loads(content).get("error", {}).get("code") if isinstance(status, int) else None
            if status == 200:
                self.keyed[client_id] = "done"
                break
            if code == "IDEMPOTENCY_OUTCOME_UNKNOWN":
                self.keyed[client_id] = "unknown"
                break
            time.sleep(0.2)
        time.sleep(0.02)

    def _streams(self, connection: Connection, number: int) -> None:
        status, content = self._ask(connection, "GET", f"/api/v1/jobs/{number}/events")
        whole = status == 200 and content.count(b"data: ") == 8
        self.streams["whole" if whole else "broken off" if status == 200 else str(status)] += 1


def job(client_id: str) -> bytes:
    return json.dumps({"type": "llm", "params": {"prompt": "x" * 200}, "client_id": client_id}).encode()
