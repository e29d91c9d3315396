"""Real Valkey servers for tests: one, three under Sentinel, a Cluster of three. All end with pytest.

A gateway under test uses `url`: the user `fastgw` with the rules of deploy/redis/fastgw.acl. `admin` is the default
user, who may do all: tests look and write with it, and so do the GPU workers that they play.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from redis import Redis, RedisCluster, RedisError
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from fastgw.store.acl import PASSWORD_TO_CHANGE, USER
from fastgw.store.embedded import dies_with_parent, find_binary
from fastgw.store.slots import SLOTS, slot_of
from tests.support.ports import free_pair
from tests.support.valkey_monitor import Monitor
from tests.support.wait import until

ACL_FILE: Final = Path(__file__).parents[2] / "deploy/redis/fastgw.acl"
PASSWORD: Final = "a-password-of-tests"
SERVICE: Final = "main"
START_S: Final = 10.0


class Valkey:
    """One server, empty, nothing on disk but its log; started by `with` or start()."""

    def __init__(self, *arguments: str, port: int = 0) -> None:
        """arguments: more options of the server, as `--name`, value; port: default a free one."""
        self.port = port or free_pair()
        self.url = f"redis://{USER}:{PASSWORD}@127.0.0.1:{self.port}"
        self.admin = admin_client(self.port)
        self.directory = Path(tempfile.mkdtemp(prefix="fastgw-test-valkey-"))
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._changed: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Valkey :{self.port} {'up' if self.is_up else 'down'}>"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was not started"
        return self._process.pid

    @property
    def is_up(self) -> bool:
        """Does the process live? A frozen one does."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def start(self, *more: str) -> Self:
        """Start it and wait until it answers. more: options for this time."""
        assert not self.is_up, f"{self!r} runs already"
        self._process = self._spawn(more)
        until(lambda: answers(self.port) or not self.is_up, START_S, f"the start of {self!r}")
        assert self.is_up, self.log
        return self

    def stop(self) -> None:
        """End it in order: clients see their connections closed, then refused."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._end(signal.SIGKILL)

    def restart(self, *more: str) -> None:
        """Same port, empty: no keys, no scripts, its options as at first."""
        self.kill()
        self._changed.clear()
        self.start(*more)

    def freeze(self) -> None:
        """Let it hang: connections stand (the kernel even takes new ones), nothing is answered. See thaw()."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def flush(self) -> None:
        """No keys in any database; scripts stay."""
        self.admin.flushall()

    def config(self, **options: str | int) -> None:
        """CONFIG SET (`maxmemory_policy="noeviction"`), until reset() or restart()."""
        for name, value in options.items():
            option = name.replace("_", "-")
            self._changed.setdefault(option, self.admin.config_get(option)[option])
            self.admin.config_set(option, value)

    def reset(self) -> None:
        """As it was after start(), whatever a test did, but clients and scripts stay."""
        if not self.is_up:
            self.restart()
        self.thaw()
        for option, value in self._changed.items():
            self.admin.config_set(option, value)
        self._changed.clear()
        self.admin.execute_command("ACL LOG", "RESET")
        self.flush()

    def monitor(self) -> Monitor:
        """`with server.monitor() as seen: ...`, then look at seen.calls."""
        return Monitor(self.port, self.admin)

    def info(self, name: str) -> str:
        """One field of INFO, as text; "" if it is not there."""
        return str(self.admin.info("everything").get(name, ""))

    def close(self) -> None:
        """End it and leave nothing."""
        self.kill()
        self.admin.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self.pid, number)
            os.kill(self.pid, signal.SIGCONT)  # a frozen one would not hear of SIGTERM
            self._process.wait(START_S)

    def _command(self) -> list[str]:
        users = self.directory / "users.acl"
        rules = ACL_FILE.read_text().replace(PASSWORD_TO_CHANGE, PASSWORD)
        users.write_text(f"user default on nopass ~* &* +@all\n{rules}")
        options = {"save": "", "appendonly": "no", "aclfile": str(users), "enable-debug-command": "yes"}
        return [text for name, value in options.items() for text in (f"--{name}", value)]

    def _spawn(self, more: tuple[str, ...]) -> subprocess.Popen[bytes]:
        command = [str(find_binary()), *self._command(), "--port", str(self.port), "--bind", "127.0.0.1"]
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                [*command, "--dir", str(self.directory), *self._arguments, *more],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=dies_with_parent(signal.SIGKILL),  # noqa: PLW1509 -- runs prctl only; a frozen one would not hear of SIGTERM
            )


