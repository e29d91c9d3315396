"""Places: region codes, how far they are from each other, and which one a client is in. Data, not code.

    {"regions":   {"asia-east": "Asia East", ...},          code -> name, of the platform or a deployment's own
     "distances": {"asia-east": {"oceania": 115, ...}},     each pair once, in either order; any unit: ours are ms
     "countries": {"DE": "europe-west", ...},               ISO 3166-1 alpha-2, for CF-IPCountry
     "aliases":   {"eu-west-1": "europe-west", ...},        other names of a region, such as a cloud's
     "networks":  {"10.1.0.0/16": "europe-west", ...}}      addresses of clients that come without a word

The last three may be missing. regions.json beside this file is used unless REGIONS_FILE names another.

A client's region is what X-Client-Region, CF-IPCountry or X-Amzn-Region say, in that order, else its network's. They
are taken from anybody: a wrong one costs who sends it a detour.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

BUILT_IN: Final = Path(__file__).with_name("regions.json")

MAX_FILE_BYTES: Final = 1024 * 1024
"""The built-in file has 9 KiB; a thousand networks are 40."""

MAX_REGIONS: Final = 200
"""Distances of every pair are to be given: more is no table that anybody keeps."""

MAX_PROBLEMS: Final = 10
"""Problems that one message tells."""

MAX_REMEMBERED: Final = 4096
"""Client addresses whose network is remembered; about 100 bytes each."""

CLIENT_REGION: Final = b"x-client-region"
COUNTRY: Final = b"cf-ipcountry"
CLOUD_REGION: Final = b"x-amzn-region"
CLAIMS: Final = frozenset({CLIENT_REGION, COUNTRY, CLOUD_REGION})

_CODE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_PARTS: Final = {"regions", "distances", "countries", "aliases", "networks"}

Network = IPv4Network | IPv6Network


class RegionsError(Exception):
    """The file can't be used; str() says what is wrong with it, a problem a line."""


