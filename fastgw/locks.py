"""What the processes of a host lock, in a file without a name."""

from __future__ import annotations

import os
import tempfile


def nameless_file(name: str) -> int:
    """The descriptor of a file for fcntl locks, which goes with the last process that has it open. name: for /proc."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    with tempfile.TemporaryFile(prefix=name) as file:
        return os.dup(file.fileno())
