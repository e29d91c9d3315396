"""What this process uses, as the kernel tells. Cheap: a few reads of /proc; what a system does not tell is None."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from pathlib import Path
from typing import Any, Final

PROC: Final = Path("/proc/self")


def resources() -> dict[str, Any]:
    """{pid, rss_mb, cpu_seconds, open_files, max_open_files, threads, loop: {kind, tasks}}, to be called in the loop.

    rss_mb: resident memory in MB (10^6 bytes). cpu_seconds: user and system time since the process began.
    open_files: descriptors, sockets among them.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    loop = asyncio.get_running_loop()
    return {
        "pid": os.getpid(),
        "rss_mb": resident_mb(),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "open_files": _open_files(),
        "max_open_files": soft,
        "threads": threading.active_count(),
        "loop": {"kind": type(loop).__module__.partition(".")[0], "tasks": len(asyncio.all_tasks(loop))},
    }


def resident_mb() -> float | None:
    """Resident memory of this process in MB (10^6 bytes)."""
    try:
        pages = int((PROC / "statm").read_text().split()[1])  # proc(5): resident pages
    except (OSError, ValueError, IndexError):
        return None
    return round(pages * resource.getpagesize() / 1e6, 1)


def _open_files() -> int | None:
    try:
        return len(os.listdir(PROC / "fd")) - 1  # without the one that looks  # noqa: PTH208 - no Path for each is needed
    except OSError:
        return None
