"""The one reader of REDIS_URL. Pure.

    redis://[user:password@]host[:6379][/db]                                one server
    rediss://...                                                            the same under TLS
    unix://[user:password@]/path/to.sock[?db=0]                             one server on this machine
    redis+sentinel://[user:password@]host[:26379][,host...]/service[/db]    the master of that service
    redis+cluster://[user:password@]host[:6379][,host...]                   a Cluster, known by some of its nodes

User, password and path are %-encoded. User and password are those of the data servers; sentinels are asked without.
In the query of rediss:// stand the options that redis-py knows: ssl_ca_certs, ssl_certfile, ssl_keyfile (paths),
ssl_cert_reqs (none, optional, required), ssl_check_hostname. Other options of redis-py change nothing for us.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
DIRECT_SCHEMES: Final = ("redis", "rediss", "unix")
"""The schemes that name one server."""

Kind = Literal["standalone", "sentinel", "cluster"]

_REQUIREMENTS: Final = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True)
class Tls:
    """How a server's certificate is checked, and which one is shown. The files are read by context()."""

    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    cert_reqs: str = "required"
    check_hostname: bool = True

    def context(self) -> ssl.SSLContext:
        """Make the context for a connection. Raises OSError (SSLError too) if a file is missing or holds no PEM."""
        context = ssl.create_default_context(cafile=self.ca_certs)
        context.check_hostname = self.check_hostname and self.cert_reqs != "none"
        context.verify_mode = _REQUIREMENTS[self.cert_reqs]
        if self.certfile:
            context.load_cert_chain(self.certfile, self.keyfile)
        return context


@dataclass(frozen=True, slots=True)
class Address:
    """One Redis server and how to log in. socket_path: instead of host and port. str() shows no secret."""

    host: str = ""
    port: int = REDIS_PORT
    socket_path: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: Tls | None = None

    def __str__(self) -> str:
        return self.socket_path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")

    def client_options(self) -> dict[str, Any]:
        """The login, as the keyword arguments of redis-py's clients; without host, port and path."""
        tls = self.tls
        options: dict[str, Any] = {"username": self.username, "password": self.password, "db": self.db}
        if tls is None:
            return options
        return {
            **options,
            "ssl": True,
            "ssl_ca_certs": tls.ca_certs,
            "ssl_certfile": tls.certfile,
            "ssl_keyfile": tls.keyfile,
            "ssl_cert_reqs": tls.cert_reqs,
            "ssl_check_hostname": tls.check_hostname and tls.cert_reqs != "none",
        }


@dataclass(frozen=True, slots=True)
class Source:
    """What a REDIS_URL says.

    server: the server (standalone), or the login and database of the data servers, without host and port.
    nodes: the sentinels or Cluster nodes, at least one; () for standalone. service: of the sentinels, else "".
    """

    kind: Kind
    server: Address
    nodes: tuple[tuple[str, int], ...] = ()
    service: str = ""


def read(url: str, password: str | None = None, db: int | None = None) -> Source:
    """Read a REDIS_URL.

    password, db: used where the URL names none.
    Raises ValueError if it can't be read. Its text may quote a part of the password: it is not to be shown.
    """
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    segments = [unquote(text) for text in parts.path.split("/") if text]
    user = unquote(parts.username) if parts.username else None
    given = unquote(parts.password) if parts.password else password or None

    def server(**where: Any) -> Address:
        return Address(username=user, password=given, **where)

    match parts.scheme:
        case "unix":
            if not parts.path:
                raise ValueError("no path of a socket")
            return Source("standalone", server(socket_path=unquote(parts.path), db=_database([], query, db)))
        case "redis" | "rediss":
            tls = _tls(query) if parts.scheme == "rediss" else None
            where = {"host": parts.hostname or "localhost", "port": parts.port or REDIS_PORT}
            return Source("standalone", server(**where, tls=tls, db=_database(segments, query, db)))
        case "redis+sentinel":
            if not segments:
                raise ValueError("no service")
            number = _database(segments[1:], query, db)
            return Source("sentinel", server(db=number), _nodes(parts, SENTINEL_PORT), segments[0])
        case "redis+cluster":
            return Source("cluster", server(), _nodes(parts, REDIS_PORT))
    raise ValueError("an unknown scheme")


def describe(url: str) -> str:
    """Reduce a REDIS_URL to what may be shown: scheme, hosts and path, without user, password and query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "REDIS_URL"
    hosts = parts.netloc.rpartition("@")[2]
    if not parts.scheme or (not hosts and not parts.path) or "@" in parts.path:  # an unencoded "/" in a password
        return "REDIS_URL"
    return f"{parts.scheme}://{hosts}{parts.path}"


def _nodes(parts: SplitResult, default_port: int) -> tuple[tuple[str, int], ...]:
    """Split `user:password@a:1,b,[::1]:2` into hosts and ports."""
    nodes = []
    for text in parts.netloc.rpartition("@")[2].split(","):
        node = urlsplit(f"//{text.strip()}")
        if node.hostname:
            nodes.append((node.hostname, node.port or default_port))
    if not nodes:
        raise ValueError("no host")
    return tuple(nodes)


def _database(segments: list[str], query: dict[str, list[str]], default: int | None) -> int:
    """The database: `?db=` before the path, as in redis-py, before the default."""
    text = query["db"][0] if "db" in query else segments[0] if segments else None
    number = int(text) if text is not None else default or 0
    if number < 0 or len(segments) > 1:
        raise ValueError("no database")
    return number


def _tls(query: dict[str, list[str]]) -> Tls:
    def option(name: str) -> str | None:
        return query[name][0] if name in query else None

    requirement = option("ssl_cert_reqs") or "required"
    if requirement not in _REQUIREMENTS:
        raise ValueError("ssl_cert_reqs is none, optional or required")
    return Tls(
        ca_certs=option("ssl_ca_certs"),
        certfile=option("ssl_certfile"),
        keyfile=option("ssl_keyfile"),
        cert_reqs=requirement,
        check_hostname=(option("ssl_check_hostname") or "true").lower() not in {"0", "f", "false", "n", "no"},
    )
