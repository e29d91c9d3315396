"""CPU time and memory of a process and all its descendants, read from /proc (proc(5))."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_READ_ERRORS = (FileNotFoundError, ProcessLookupError)  # the process or thread ended while we looked


@dataclass(frozen=True)
class _Stat:
    parent: int
    session: int
    ticks: int  # utime + stime, ended threads included


def _stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except _READ_ERRORS:
        return None
    fields = text.rpartition(")")[2].split()  # the name in parentheses may hold anything, so count from its end
    return _Stat(parent=int(fields[1]), session=int(fields[3]), ticks=int(fields[11]) + int(fields[12]))


def family(root: int) -> list[int]:
    """`root`, its descendants, and whoever else is in its session (workers whose parent died). Pids, ascending."""
    stats = {int(entry.name): _stat(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdigit()}
    members = {pid for pid, stat in stats.items() if stat is not None and root in (pid, stat.session)}
    grew = True
    while grew:
        children = {pid for pid, stat in stats.items() if stat is not None and stat.parent in members} - members
        members |= children
        grew = bool(children)
    return sorted(members)


def _scheduled_ns(pid: int) -> int | None:
    """Nanoseconds on a CPU, summed over the threads that live now; None where the kernel keeps no schedstat."""
    total = 0
    try:
        for task in (_PROC / str(pid) / "task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except ProcessLookupError:
                continue
            except FileNotFoundError:
                if task.exists():
                    return None
    except _READ_ERRORS:
        return 0
    return total


def cpu_ns(pids: list[int]) -> int:
    """CPU time, user and system, of these processes so far.

    schedstat counts nanoseconds; utime+stime of /proc/PID/stat, the fallback, counts ticks of 10 ms.
    """
    total = 0
    for pid in pids:
        scheduled = _scheduled_ns(pid)
        if scheduled is None:
            stat = _stat(pid)
            scheduled = stat.ticks * _NS_PER_TICK if stat is not None else 0
        total += scheduled
    return total


def core_busy_ns(core: int) -> int:
    """Time this core was not idle so far, whoever used it; other guests of the host (steal) too. In steps of 10 ms."""
    line = next(line for line in (_PROC / "stat").read_text().splitlines() if line.startswith(f"cpu{core} "))
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(ticks) for ticks in line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) * _NS_PER_TICK


def rss_bytes(pids: list[int]) -> int:
    """Resident memory of these processes, shared pages counted once per process."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for pid in pids:
        try:
            total += int((_PROC / str(pid) / "statm").read_text().split()[1]) * page
        except _READ_ERRORS:
            continue
    return total


def peak_bytes(pids: list[int]) -> int:
    """The most that the largest of these processes ever had resident (VmHWM)."""
    return max((_peak(pid) for pid in pids), default=0)


def _peak(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except _READ_ERRORS:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def open_files(pids: list[int]) -> int:
    """File descriptors that these processes hold."""
    total = 0
    for pid in pids:
        try:
            total += len(list((_PROC / str(pid) / "fd").iterdir()))
        except _READ_ERRORS:
            continue
    return total
