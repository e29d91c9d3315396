"""Text to address: backends, Redis, other URLs, networks, the listening host, CORS origins. Pure.

The same two outcomes as in parse.py: the value, or ValueError with the problem as a phrase that quotes nothing secret.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

from fastgw.settings.parse import items, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

Network = IPv4Network | IPv6Network

MAX_WEIGHT: Final = 1000
"""Enough to give a backend a thousandth of the traffic; more would make a round of round-robin long."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_REDIS_SCHEMES: Final = ("redis", "rediss", "redis+sentinel", "redis+cluster", "unix")
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")  # Docker names services with _
_REGION: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_PASSWORD: Final = re.compile(r"//(?:([^:@/]*):)?.*@", re.DOTALL)
_QUERY_SECRET: Final = re.compile(r"([?&][^=&]*(?:pass|secret|token|key)[^=&]*=)[^&]*", re.IGNORECASE)
_HARMLESS: Final = re.compile(r"[\w+.-]+://[\w.-]+(:\d{1,5})?(/[\w./-]*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class BackendAddress:
    """Where a FastAPI server listens. scheme: "http" or "https". host: without brackets. weight: its share, from 1."""

    scheme: str
    host: str
    port: int
    region: str | None = None
    weight: int = 1

    @property
    def authority(self) -> str:
        """Give "host:port", an IPv6 address in brackets: the Host field (RFC 9110 7.2)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Give scheme://host:port."""
        return f"{self.scheme}://{self.authority}"

    def __str__(self) -> str:
        """Give the form that FASTAPI_URL has."""
        region = f";region={self.region}" if self.region else ""
        return f"{self.url}{region}" + (f";weight={self.weight}" if self.weight != 1 else "")


def backends(text: str) -> tuple[BackendAddress, ...]:
    """Read one backend or several, separated by commas, each with `;region=..` and `;weight=..` if wanted."""
    found = [_backend(item) for item in items(text)]
    if not found:
        raise ValueError("names no backend")
    if len({backend.authority for backend in found}) < len(found):
        raise ValueError("names one backend twice; give it a weight instead")
    return tuple(found)


def _backend(item: str) -> BackendAddress:
    url, *parameters = (part.strip() for part in item.split(";"))
    parts = _split(url)
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("does not begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("holds a user or password; fastgw passes on the client's credentials and has none of its own")
    if parts.path not in {"", "/"} or "?" in url or "#" in url:
        raise ValueError("holds a path or query; paths are forwarded as they come, so give scheme, host and port only")
    given = _parameters(parameters)
    region = given.get("region")
    if region is not None and not _REGION.fullmatch(region):
        raise ValueError("has a region that is no code of small letters, digits and -, such as europe-west")
    try:
        weight = whole(1, MAX_WEIGHT)(given.get("weight", "1"))
    except ValueError as error:
        raise ValueError(f"has a weight that {error}") from None
    return BackendAddress(parts.scheme, _host(parts), _port(parts) or _DEFAULT_PORTS[parts.scheme], region, weight)


def _parameters(texts: list[str]) -> Mapping[str, str]:
    given: dict[str, str] = {}
    for text in filter(None, texts):
        name, _, value = (part.strip() for part in text.partition("="))
        if name not in {"region", "weight"}:
            near = difflib.get_close_matches(name, ["region", "weight"], 1)
            hint = f"; did you mean {near[0]}=?" if near else "; there are region= and weight="
            raise ValueError(f"has a parameter that is unknown{hint}")
        if name in given:
            raise ValueError(f"gives {name}= twice for one backend")
        given[name] = value
    return given


def redis_url(text: str) -> str:
    """Check the address of Redis, and return it as it is.

    redis://, rediss://, redis+sentinel://host,host/service[/db], redis+cluster://host,host, unix:///path
    """
    parts = _split(text)
    if parts.scheme not in _REDIS_SCHEMES:
        raise ValueError(f"does not begin with one of {', '.join(f'{scheme}://' for scheme in _REDIS_SCHEMES)}")
    if parts.fragment or "#" in text:
        raise ValueError("holds a #; write it as %23 in a password")
    if parts.scheme == "unix":
        if not parts.path.startswith("/") or parts.path == "/":
            raise ValueError("has no path of a socket after unix://")
        return text
    if "@" in parts.path:
        raise ValueError("has an @ after the first /; in a password, write / as %2F and @ as %40")
    nodes = parts.netloc.rpartition("@")[2].split(",")
    if len(nodes) > 1 and parts.scheme in {"redis", "rediss"}:
        raise ValueError("names several hosts, which redis+sentinel:// and redis+cluster:// do")
    for node in nodes:
        address = _split(f"//{node.strip()}")
        _host(address)
        _port(address)
    _redis_path(parts)
    return text


def _redis_path(parts: SplitResult) -> None:
    segments = parts.path.strip("/").split("/") if parts.path.strip("/") else []
    if parts.scheme == "redis+sentinel":
        if not segments:
            raise ValueError("names no service after the hosts (redis+sentinel://host:26379/service)")
        segments = segments[1:]
    if len(segments) > 1 or (segments and not re.fullmatch(r"[0-9]{1,4}", segments[0])):
        raise ValueError("has a database that is no number")
    if parts.scheme == "redis+cluster" and segments not in ([], ["0"]):
        raise ValueError("names a database, but a cluster has the database 0 only")


def database_of(url: str) -> int | None:
    """The database that a checked REDIS_URL names in its path, or None."""
    parts = urlsplit(url)
    segments = [] if parts.scheme == "unix" else parts.path.strip("/").split("/")
    if parts.scheme == "redis+sentinel":
        segments = segments[1:]
    return int(segments[0]) if segments and segments[0] else None


def http_url(text: str) -> str:
    """Check an http:// or https:// URL, and return it as it is. A path, a query and user:password may be in it."""
    parts = _split(text)
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("does not begin with http:// or https://")
    _host(parts)
    _port(parts)
    if not re.fullmatch(r"[!-~]+", text) or "#" in text:
        raise ValueError("holds a space, a # or a character that must be %-encoded")
    return text


def verify_url(text: str) -> str:
    """Check a URL in whose path or query {worker_id} may stand."""
    if set("{}") & set(text.replace("{worker_id}", "")):
        raise ValueError("may hold {worker_id}, and no other braces")
    if "{worker_id}" in urlsplit(text).netloc:
        raise ValueError("holds {worker_id} in its host; clients must not choose who is asked")
    http_url(text)
    return text


def listen_host(text: str) -> str:
    """Read an address or a host name to listen on; brackets around an IPv6 address are taken off."""
    if "//" in text:
        raise ValueError("is a URL; give the address alone")
    bare = text.removeprefix("[").removesuffix("]") if text.startswith("[") else text
    if ":" in bare:
        try:
            return str(IPv6Address(bare))
        except ValueError:
            raise ValueError("is no address; the port is set by GATEWAY_PORT") from None
    if not _HOST.fullmatch(bare):
        raise ValueError("is no address or host name")
    return bare


def networks(text: str) -> tuple[Network, ...]:
    """Read addresses and networks in CIDR form, separated by commas. `none`: no network at all."""
    found: list[Network] = []
    for number, item in enumerate(items(text), 1):
        if item == "*":
            raise ValueError("holds *; write 0.0.0.0/0, ::/0 for everybody")
        try:
            found.append(ip_network(item))
        except ValueError:
            raise ValueError(f"has an item {number} that is no address or network{_meant(item)}") from None
    return tuple(found)


def _meant(item: str) -> str:
    """What 10.0.0.1/8 was perhaps meant to be."""
    try:
        return f"; did you mean {ip_network(item, strict=False)}?"
    except ValueError:
        return ""


def origins(text: str) -> tuple[str, ...]:
    """Read origins (scheme://host[:port], RFC 6454) separated by commas, or `*` for all, or `none`.

    They come out as browsers write them: in small letters, without the scheme's own port.
    """
    found = [item.removesuffix("/").lower() for item in items(text)]
    for number, origin in enumerate(found, 1):
        if origin in {"*", "null"}:
            continue
        parts = _split(origin)
        if parts.scheme not in _DEFAULT_PORTS or parts.path or parts.query or "@" in origin or "#" in origin:
            raise ValueError(f"has an item {number} that is no origin (scheme://host, and a port if it has one)")
        _host(parts)
        if _port(parts) == _DEFAULT_PORTS[parts.scheme]:
            found[number - 1] = origin.rpartition(":")[0]
    if "*" in found and len(found) > 1:
        raise ValueError("holds * beside other origins, which * already includes")
    return tuple(dict.fromkeys(found))


def masked(url: str) -> str:
    """A URL without its password, and without query values of secret names; a user alone is hidden too."""
    if "@" in url and "//" not in url:
        return "***@" + url.rpartition("@")[2]
    hidden = _PASSWORD.sub(lambda match: f"//{match[1]}:***@" if match[1] is not None else "//***@", url)
    return _QUERY_SECRET.sub(r"\1***", hidden)


def masked_unread(text: str) -> str:
    """What may be shown of a text that should have been a URL with a password in it, and could not be read as one."""
    return masked(text) if _HARMLESS.fullmatch(text) or ("//" in text and "@" in text) else "***"


def _split(url: str) -> SplitResult:
    """Split a URL. urlsplit drops tabs and line ends in silence, so what is no visible character is refused first."""
    if not re.fullmatch(r"[!-~]+", url):
        raise ValueError("holds a space or a character that is not ASCII; write it %-encoded (a host: in punycode)")
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError("is no URL") from None


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if ":" in host:
        try:
            return str(IPv6Address(host))
        except ValueError:
            raise ValueError("has brackets around what is no IPv6 address") from None
    if not _HOST.fullmatch(host):
        raise ValueError("has no host" if not host else "has a host name that can't be one")
    return host


def _port(parts: SplitResult) -> int | None:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("has a port that is not between 1 and 65535")
    return port
