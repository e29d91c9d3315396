"""Cache directives as they are read: Cache-Control (RFC 9111 5.2) and the targeted fields (RFC 9213).

Whatever was written, one reading comes out, and never one that keeps more than was allowed: of two values the more
restrictive counts, a number that is none counts as 0, and what does not fit the grammar can forbid but not permit.
Unknown directives are skipped (RFC 9111 5.2.3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from fastgw.protocol.structured import NotStructured, dictionary

if TYPE_CHECKING:
    from fastgw.protocol.fields import Fields
    from fastgw.protocol.structured import Value

MAX_REMEMBERED_BYTES: Final = 128
"""Of a value whose reading is remembered; most are shorter. The last 256 are: reading takes 5 us and more."""

TARGETED: Final = (b"gateway-cache-control", b"cdn-cache-control")
"""Our target list (RFC 9213 2.2): the first that is present and valid silences Cache-Control and Expires."""

CAP_S: Final = 2**31
"""What larger numbers are taken for (RFC 9111 1.2.2)."""

RESTRICTIVE: Final = frozenset({b"no-store", b"no-cache", b"private", b"must-revalidate", b"proxy-revalidate"})
"""They count wherever their name stands, whatever stands around it."""

WORST_S: Final = {
    b"max-age": 0,
    b"s-maxage": 0,
    b"stale-while-revalidate": 0,
    b"stale-if-error": 0,
    b"max-stale": 0,
    b"min-fresh": CAP_S,
}
"""The directives with a number of seconds, and what they mean when it can't be read (RFC 9111 4.2.1: stale)."""

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEMBER: Final = re.compile(
    rb"[ \t]*(?:(" + _TOKEN + rb')(?:=("(?:[^"\\]|\\.)*"|' + _TOKEN + rb"))?)?[ \t]*(?:,|\Z)", re.DOTALL
)
_BETWEEN: Final = re.compile(rb'[\s;="]+')


@dataclass(frozen=True, slots=True)
class Directives:
    """names: the directives that are there and well-formed (restrictive ones in any form), in lower case.

    seconds: those with a number, 0 to CAP_S, well-formed or not. is_targeted: they come from a targeted field.
    """

    names: frozenset[bytes]
    seconds: dict[bytes, int]
    is_targeted: bool = False


NONE: Final = Directives(frozenset(), {})


def cache_control(value: bytes) -> Directives:
    """Read a Cache-Control value, of a request or a response; its lines are joined with b", ". Never fails."""
    return _remembered(value) if len(value) <= MAX_REMEMBERED_BYTES else _read(value)


def _read(value: bytes) -> Directives:
    reading = _Reading()
    at, end = 0, len(value)
    while at < end:
        match = _MEMBER.match(value, at)
        if match is not None:
            at = match.end()
            if match[1] is not None:
                reading.take(match[1].lower(), match[2])
        else:  # no member by the grammar: whatever names stand in it up to the next comma are malformed
            comma = value.find(b",", at)
            stop = end if comma < 0 else comma
            for word in _BETWEEN.split(value[at:stop].lower()):
                reading.take_malformed(word)
            at = stop + 1
    return reading.result(is_targeted=False)


def of_response(fields: Fields) -> Directives:
    """What a response says: its first valid targeted field (RFC 9213 2.2), else its Cache-Control. NONE for nothing."""
    if any([name in TARGETED for name, _ in fields]):  # noqa: C419 -- a list is made in half a generator's time
        for target in TARGETED:
            value = b", ".join([value for name, value in fields if name == target])
            if value and (found := targeted(value)) is not None:
                return found
    value = b", ".join([value for name, value in fields if name == b"cache-control"])
    return cache_control(value) if value else NONE


def targeted(value: bytes) -> Directives | None:
    """Read a targeted field (RFC 9213 2.1). None if it is empty or malformed: as if it were not there."""
    return _remembered_targeted(value) if len(value) <= MAX_REMEMBERED_BYTES else _read_targeted(value)


def _read_targeted(value: bytes) -> Directives | None:
    try:
        members = dictionary(value)
    except NotStructured:
        return None
    if not members:
        return None
    reading = _Reading()
    for key, member in members.items():
        reading.take_typed(key.encode(), member)
    return reading.result(is_targeted=True)


_remembered: Final = lru_cache(maxsize=256)(_read)
_remembered_targeted: Final = lru_cache(maxsize=256)(_read_targeted)


class _Reading:
    """What has been read so far."""

    def __init__(self) -> None:
        self._names: set[bytes] = set()
        self._malformed: set[bytes] = set()
        self._seconds: dict[bytes, int] = {}

    def take(self, name: bytes, argument: bytes | None) -> None:
        """A directive of Cache-Control; a number may stand in quotes (RFC 9111 5.2)."""
        if name not in WORST_S:
            self._names.add(name)  # with an argument too: private="a" is private to a cache that keeps no parts
        elif argument is None:
            if name == b"max-stale":  # of any age (RFC 9111 5.2.1.2)
                self._number(name, CAP_S)
            else:
                self.take_malformed(name)
        else:
            digits = argument[1:-1] if argument.startswith(b'"') else argument
            if digits.isdigit():  # ASCII digits only, as these are bytes
                self._number(name, _capped(digits))
            else:
                self.take_malformed(name)

    def take_typed(self, name: bytes, member: Value) -> None:
        """A directive of a targeted field: numbers are Integers, the rest is Boolean true (RFC 9213 2.1)."""
        if name in WORST_S:
            if type(member) is int and member >= 0:
                self._number(name, min(member, CAP_S))
            else:
                self.take_malformed(name)
        elif member is True:
            self._names.add(name)
        elif member is not False:
            self.take_malformed(name)

    def take_malformed(self, name: bytes) -> None:
        """A name that stands where the grammar wants something else."""
        if name in RESTRICTIVE:
            self._names.add(name)
        elif name in WORST_S:
            self._number(name, WORST_S[name])
            self._malformed.add(name)

    def _number(self, name: bytes, seconds: int) -> None:
        self._names.add(name)
        before = self._seconds.setdefault(name, seconds)
        if before != seconds:
            self._seconds[name] = max(before, seconds) if name == b"min-fresh" else min(before, seconds)

    def result(self, *, is_targeted: bool) -> Directives:
        return Directives(frozenset(self._names - self._malformed), self._seconds, is_targeted)


def _capped(digits: bytes) -> int:
    """A number of any length. int() itself refuses thousands of digits."""
    return CAP_S if len(digits.lstrip(b"0")) > 10 else min(int(digits[-10:]), CAP_S)
