"""The whole picture on one machine: Valkey, sample server, simulated workers, gateway; started in this order.

Everything is a child of this process, in a session of its own, and dies with it (dies_with_parent). It ends in the
reverse order: the gateway drains while its backend still answers.
"""

import asyncio
import errno
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import BinaryIO, Final

import httpx

from fastgw.demo.child import Child
from fastgw.demo.show import Show
from fastgw.demo.simulate import FLEET
from fastgw.settings.load import Loaded
from fastgw.store.embedded import EmbeddedValkey, EmbeddedValkeyError
from fastgw.store.ping import DIRECT_SCHEMES, StoreUnreachable, describe, ping

READY_TIMEOUT_S: Final = 30.0
"""Each part is up within a second or two; a slow machine compiles its modules first."""

# How long each part is given to end; together about 10 s, in practice under one.
GATEWAY_GRACE_S: Final = 4
GATEWAY_STOP_S: Final = GATEWAY_GRACE_S + 1.0
WORKERS_STOP_S: Final = 1.0
SERVER_STOP_S: Final = 3.0
VALKEY_STOP_S: Final = 1.0

MAX_GATEWAY_WORKERS: Final = 2
"""Processes, where GATEWAY_WORKERS says nothing: a demo should not fill a large machine."""

_PROBE_EVERY_S: Final = 0.1
_WATCH_EVERY_S: Final = 0.5
_REDIS_TIMEOUT_S: Final = 3.0
_PROBE_TIMEOUT_S: Final = 2.0


class DemoError(Exception):
    """The demo can't start or go on; str() is the message, with what to do."""


class _StopAsked(Exception):
    """SIGINT or SIGTERM came; everything is to end."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the gateway and the sample server listen."""

    host: str
    gateway: int
    backend: int

    @property
    def gateway_url(self) -> str:
        """Where people reach the gateway."""
        return f"http://{_name(self.host)}:{self.gateway}"

    @property
    def backend_url(self) -> str:
        """Where people reach the server, which listens on this machine only."""
        return f"http://localhost:{self.backend}"


def check_ports(ports: Ports) -> None:
    """Raise DemoError if a port can't be listened on. Asked before anything is started."""
    if ports.gateway == ports.backend:
        raise DemoError(f"Gateway and server can't both have port {ports.gateway}; choose two: --port, --backend-port.")
    for host, port, what, option in (
        ("127.0.0.1", ports.backend, "sample server", "--backend-port"),
        (ports.host, ports.gateway, "gateway", "--port"),
    ):
        # `localhost` means ::1 first to curl: somebody who listens only there would answer in our place.
        for address in (host, "::1") if _name(host) == "localhost" else (host,):
            reason = _why_not(address, port)
            if reason:
                raise DemoError(
                    f"Port {port} {reason}, and the demo's {what} needs it. Nothing was started. "
                    f"Stop what listens there, or choose another port: fastgw demo {option} {_other(port, ports)}"
                )