def admin_client(port: int) -> Redis:
    """A client of the default user. It tries again once, since a server may have been restarted."""
    retry = Retry(ConstantBackoff(0.01), 2)
    return Redis(port=port, socket_timeout=5, retry=retry, protocol=2)


def answers(port: int) -> bool:
    """Is the server there, and past loading?"""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as client:
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False


class Configured(Valkey):
    """One server that begins with a configuration file, and with no users but those of the file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def _command(self) -> list[str]:
        return [str(self._path), "--save", ""]


class Sentinel(Valkey):
    """One watcher. Its configuration is a file that it rewrites itself."""

    def __init__(self, port: int, text: str) -> None:
        super().__init__(port=port)
        self.path = self.directory / "sentinel.conf"
        self.path.write_text(text)

    def _command(self) -> list[str]:
        return [str(self.path), "--sentinel"]


class SentinelSet:
    """One master, replicas, and three sentinels of which two decide. A dead master is replaced in about a second."""

    DOWN_MS: Final = 500
    FAILOVER_MS: Final = 3000

    PERIODS: Final = {"info-period": 100, "ping-period": 100, "ask-period": 100, "publish-period": 500}
    """Milliseconds, instead of seconds. Four publish-periods must be well over the second in which the leader sees that
    a replica was promoted: after them the others take a second master for an error and undo it."""

    def __init__(self, replicas: int = 2) -> None:
        self.servers = [Valkey("--repl-diskless-sync-delay", "0") for _ in range(1 + replicas)]
        self._ports = [free_pair() for _ in range(3)]
        self._ids = [f"{number:040x}" for number in range(1, 4)]
        self.sentinels = [Sentinel(port, self._configuration(port)) for port in self._ports]
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        self.url = f"redis+sentinel://{USER}:{PASSWORD}@{hosts}/{SERVICE}"
        self.was_touched = False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> Self:
        """Start all and wait until the sentinels agree. About a second."""
        first, *others = self.servers
        first.start()
        for replica in others:
            replica.start("--replicaof", f"127.0.0.1 {first.port}")
        until(lambda: all(r.info("master_link_status") == "up" for r in others), START_S, "replication")
        for sentinel in self.sentinels:
            sentinel.start()
            for period, milliseconds in self.PERIODS.items():
                sentinel.admin.execute_command("SENTINEL DEBUG", period, milliseconds)
        until(self._is_complete, START_S, "the sentinels' agreement")
        return self

    def close(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.close()

    def master(self) -> Valkey:
        """The server that the sentinels name now."""
        port = self._master_port(self.sentinels[0])
        return next(server for server in self.servers if server.port == port)

    @property
    def admin(self) -> Redis:
        """The default user's client of the present master."""
        return self.master().admin

    def flush(self) -> None:
        self.master().flush()

    def kill_master(self) -> Valkey:
        """Kill it; returns the dead one at once. See wait_for_another()."""
        return self._break(Valkey.kill)

    def freeze_master(self) -> Valkey:
        """Let it hang; returns it at once. The sentinels take it for dead; thaw() it, and it comes back as replica."""
        return self._break(Valkey.freeze)

    def failover(self) -> Valkey:
        """A planned change of master, with both alive; returns the new one when the old one is a replica."""
        self.was_touched = True
        old = self.master()
        self.sentinels[0].admin.execute_command("SENTINEL", "FAILOVER", SERVICE)
        new = self.wait_for_another(old)
        until(lambda: old.info("role") == "slave", START_S, f"{old!r} is a replica")
        return new

    def wait_for_another(self, old: Valkey, seconds: float = 60.0) -> Valkey:
        """Wait until all sentinels name one other master, and it is one; returns it."""

        def found() -> Valkey | None:
            ports = {self._master_port(sentinel) for sentinel in self.sentinels}
            new = self.master()
            is_one = len(ports) == 1 and new is not old and new.info("role") == "master"
            return new if is_one else None

        new = until(found, seconds, f"another master than {old!r}")
        assert new is not None
        return new

    def _break(self, how: object) -> Valkey:
        self.was_touched = True
        old = self.master()
        how(old)  # type: ignore[operator]
        return old

    def _master_port(self, sentinel: Valkey) -> int:
        return int(sentinel.admin.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def _is_complete(self) -> bool:
        def facts(sentinel: Sentinel) -> tuple[int, int]:
            state = sentinel.admin.sentinel_master(SERVICE)
            return state["num-slaves"], state["num-other-sentinels"]

        return all(facts(sentinel) == (len(self.servers) - 1, 2) for sentinel in self.sentinels)

    def _configuration(self, port: int) -> str:
        """They know each other from the start: finding out by themselves would take seconds."""
        own = self._ports.index(port)
        lines = [
            f"sentinel myid {self._ids[own]}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.servers[0].port} 2",
            f"sentinel down-after-milliseconds {SERVICE} {self.DOWN_MS}",
            f"sentinel failover-timeout {SERVICE} {self.FAILOVER_MS}",
            *(
                f"sentinel known-sentinel {SERVICE} 127.0.0.1 {other} {name}"
                for other, name in zip(self._ports, self._ids, strict=True)
                if other != port
            ),
        ]
        return "\n".join(lines) + "\n"


class Cluster:
    """Three masters, each with a third of the slots, no replicas. It takes two seconds to start: servers wait that long
    before they take writes."""

    def __init__(self, masters: int = 3) -> None:
        self.nodes = [self._node() for _ in range(masters)]
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        self.url = f"redis+cluster://{USER}:{PASSWORD}@{hosts}"
        self.moved: dict[int, Valkey] = {}
        """Slots that are not where start() put them."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> Self:
        bounds = [SLOTS * number // len(self.nodes) for number in range(len(self.nodes) + 1)]
        for number, node in enumerate(self.nodes):
            node.start()
            node.admin.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.admin.execute_command("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
        self._ids = {node.port: node.admin.execute_command("CLUSTER", "MYID").decode() for node in self.nodes}
        for node in self.nodes:
            for other in self.nodes:
                if other is not node:
                    bus = other.port + 1
                    node.admin.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port, bus)
        until(lambda: all(map(self._is_ok, self.nodes)), START_S, "cluster_state:ok")
        self.admin = RedisCluster(port=self.nodes[0].port, host="127.0.0.1", socket_timeout=5, protocol=2)
        return self

    def close(self) -> None:
        if hasattr(self, "admin"):
            self.admin.close()
        for node in self.nodes:
            node.close()

    stop = close

    def flush(self) -> None:
        for node in self.nodes:
            node.flush()

    def reset(self) -> None:
        """Slots where start() put them, no keys, nobody frozen or dead."""
        assert all(node.is_up for node in self.nodes), "a killed node has lost its part: make a new Cluster"
        for node in self.nodes:
            node.reset()
        for slot, home in dict(self.moved).items():
            self.move_slot(slot, home)

    def node_of(self, key: bytes | str) -> Valkey:
        """The master of a key's slot."""
        return self._owner(slot_of(key.encode() if isinstance(key, str) else key))

    def other_than(self, node: Valkey) -> Valkey:
        """The next node, for moves."""
        return self.nodes[(self.nodes.index(node) + 1) % len(self.nodes)]

    def move_slot(self, slot: int, to: Valkey) -> None:
        """Move a slot with all its keys to another master, as operators do, and tell all nodes."""
        if self._owner(slot) is to:
            return
        with self.moving_slot(slot, to):
            pass

    @contextlib.contextmanager
    def moving_slot(self, slot: int, to: Valkey, move_keys: bool = True) -> Iterator[None]:
        """While the block runs the slot is on its way: its keys (move_keys) have gone, calls for them get ASK."""
        home = self._owner(slot)
        to.admin.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", self._ids[home.port])
        home.admin.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", self._ids[to.port])
        if move_keys:
            self._migrate(slot, home, to)
        yield
        self._migrate(slot, home, to)
        for node in (to, home, *self.nodes):  # the new owner first, lest the slot be nobody's
            node.admin.execute_command("CLUSTER", "SETSLOT", slot, "NODE", self._ids[to.port])
        first = self.moved.setdefault(slot, home)
        if first is to:
            del self.moved[slot]

    @staticmethod
    def _migrate(slot: int, home: Valkey, to: Valkey) -> None:
        while keys := home.admin.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            home.admin.execute_command("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "REPLACE", "KEYS", *keys)

    def _owner(self, slot: int) -> Valkey:
        for node in self.nodes:
            with contextlib.suppress(RedisError):
                for first, last, (_, port, *_), *_ in node.admin.execute_command("CLUSTER", "SLOTS"):
                    if first <= slot <= last:
                        return next(one for one in self.nodes if one.port == port)
        raise AssertionError(f"slot {slot} has no master")

    def _is_ok(self, node: Valkey) -> bool:
        facts = node.admin.execute_command("CLUSTER", "INFO")
        text = facts if isinstance(facts, bytes) else repr(facts).encode()
        return b"cluster_state:ok" in text and f"cluster_known_nodes:{len(self.nodes)}".encode() in text

    @staticmethod
    def _node() -> Valkey:
        port = free_pair()
        bus = ("--cluster-port", str(port + 1))
        return Valkey("--cluster-enabled", "yes", *bus, "--cluster-node-timeout", "2000", port=port)
