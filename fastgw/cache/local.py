"""This process's own copies of cached responses. They are never served unasked: each use is validated by the admission
script, which compares the version in Redis, so a hit moves no body and what is deleted in Redis is gone at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastgw.cache.entry import stamp

if TYPE_CHECKING:
    from fastgw.cache.entry import Entry
    from fastgw.protocol.fields import Fields

    Parts = tuple[int, bytes, bytes]

MAX_BYTES: Final = 32 * 1024 * 1024
"""Bodies and fields held per process. A worker is to stay under 120 MB (spec 11), of which an idle one takes 50."""

OVERHEAD_BYTES: Final = 1024
"""What an entry takes beside its body, roughly: objects, names, fields."""

_VIA: Final = (b"via", b"1.1 fastgw")
_SERVER: Final = (b"server", b"fastgw")


class Copy:
    """An entry with what its hits need again and again."""

    __slots__ = ("age_s", "call", "call_of", "cost", "entry", "fields", "rendered", "stamp")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.stamp = stamp(entry.version)
        self.cost = entry.size + OVERHEAD_BYTES
        self.fields: Fields = [*entry.fields, (b"content-length", b"%d" % len(entry.body)), _VIA]
        if not any(name == b"server" for name, _ in entry.fields):
            self.fields.append(_SERVER)
        self.call: Parts | None = None  # its lookup, packed, as long as the base holds
        self.call_of: object = None  # this marker, or None
        self.age_s = -1  # of
        self.rendered: Fields = []  # the fields of a plain hit: made once a second, not once a hit (1 us)


class LocalCopies:
    """Name -> Copy, the least recently used dropped when MAX_BYTES are held."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._copies: dict[bytes, Copy] = {}
        self._max_bytes = max_bytes
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._copies)

    def __repr__(self) -> str:
        return f"<LocalCopies {len(self._copies)} entries, {self.bytes} bytes>"

    def get(self, name: bytes) -> Copy | None:
        """The copy of an entry, which counts as used."""
        copy = self._copies.pop(name, None)
        if copy is not None:
            self._copies[name] = copy
        return copy

    def put(self, name: bytes, entry: Entry) -> Copy:
        """Hold an entry; one that is larger than a quarter of all is not kept."""
        self.drop(name)
        copy = Copy(entry)
        if copy.cost <= self._max_bytes // 4:
            self._copies[name] = copy
            self.bytes += copy.cost
            while self.bytes > self._max_bytes:
                self.drop(next(iter(self._copies)))
        return copy

    def drop(self, name: bytes) -> None:
        """Forget an entry. Safe if it is not there."""
        copy = self._copies.pop(name, None)
        if copy is not None:
            self.bytes -= copy.cost

    def names(self) -> list[bytes]:
        """The names of all copies, the least recently used first."""
        return list(self._copies)
