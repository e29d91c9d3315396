"""A real nginx with the files of deploy/nginx, switched by deploy/phase.sh, and clients with addresses of their own."""

from __future__ import annotations

import http.client
import math
import os
import random
import select
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

from tests.support.ports import free_port
from tests.support.processes import ROOT, Running, accepts
from tests.support.raw_client import Response
from tests.support.wait import until

NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
FILES = ROOT / "deploy" / "nginx"
PHASE = ROOT / "deploy" / "phase.sh"

MAIN = """
pid {home}/nginx.pid;
worker_processes 2;
daemon off;
error_log {home}/error.log warn;
{user}
events {{ worker_connections 2048; }}
http {{
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    include fastgw/current.conf;
}}
"""


class Nginx(Running):
    """nginx in front of a server and a gateway, on a free port; it begins with `rollback`."""

    def __init__(self, home: Path, direct_port: int, gateway_port: int, *, copied: str = "100%") -> None:
        """copied: the share of harmless requests that the gateway gets a copy of in phase 1."""
        assert NGINX is not None
        self.home, self.port, self.phase_port = home, free_port(), free_port()
        shutil.copytree(FILES, home / "fastgw")
        self.edit("listen 80;", f"listen 127.0.0.1:{self.port};")
        self.edit("/var/log/nginx/", f"{home}/")
        self.edit("127.0.0.1:8000", f"127.0.0.1:{direct_port}")
        self.edit("127.0.0.1:3000", f"127.0.0.1:{gateway_port}")
        self.edit("127.0.0.1:3081", f"127.0.0.1:{self.phase_port}")
        self.edit("127.0.0.1:3082", f"127.0.0.1:{free_port()}")
        self.edit("20%  1;", f"{copied}  1;")
        user = "user root;" if os.geteuid() == 0 else ""
        (home / "nginx.conf").write_text(MAIN.format(home=home, user=user))
        (home / "fastgw" / "current.conf").symlink_to("rollback.conf")
        super().__init__([NGINX, "-p", str(home), "-c", str(home / "nginx.conf"), "-e", "stderr"])
        until(lambda: self.process.poll() is not None or accepts(self.port), 10, "nginx's start")
        assert self.process.poll() is None, self.log + self.errors

    @property
    def errors(self) -> str:
        path = self.home / "error.log"
        return path.read_text() if path.exists() else ""

    @property
    def phase(self) -> str:
        """What the link points to."""
        return str((self.home / "fastgw" / "current.conf").readlink())

    def edit(self, old: str, new: str) -> None:
        """In all files of the folder; it must be there."""
        found = False
        for path in (self.home / "fastgw").glob("*.conf"):
            if not path.is_symlink() and old in (text := path.read_text()):
                path.write_text(text.replace(old, new))
                found = True
        assert found, f"{old} is in none of the files"

    def tell(self, *arguments: str, compare: str = "true", **env: str) -> subprocess.CompletedProcess[str]:
        """Call phase.sh."""
        assert NGINX is not None
        return subprocess.run(
            [str(PHASE), *arguments],
            env={
                **os.environ,
                "NGINX": NGINX,
                "NGINX_CONF_DIR": str(self.home),
                "NGINX_PID": str(self.home / "nginx.pid"),
                "NGINX_PHASE_URL": f"http://127.0.0.1:{self.phase_port}/phase",
                "FASTGW_COMPARE": compare,
                **env,
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def to(self, phase: str) -> None:
        """Switch, which must succeed."""
        done = self.tell(phase)
        assert done.returncode == 0, done.stdout + done.stderr + self.errors


def addresses(count: int, seed: int = 7) -> list[str]:
    """Client addresses, all different, all of this machine; not 127.0.x.x, where servers and proxies are. Always the
    same ones, so that what is counted by them is the same in every run.
    """
    numbers = random.Random(seed).sample(range(1 << 16, (1 << 24) - 1), count)
    return [f"127.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in numbers]


class Client:
    """An HTTP client with an address of its own that keeps its connection, and sees before it uses it again whether the
    other side has closed it, as the pools of HTTP libraries do.
    """

    def __init__(self, port: int, address: str) -> None:
        self.address = address
        self.used = 0
        """Requests on this connection."""
        self.reopened = 0
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(address, 0))

    def ask(self, target: str = "/x", method: str = "GET", body: bytes | None = None, **headers: str) -> Response:
        sock = self._connection.sock
        if sock is not None and select.select([sock], [], [], 0)[0]:
            self._connection.close()
            self.used, self.reopened = 0, self.reopened + 1
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, target, body, fields)
        response = self._connection.getresponse()
        self.used += 1
        return Response(response.status, response.getheaders(), response.read())

    def close(self) -> None:
        self._connection.close()


def ask(port: int, address: str, target: str = "/x", method: str = "GET", **more: object) -> Response:
    """One request on a connection of its own."""
    client = Client(port, address)
    try:
        return client.ask(target, method, **more)  # type: ignore[arg-type]
    finally:
        client.close()


class Traffic:
    """Clients of many addresses that ask on and on, GET and POST. `failures`: answers that are not 200, and lost ones.

    Half of them take a new connection for each request, the others keep theirs. nginx closes connections that are idle
    when it reloads; a request may cross that on its way (RFC 9112, 9.3.1), and nobody can tell then: `crossed`.
    """

    ASKED = (
        ("GET", "/regions", None),
        ("POST", "/api/v1/jobs", b'{"type": "llm"}'),
        ("GET", "/api/v1/workers/w1/next-job", None),
    )

    def __init__(self, port: int, clients: int = 6) -> None:
        self.served: Counter[str | None] = Counter()
        self.failures: list[str] = []
        self.crossed: list[str] = []
        self.reopened = 0
        self._port, self._stop = port, threading.Event()
        kinds = [self._fresh if number % 2 else self._kept for number in range(clients)]
        self._threads = [
            threading.Thread(target=kind, args=(addresses(500, seed=number),), daemon=True)
            for number, kind in enumerate(kinds)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(15)

    def more(self, answers: int) -> None:
        """Wait for so many more."""
        wanted = self.served.total() + answers
        until(lambda: self.served.total() >= wanted or self.failures, 30, f"{answers} more answers")

    def _fresh(self, own: list[str]) -> None:
        for number in range(1 << 30):
            if self._stop.wait(0.003):
                return
            method, target, body = self.ASKED[number % 3]
            try:
                self._note(ask(self._port, own[number % len(own)], target, method, body=body), target)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{method} {target}, new connection: {error!r}")

    def _kept(self, own: list[str]) -> None:
        client = Client(self._port, own[0])
        for number in range(1 << 30):
            if self._stop.wait(0.003):
                break
            method, target, body = self.ASKED[number % 3]
            try:
                self._note(client.ask(target, method, body), target)
            except (OSError, http.client.HTTPException) as error:
                where = self.crossed if client.used else self.failures
                where.append(f"{method} {target}, connection used {client.used} times: {error!r}")
                client.close()
                client = Client(self._port, own[0])
        self.reopened += client.reopened
        client.close()

    def _note(self, answer: Response, target: str) -> None:
        self.served[answer.header("x-served-by")] += 1
        if answer.status != 200:
            self.failures.append(f"{target}: {answer.status} {answer.body[:100]!r}")


class Silent:
    """A gateway that hangs: the kernel takes connections, and nobody ever answers."""

    def __init__(self) -> None:
        self._sock = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = int(self._sock.getsockname()[1])

    def close(self) -> None:
        self._sock.close()


class Breaking:
    """A server that reads a request's head and hangs up; `heads` are the request lines that it was sent."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._sock.getsockname()[1])
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._sock.accept()
            except OSError:
                return
            with connection:
                head = connection.recv(65536)
                self.lines.append(head.partition(b"\r\n")[0].decode())

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


def assert_share(count: int, of: int, share: float, clients: int = 0) -> None:
    """Within four standard deviations of the binomial distribution: one run in 16,000 is outside by chance.

    clients: where `of` are requests of so many clients, each of which has a side; 0: `of` are the clients.
    """
    allowed = 4 * of * math.sqrt(share * (1 - share) * (1 / of + (1 / clients if clients else 0)))
    assert abs(count - of * share) <= allowed, f"{count} of {of}; expected {of * share:.0f} +- {allowed:.0f}"


def timed(port: int, requests: int, target: str = "/health") -> list[float]:
    """Seconds that each of so many requests took, on one kept connection; sorted."""
    client, taken = Client(port, "127.5.5.5"), []
    for _ in range(requests):
        begun = time.perf_counter()
        assert client.ask(target).status == 200
        taken.append(time.perf_counter() - begun)
    client.close()
    return sorted(taken)