class Demo:
    """One run of the demo."""

    def __init__(self, ports: Ports, loaded: Loaded, show: Show, gateway_log: BinaryIO | None = None) -> None:
        self._ports = ports
        self._loaded = loaded
        self._show = show
        self._gateway_log = gateway_log
        self._valkey: EmbeddedValkey | None = None
        self._children: list[Child] = []
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Start everything, wait for SIGINT or SIGTERM, end everything.

        Returns after a signal, also one that came while starting; a second signal kills what has not ended yet.
        Raises DemoError if a part can't be started or ends by itself; everything else has been ended then.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        try:
            async with AsyncExitStack() as stack:
                redis_url, store = await self._start_store(stack)
                await self._start_server(stack)
                await self._start_workers(stack, store)
                # The gateway is the ACL user that it is everywhere else; the workers are the platform's.
                for_gateway = {**store, "REDIS_URL": self._valkey.gateway_url} if self._valkey else store
                await self._start_gateway(stack, for_gateway)
                self._show.addresses(self._ports.gateway_url, self._ports.backend_url, describe(redis_url))
                while True:
                    await self._wait(_WATCH_EVERY_S)
        except _StopAsked:
            return
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def _start_store(self, stack: AsyncExitStack) -> tuple[str, dict[str, str]]:
        """Give the address of the Redis to use, and the variables that tell it to the other parts."""
        settings = self._loaded.settings
        with self._show.step("Redis") as ready:
            if settings.redis_url:
                if not settings.redis_url.startswith(tuple(f"{scheme}://" for scheme in DIRECT_SCHEMES)):
                    raise DemoError(
                        "The demo's workers write to redis://, rediss:// or unix:// addresses only. "
                        "Leave REDIS_URL empty for an embedded Valkey."
                    )
                try:
                    await ping(settings.redis_url, settings.redis_password.get_secret_value(), _REDIS_TIMEOUT_S)
                except StoreUnreachable as error:
                    raise DemoError(f"Redis: {error}. Leave REDIS_URL empty for an embedded Valkey.") from error
                ready(f"{describe(settings.redis_url)}, the one of REDIS_URL")
                return settings.redis_url, {}
            valkey = EmbeddedValkey(stop_timeout_s=VALKEY_STOP_S, key_prefix=settings.redis_key_prefix)
            try:
                valkey.start()
            except EmbeddedValkeyError as error:
                raise DemoError(str(error)) from error
            stack.callback(self._stop_valkey, valkey)
            self._valkey = valkey
            ready(f"{valkey.url}, an embedded Valkey; nothing in it outlives the demo")
            return valkey.url, {"REDIS_URL": valkey.url, "REDIS_PASSWORD": ""}

    async def _start_server(self, stack: AsyncExitStack) -> None:
        with self._show.step("sample server") as ready:
            command = ("fastgw.demo.app", "--port", str(self._ports.backend))
            child = await self._start(stack, "sample server", command, {}, SERVER_STOP_S)

            async def answers(client: httpx.AsyncClient) -> bool:
                return (await client.get(f"{self._server}/health")).status_code == 200

            await self._until(child, answers)
            ready(f"{self._ports.backend_url}, its pages are /docs and /admin")

    async def _start_workers(self, stack: AsyncExitStack, store: Mapping[str, str]) -> None:
        with self._show.step("GPU workers") as ready:
            command = ("fastgw.demo.simulate", "--backend", self._server)
            child = await self._start(stack, "simulated workers", command, store, WORKERS_STOP_S)

            async def registered(client: httpx.AsyncClient) -> bool:
                return len((await client.get(f"{self._server}/api/v1/workers")).json()) >= len(FLEET)

            await self._until(child, registered)
            ready(f"{len(FLEET)} simulated, in {len({model.region for model in FLEET})} regions")

    async def _start_gateway(self, stack: AsyncExitStack, store: Mapping[str, str]) -> None:
        with self._show.step("gateway") as ready:
            environment = {
                **store,
                "FASTAPI_URL": self._server,
                "GATEWAY_HOST": self._ports.host,
                "GATEWAY_PORT": str(self._ports.gateway),
                "GATEWAY_TLS_CERT": "",
                "GATEWAY_TLS_KEY": "",
                "SHUTDOWN_GRACE_SECONDS": str(GATEWAY_GRACE_S),
            }
            if self._loaded.origins.get("GATEWAY_WORKERS", "default") == "default":
                workers = min(MAX_GATEWAY_WORKERS, self._loaded.settings.gateway_workers)
                environment["GATEWAY_WORKERS"] = str(workers)
            command = ("fastgw", "serve")
            child = await self._start(stack, "gateway", command, environment, GATEWAY_STOP_S, self._gateway_log)
            url = f"http://{_reachable(self._ports.host)}:{self._ports.gateway}/gateway/health"

            async def healthy(client: httpx.AsyncClient) -> bool:
                return (await client.get(url)).status_code == 200

            await self._until(child, healthy)
            ready(self._ports.gateway_url)

    @property
    def _server(self) -> str:
        return f"http://127.0.0.1:{self._ports.backend}"

    async def _start(
        self,
        stack: AsyncExitStack,
        name: str,
        command: tuple[str, ...],
        environment: Mapping[str, str],
        grace_s: float,
        log: BinaryIO | None = None,
    ) -> Child:
        child = await Child.start(name, command, {"PYTHONUNBUFFERED": "1", **environment}, log)
        self._children.append(child)
        stack.push_async_callback(self._stop_child, child, grace_s)
        return child

    async def _until(self, child: Child, is_ready: Callable[[httpx.AsyncClient], Awaitable[bool]]) -> None:
        """Probe until the part is ready. Raises DemoError when it ended, or is not within READY_TIMEOUT_S."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        async with httpx.AsyncClient(timeout=_PROBE_TIMEOUT_S, trust_env=False) as client:
            while time.monotonic() < deadline:
                try:
                    if await is_ready(client):
                        return
                except (httpx.HTTPError, ValueError):
                    pass  # not yet: refused, or half an answer
                await self._wait(_PROBE_EVERY_S)
        raise DemoError(f"{child.name} is not ready after {READY_TIMEOUT_S:g} s. Its last lines:\n{child.tail()}")

    async def _wait(self, seconds: float) -> None:
        """Sleep, unless a signal comes (_StopAsked) or a part ends (DemoError)."""
        stop = asyncio.create_task(self._stop.wait())
        try:
            ends = {child.ended for child in self._children}
            await asyncio.wait({stop, *ends}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        if self._stop.is_set():
            raise _StopAsked
        for child in self._children:
            if child.ended.done():
                raise DemoError(f"The {await child.obituary()}\nThe demo ends, as it is not whole any more.")
        if self._valkey is not None and not self._valkey.running:
            raise DemoError(f"The embedded Valkey ended by itself. Its last lines:\n{self._valkey.log_tail()}")

    def _on_signal(self) -> None:
        if self._stop.is_set():
            for child in self._children:
                child.kill()
        self._stop.set()

    async def _stop_child(self, child: Child, grace_s: float) -> None:
        if not child.ended.done():
            self._show.note(f"stopping: {child.name}")
        if not await child.stop(grace_s):
            self._show.note(f"{child.name} did not end within {grace_s:g} s and was killed")

    def _stop_valkey(self, valkey: EmbeddedValkey) -> None:
        self._show.note("stopping: embedded Valkey")
        valkey.stop()


def _why_not(address: str, port: int) -> str | None:
    """Why can't this port be listened on? None if it can, or if the machine has no such address family."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As servers do: a port in TIME_WAIT is free. Not SO_REUSEPORT: a second gateway would share it unseen.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "is taken"
        if error.errno == errno.EACCES:
            return "is for privileged users only"
        if family == socket.AF_INET6:
            return None
        return f"can't be listened on at {address} ({error.strerror})"
    return None


def _other(port: int, ports: Ports) -> int:
    """Suggest a port nearby that is not the other part's."""
    return next(other for other in range(port + 1, port + 3) if other not in (ports.gateway, ports.backend)) % 65536


def _name(host: str) -> str:
    """What to call a listen address in a URL."""
    if host in ("127.0.0.1", "0.0.0.0", "::", "::1", "localhost"):
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _reachable(host: str) -> str:
    """Where to ask a gateway that listens on this address."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, _name(host) if ":" in host else host)
