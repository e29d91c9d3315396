"""Which runs were made on the same kind of machine: a fingerprint of what figures depend on. Pure.

It names neither the host nor its owner: two machines alike in all parts have the same one, as their figures compare.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from math import ceil
from typing import Any

SMALL_GIB = 8  # up to here a gibibyte more is another machine
STEP_GIB = 4


@dataclass(frozen=True)
class Machine:
    """id: eight hexadecimal digits. label: the same for people; it may be reworded without making another machine."""

    id: str
    label: str = field(compare=False)

    def as_json(self) -> dict[str, str]:
        """{"id", "label"}."""
        return asdict(self)


def machine(environment: dict[str, Any]) -> Machine:
    """environment: of harness.environment. Raises KeyError, TypeError or ValueError if a part is missing or no figure.

    Memory is rounded up: the kernel keeps a part of what is built in, and not the same part in each boot. Of the kernel
    only major and minor count, of Python all of the version.
    """
    cpu, cores = str(environment["cpu"]), int(environment["cores"])
    memory = _rounded(float(environment["memory_gib"]))
    kernel, python = _major_minor(str(environment["kernel"])), str(environment["python"])
    parts = json.dumps([cpu, cores, memory, kernel, python]).encode()
    label = f"{cpu}, {cores} {'core' if cores == 1 else 'cores'}, {memory} GiB, Linux {kernel}, Python {python}"
    return Machine(sha256(parts).hexdigest()[:8], label)


def _rounded(gib: float) -> int:
    return ceil(gib) if gib <= SMALL_GIB else STEP_GIB * ceil(gib / STEP_GIB)


def _major_minor(kernel: str) -> str:
    found = re.match(r"\d+\.\d+", kernel)
    return found[0] if found else kernel
