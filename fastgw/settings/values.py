"""Text -> value, for settings that are no plain number or word. Pure; each raises ValueError with the problem."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final
from urllib.parse import parse_qsl, urlsplit

Network = IPv4Network | IPv6Network

_UNITS: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_BYTES: Final = re.compile(r"(\d+)\s*(?:([kmg])i?)?b?", re.IGNORECASE)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_MAX_WEIGHT: Final = 1000


@dataclass(frozen=True, slots=True)
class BackendAddress:
    """One backend as FASTAPI_URL names it."""

    scheme: str
    """http or https"""
    host: str
    """A name or an address; an IPv6 address without its brackets."""
    port: int
    region: str | None = None
    weight: int = 1

    @property
    def authority(self) -> str:
        """host:port, as it stands in Host; an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """scheme://host:port"""
        return f"{self.scheme}://{self.authority}"

    def __str__(self) -> str:
        """As it is written in FASTAPI_URL."""
        region = f";region={self.region}" if self.region else ""
        weight = f";weight={self.weight}" if self.weight != 1 else ""
        return f"{self.url}{region}{weight}"


@dataclass(frozen=True, slots=True)
class CacheRoute:
    """A path of CACHE_ROUTES."""

    path: str
    ttl_s: int | None = None
    """None: CACHE_TTL_SECONDS."""

    def __str__(self) -> str:
        """As it is written in CACHE_ROUTES."""
        return self.path if self.ttl_s is None else f"{self.path}={self.ttl_s}"


def words(text: object) -> object:
    """A comma-separated list as a tuple of its non-empty, trimmed parts."""
    if isinstance(text, str):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def byte_count(text: object) -> object:
    """A number of bytes: 1048576, 1MiB, 1MB, 64k. All units are powers of 1024."""
    if not isinstance(text, str):
        return text
    match = _BYTES.fullmatch(text.strip())
    if match is None:
        raise ValueError("is no number of bytes")
    return int(match[1]) * _UNITS[(match[2] or "").lower()]


def networks(text: object) -> object:
    """Addresses and networks in CIDR form, comma-separated."""
    if not isinstance(text, str):
        return text
    found = []
    for part in words(text):  # type: ignore[attr-defined]  # a str gives a tuple
        try:
            found.append(ip_network(part))
        except ValueError as error:
            raise ValueError(f"{part!r} is no address or network ({error})") from None
    return tuple(found)


def backends(text: object) -> object:
    """Backend URLs, comma-separated, each with optional `;region=...;weight=...`."""
    if not isinstance(text, str):
        return text
    found = tuple(_backend(part) for part in words(text))  # type: ignore[attr-defined]  # a str gives a tuple
    if not found:
        raise ValueError("names no backend")
    return found


def _backend(text: str) -> BackendAddress:
    address, *parameters = text.split(";")
    try:
        url = urlsplit(address)
        port = url.port
    except ValueError as error:
        raise ValueError(f"{address!r} is no URL ({error})") from None
    if url.scheme not in _DEFAULT_PORTS or not url.hostname:
        raise ValueError(f"{address!r} must begin with http:// or https:// and a host")
    if url.username is not None or url.password is not None:
        raise ValueError("a URL with a user or password is not supported; credentials are passed on from the client")
    if url.path not in {"", "/"} or url.query or url.fragment:
        raise ValueError(f"{address!r} must end after host and port: paths are passed on as they are")
    region, weight = None, 1
    for name, value in parse_qsl("&".join(parameters), keep_blank_values=True):
        if name == "region" and value:
            region = value
        elif name == "weight" and value.isdecimal() and 1 <= int(value) <= _MAX_WEIGHT:
            weight = int(value)
        else:
            raise ValueError(f"{name}={value} is not understood: region=NAME, or weight=1 to {_MAX_WEIGHT}")
    return BackendAddress(url.scheme, url.hostname, port or _DEFAULT_PORTS[url.scheme], region, weight)


def cache_routes(text: object) -> object:
    """Paths, comma-separated, each with optional `=SECONDS`."""
    if not isinstance(text, str):
        return text
    found = []
    for part in words(text):  # type: ignore[attr-defined]  # a str gives a tuple
        path, _, ttl = part.partition("=")
        if not path.startswith("/") or (ttl and not ttl.isdecimal()):
            raise ValueError(f"{part!r} is no path with an optional =SECONDS")
        found.append(CacheRoute(path, int(ttl) if ttl else None))
    return tuple(found)