@dataclass(frozen=True, slots=True)
class Regions:
    """The tables, checked."""

    names: Mapping[str, str]
    distances: Mapping[tuple[str, str], float]
    """Both ways round."""
    countries: Mapping[bytes, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    networks: tuple[tuple[Network, str], ...] = ()
    """The longest prefixes first."""
    _of_address: dict[str, str | None] = field(default_factory=dict)

    def code(self, name: str) -> str | None:
        """The code of a region, by its code or an alias."""
        return name if name in self.names else self.aliases.get(name)

    def distance(self, one: str, other: str) -> float:
        """Between two regions: 0 within one, infinite if there is no telling. Other names for them are known too."""
        if one == other:
            return 0.0
        a, b = self.code(one), self.code(other)
        if a is None or b is None:
            return math.inf
        return 0.0 if a == b else self.distances[a, b]

    def of_client(self, headers: Iterable[tuple[bytes, bytes]], address: str, own: Container[str]) -> str | None:
        """The region of a client, None if there is no telling.

        headers: lower-case names. own: codes that are known though they are in no table, of backends.
        """
        claims = {name: value for name, value in headers if name in CLAIMS}
        if claims:
            region = self._claimed(claims.get(CLIENT_REGION), own)
            if region is None and (country := claims.get(COUNTRY)) is not None:
                region = self.countries.get(country.upper())
            if region is None:
                region = self._claimed(claims.get(CLOUD_REGION), own)
            if region is not None:
                return region
        return self._of_network(address) if self.networks else None

    def _claimed(self, value: bytes | None, own: Container[str]) -> str | None:
        if value is None:
            return None
        name = value.decode("latin-1").strip().lower()
        return name if name in own else self.code(name)

    def _of_network(self, address: str) -> str | None:
        known = self._of_address
        if address not in known:
            if len(known) >= MAX_REMEMBERED:
                known.clear()
            known[address] = self._look_up(address)
        return known[address]

    def _look_up(self, address: str) -> str | None:
        try:
            ip = ip_address(address)
        except ValueError:
            return None  # a unix socket's peer
        return next((region for network, region in self.networks if ip in network), None)


def load(path: Path | None = None) -> Regions:
    """Read and check a file; None: the built-in one. Raises RegionsError."""
    path = path or BUILT_IN
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise RegionsError(f"it can't be read ({error.strerror})") from None
    if len(text) > MAX_FILE_BYTES:
        raise RegionsError(f"it is longer than {MAX_FILE_BYTES} bytes")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RegionsError(f"it is no JSON: {error}") from None
    return parse(content)


def parse(content: Any) -> Regions:
    """Check the content of a file. Raises RegionsError with all that is wrong with it, up to MAX_PROBLEMS."""
    if not isinstance(content, dict):
        raise RegionsError("it is no object with regions and distances")
    problems = [f"{_shown(part)} is unknown; there are {', '.join(sorted(_PARTS))}" for part in content.keys() - _PARTS]
    tables: dict[str, dict[str, Any]] = {}
    for part in sorted(_PARTS):
        table = content.get(part, {})
        if not isinstance(table, dict):
            problems.append(f"{part} is no object")
        tables[part] = table if isinstance(table, dict) else {}
    names = tables["regions"]
    problems += _in_regions(names)
    if len(names) > MAX_REGIONS:
        names = {}
    distances = _both_ways(tables["distances"])
    problems += _in_distances(names, tables["distances"], distances)
    for part, form in (("countries", _COUNTRY), ("aliases", _CODE), ("networks", None)):
        problems += _in_table(part, tables[part], names, form)
    if problems:
        more = [f"and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
        raise RegionsError("\n".join(problems[:MAX_PROBLEMS] + more))
    networks = [(ip_network(text), region) for text, region in tables["networks"].items()]
    return Regions(
        names,
        distances,
        {country.encode(): region for country, region in tables["countries"].items()},
        tables["aliases"],
        tuple(sorted(networks, key=lambda entry: -entry[0].prefixlen)),
    )


def _in_regions(names: Mapping[str, Any]) -> Iterator[str]:
    if not names:
        yield "regions is missing or empty"
    if len(names) > MAX_REGIONS:
        yield f"regions has more than {MAX_REGIONS} codes"
    for code, name in names.items():
        if not _CODE.fullmatch(code):
            yield f"regions: {_shown(code)} is no code of small letters, digits and -, such as europe-west"
        if not isinstance(name, str):
            yield f"regions: the name of {_shown(code)} is no text"


def _both_ways(table: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {}
    for one, row in table.items():
        for other, distance in row.items() if isinstance(row, dict) else ():
            found[one, other] = distance
            found.setdefault((other, one), distance)
    return found


def _in_distances(
    names: Mapping[str, Any], table: Mapping[str, Any], distances: Mapping[tuple[str, str], Any]
) -> Iterator[str]:
    for one, row in table.items():
        if not isinstance(row, dict):
            yield f"distances: what is said of {_shown(one)} is no object"
    missing = [(a, b) for a in names for b in names if a < b and (a, b) not in distances]
    yield from (f"distances: from {one} to {other} is missing" for one, other in missing)
    for (one, other), distance in distances.items():
        if one > other:  # each pair once
            continue
        if strange := [place for place in (one, other) if place not in names]:
            yield f"distances: {_shown(strange[0])} is none of the regions"
        elif not isinstance(distance, int | float) or isinstance(distance, bool) or not 0 <= distance < math.inf:
            yield f"distances: from {one} to {other} is no number from 0 on"
        elif distances[other, one] != distance:
            yield f"distances: from {one} to {other} is not the same as back"


def _in_table(
    part: str, table: Mapping[str, Any], names: Mapping[str, Any], form: re.Pattern[str] | None
) -> Iterator[str]:
    for key, region in table.items():
        if not isinstance(region, str) or region not in names:
            yield f"{part}: what {_shown(key)} stands for is none of the regions"
        if form is None:
            try:
                ip_network(key)
            except ValueError:
                yield f"{part}: {_shown(key)} is no network such as 10.1.0.0/16"
        elif not form.fullmatch(key):
            wanted = "a country's two capital letters" if part == "countries" else "small letters, digits and -"
            yield f"{part}: {_shown(key)} is not {wanted}"


def _shown(text: Any) -> str:
    """Something of the file's, fit for a log line."""
    return ascii(text)[:80]
