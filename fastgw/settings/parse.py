"""Text to value, for each kind of setting. Pure.

Every function takes the text of one variable, stripped and not empty, and returns the value or raises ValueError with
the problem as a phrase that follows the variable's name ("is no whole number"). The text itself is never quoted in it:
it may be secret, and whoever reports the problem knows how to mask it. Addresses of all sorts are in values.py.
"""

from __future__ import annotations

import re
import string
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NONE: Final = "none"
"""What stands for an empty list where the default is not empty: an empty variable means the default."""

MAX_TEMPLATES: Final = 100
"""Of METRICS_ROUTES."""

MAX_FIELD_NAME: Final = 100
"""Characters; the longest in IANA's registry has 48."""

# MB is 10**6 and MiB is 2**20 (IEC 80000-13); a bare letter is 2**10 and up, as in nginx and redis.conf.
_BYTE_UNITS: Final = {
    "": 1, "b": 1,
    "k": 1 << 10, "kb": 10**3, "kib": 1 << 10,
    "m": 1 << 20, "mb": 10**6, "mib": 1 << 20,
    "g": 1 << 30, "gb": 10**9, "gib": 1 << 30,
}  # fmt: skip
_WINDOW_UNITS: Final = {"ms": 1, "": 1000, "s": 1000, "m": 60_000, "h": 3_600_000}
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 5.6.2
_NAME: Final = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_PATH: Final = re.compile(r"/[!-~]*")  # visible ASCII, as it stands on the request line


@dataclass(frozen=True, slots=True)
class CacheRoute:
    """A path of CACHE_ROUTES. ttl_s: None is CACHE_TTL_SECONDS."""

    path: str
    ttl_s: int | None = None

    def __str__(self) -> str:
        """Give the form that CACHE_ROUTES has."""
        return self.path if self.ttl_s is None else f"{self.path}={self.ttl_s}"


@dataclass(frozen=True, slots=True)
class RateLimitRule:
    """A limit of its own for a path or an identity: `requests` in any `window_ms`.

    target: a path ("/api/v1/jobs", or "/api/v1/jobs/*" for all below it) or "identity:" and a name.
    """

    target: str
    requests: int
    window_ms: int

    def __str__(self) -> str:
        """Give the form that RATE_LIMIT_RULES has."""
        return f"{self.target}={self.requests}/{self.window_ms}ms"


def items(text: str) -> list[str]:
    """Split at commas; `none` gives an empty list. Empty items are left out, so a comma at the end does no harm."""
    return [] if text.lower() == NONE else [item for part in text.split(",") if (item := part.strip())]


def whole(low: int, high: int) -> Callable[[str], int]:
    """Make the parser of a whole number from low to high."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]+", text):
            raise ValueError("is no whole number")
        # A longer text is out of any range; int() refuses thousands of digits with a message of its own.
        number = int(text) if len(text) < 20 else (low - 1 if text[0] == "-" else high + 1)
        if number < low:
            raise ValueError(f"is below {low}")
        if number > high:
            raise ValueError(f"is above {high}")
        return number

    return parse


def byte_size(text: str) -> int:
    """Read a number of bytes: 104857600, 100MiB, 1MB, 64k. At least 1, at most 1 TiB."""
    match = re.fullmatch(r"([0-9]{1,18})\s*([A-Za-z]{0,3})", text)
    if match is None or (unit := match[2].lower()) not in _BYTE_UNITS:
        raise ValueError("is no number of bytes")
    return whole(1, 1 << 40)(str(int(match[1]) * _BYTE_UNITS[unit]))


def path(text: str) -> str:
    """Read a path of the HTTP kind, with its query if it has one."""
    if not text.startswith("/"):
        raise ValueError("does not begin with /")
    if not _PATH.fullmatch(text) or "#" in text:
        raise ValueError("holds a space, a # or a character that must be %-encoded")
    return text


def field_name(text: str) -> str:
    """Read the name of a header field."""
    if not _TOKEN.fullmatch(text) or len(text) > MAX_FIELD_NAME:
        raise ValueError("is no name of a header field")
    return text


def key_prefix(text: str) -> str:
    """Read the prefix of our Redis keys. Never the platform's own keys, nor what a glob would read differently."""
    if not re.fullmatch(r"[!-~]{1,100}", text) or set(text) & set("*?[]\\{}\"'"):
        raise ValueError("holds a space or one of * ? [ ] { } \\ and quotes")
    if text.startswith(("worker:", "queue:")):
        raise ValueError("begins with worker: or queue:, whose keys belong to the platform")
    return text


