"""The figures of all processes, in memory that they share, so that a killed process's counts are kept.

The parent makes it before it forks. Each process claims one sheet, which it alone writes, and which the next one goes
on with: counts never fall when a worker is replaced, and the number of sheets stays. The system takes the lock of a
killed process back. Whoever is asked for metrics reads all sheets.

A sheet: a head (bytes used, process id), then records, each a name and its cells:

    u32 length of the name | u32 number of cells | name, padded to 8 | cells (doubles) | exemplars, if a histogram's

A cell is written by one aligned store, and read without a lock: a reader may see a bucket one ahead of its sum.
Adding to a cell costs 0.07 us; prometheus_client's own multi-process values cost 1 us each (bench/experiments).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

import orjson

from fastgw.locks import nameless_file
from fastgw.telemetry.families import BOUNDS, BY_NAME, HISTOGRAM_CELLS, SERIES_DROPPED, Family, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableSequence

    Cells = MutableSequence[float]

SHEET_BYTES: Final = 1 << 20
"""Room for about 4,000 series; what is not written to takes no memory."""

SPARE: Final = 8
"""Sheets per worker: while reloads go on, old workers that finish streams have one each. Unused ones cost nothing."""

HEAD: Final = struct.Struct("=QQ")
RECORD: Final = struct.Struct("=II")
EXEMPLAR: Final = struct.Struct("=dd16s")
"""Value, seconds since the epoch, trace id."""

EXEMPLARS_BYTES: Final = EXEMPLAR.size * (len(BOUNDS) + 1)

Name = tuple[str, ...]
"""A family's name, and the values of its labels."""


class Series:
    """One series of one process. cells: to be added to in place. exemplars: where its exemplars lie; 0 for none."""

    __slots__ = ("cells", "exemplars")

    def __init__(self, cells: Cells, exemplars: int = 0) -> None:
        self.cells = cells
        self.exemplars = exemplars


class Sheet:
    """What one process counts."""

    def __init__(self, memory: memoryview, pid: int) -> None:
        """memory: SHEET_BYTES of it, zeroed or as another process has left it."""
        self._memory = memory
        self._doubles = memory.cast("d")
        self._known: dict[Name, Series] = {}
        used = HEAD.unpack_from(memory)[0] or HEAD.size
        for name, count, cells in _records(memory, used):
            self._known[name] = self._series(count, cells)
            if BY_NAME[name[0]].kind.is_gauge:
                self._known[name].cells[0] = 0.0
        self._used = used
        HEAD.pack_into(memory, 0, used, pid)
        self._lost = Series([0.0] * HISTOGRAM_CELLS)
        self._dropped = self.series(SERIES_DROPPED)

    def series(self, family: Family, *labels: str) -> Series:
        """The series with these values of the family's labels, in their order. Keep it: finding it takes a while.

        When there is no room, one whose figures are lost, and gateway_series_dropped says so.
        """
        name = (family.name, *labels)
        known = self._known.get(name)
        if known is not None:
            return known
        count = HISTOGRAM_CELLS if family.kind is Kind.HISTOGRAM else 1
        text = orjson.dumps(name)
        start = self._used
        cells = start + RECORD.size + _padded(len(text))
        end = cells + 8 * count + (EXEMPLARS_BYTES if count > 1 else 0)
        if end > len(self._memory):
            self._dropped.cells[0] += 1
            return self._lost
        self._memory[start + RECORD.size : start + RECORD.size + len(text)] = text
        RECORD.pack_into(self._memory, start, len(text), count)
        self._used = end
        HEAD.pack_into(self._memory, 0, end, os.getpid())  # last: a reader sees whole records only
        series = self._known[name] = self._series(count, cells)
        return series

    def note_exemplar(self, series: Series, bucket: int, value: float, at: float, trace_id: bytes) -> None:
        """Remember a trace as an example of a bucket. trace_id: 32 hex digits. at: seconds since the epoch."""
        if series.exemplars:
            where = series.exemplars + bucket * EXEMPLAR.size
            EXEMPLAR.pack_into(self._memory, where, value, at, bytes.fromhex(trace_id.decode()))

    def _series(self, count: int, cells: int) -> Series:
        view = self._doubles[cells // 8 : cells // 8 + count]
        return Series(cast("Cells", view), cells + 8 * count if count > 1 else 0)


class Reading:
    """One series of one sheet, as it was read."""

    __slots__ = ("cells", "exemplars", "name")

    def __init__(self, name: Name, cells: list[float], exemplars: bytes) -> None:
        self.name = name
        self.cells = cells
        self.exemplars = exemplars


class Ledger:
    """All sheets. To be made before forking, or by a process for itself."""

    def __init__(self, processes: int = 1) -> None:
        """processes: how many count at a time, but for reloads."""
        self._count = processes * SPARE
        self._memory = mmap.mmap(-1, self._count * SHEET_BYTES)  # shared and anonymous
        self._locks = nameless_file("fastgw-figures")
        self.since = monotonic()
        """When counting began: the gateway's start."""

    def claim(self) -> Sheet:
        """A sheet of this process's own, until it ends.

        If there is none left (more reloads at once than there are sheets), figures of this process are lost.
        """
        for number in range(self._count):
            try:
                fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except OSError:
                continue
            return Sheet(self._part(number), os.getpid())
        return Sheet(memoryview(bytearray(SHEET_BYTES)), os.getpid())

    def read(self) -> Iterator[tuple[bool, list[Reading]]]:
        """For each sheet that was ever used: whether its process lives, and its series."""
        for number in range(self._count):
            part = self._part(number)
            used, pid = HEAD.unpack_from(part)
            if not used:
                continue
            readings = [
                Reading(
                    name,
                    list(part[cells : cells + 8 * count].cast("d")),
                    bytes(part[cells + 8 * count : cells + 8 * count + EXEMPLARS_BYTES]) if count > 1 else b"",
                )
                for name, count, cells in _records(part, used)
            ]
            yield _is_alive(pid), readings

    def _part(self, number: int) -> memoryview:
        return memoryview(self._memory)[number * SHEET_BYTES : (number + 1) * SHEET_BYTES]


def _records(memory: memoryview, used: int) -> Iterator[tuple[Name, int, int]]:
    """Name, number of cells, and where these begin, of each record."""
    at = HEAD.size
    while at < used:
        length, count = RECORD.unpack_from(memory, at)
        cells = at + RECORD.size + _padded(length)
        yield tuple(orjson.loads(memory[at + RECORD.size : at + RECORD.size + length])), count, cells
        at = cells + 8 * count + (EXEMPLARS_BYTES if count > 1 else 0)


def _padded(length: int) -> int:
    return (length + 7) & ~7


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