def token_format(text: str) -> str:
    """Read the text that SHA-256 is taken of: {token}, once or more, and {salt}."""
    try:
        fields = [(name, spec, conversion) for _, name, spec, conversion in string.Formatter().parse(text)]
    except ValueError:
        raise ValueError("has a brace without its partner") from None
    names = [name for name, _, _ in fields if name is not None]
    if set(names) - {"token", "salt"} or any(spec or conversion for _, spec, conversion in fields):
        raise ValueError("may hold {token} and {salt}, and no other braces")
    if "token" not in names:
        raise ValueError("does not hold {token}, so that every token would be the same")
    return text


def api_keys(text: str) -> tuple[str, ...]:
    """Read keys separated by commas, each optionally `name:key`; the part before the first colon is the name."""
    found = []
    for number, item in enumerate(items(text), 1):
        name, key = (part.strip() for part in item.split(":", 1)) if ":" in item else ("", item)
        if not key:
            raise ValueError(f"has no key after the colon in item {number}")
        if ":" in item and not _NAME.fullmatch(name):
            raise ValueError(f"has a name in item {number} that is not made of letters, digits and _ . @ -")
        found.append((name, key))
    if len({key for _, key in found}) < len(found):
        raise ValueError("holds one key twice, so that it is unclear whose it is")
    return tuple(f"{name}:{key}" if name else key for name, key in found)


def token_hashes(text: str) -> tuple[str, ...]:
    """Read SHA-256 digests in hex, separated by commas; lower case comes out."""
    hashes = [item.lower() for item in items(text)]
    for number, digest in enumerate(hashes, 1):
        if not _SHA256.fullmatch(digest):
            raise ValueError(f"has an item {number} that is no SHA-256 in hex (64 digits 0-9 a-f)")
    return tuple(dict.fromkeys(hashes))


def cache_routes(text: str) -> tuple[CacheRoute, ...]:
    """Read `path` or `path=seconds`, separated by commas."""
    routes: dict[str, CacheRoute] = {}
    for number, item in enumerate(items(text), 1):
        route, equals, seconds = (part.strip() for part in item.partition("="))
        with _item(number):
            path(route)
            if "?" in route:
                raise ValueError("holds a query; a route is a path, and covers it with any query")
            routes[route] = CacheRoute(route, whole(1, 31_536_000)(seconds) if equals else None)
    return tuple(routes.values())


def rate_limit_rules(text: str) -> tuple[RateLimitRule, ...]:
    """Read `target=requests/window`, separated by commas; a window is a number of seconds, or has ms, s, m or h."""
    return tuple(_rules(text))


def _rules(text: str) -> Iterator[RateLimitRule]:
    seen: set[str] = set()
    for number, item in enumerate(items(text), 1):
        target, _, limit = item.rpartition("=")
        target = target.strip()
        with _item(number):
            match = re.fullmatch(r"([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*(ms|s|m|h|)", limit.strip())
            if match is None:
                raise ValueError("is not of the form path=requests/window")
            if target.startswith("identity:"):
                if not _NAME.fullmatch(target.removeprefix("identity:")):
                    raise ValueError("has no name of letters, digits and _ . @ - after identity:")
            else:
                path(target)
            if target in seen:
                raise ValueError("is the second rule for the same path or identity")
            seen.add(target)
            window_ms = whole(1, 86_400_000)(str(int(match[2]) * _WINDOW_UNITS[match[3]]))
            yield RateLimitRule(target, whole(1, 10**9)(match[1]), window_ms)


def methods(text: str) -> tuple[str, ...]:
    """Read HTTP methods separated by commas; upper case comes out. `*` is all."""
    found = [item.upper() for item in items(text)]
    for number, method in enumerate(found, 1):
        if not _TOKEN.fullmatch(method):
            raise ValueError(f"has an item {number} that is no HTTP method")
    return tuple(dict.fromkeys(found))


def templates(text: str) -> tuple[str, ...]:
    """Read path templates separated by commas, such as /v2/models/{name}."""
    found = items(text)
    for number, template in enumerate(found, 1):
        with _item(number):
            path(re.sub(r"\{[a-z_]+\}", "x", template))
    if len(found) > MAX_TEMPLATES:
        raise ValueError(f"has more than {MAX_TEMPLATES} templates, each of which makes many series")
    return tuple(dict.fromkeys(found))


@contextmanager
def _item(number: int) -> Iterator[None]:
    """Say in the problem which item of a list has it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"has an item {number} that {error}") from None
