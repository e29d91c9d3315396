"""direct: the load generator calls the backend itself. It shows the floor, and the limit of load and backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.process import Command, Place


class Direct:
    """No gateway."""

    name = "direct"

    def version(self) -> str:
        """There is no program."""
        return "no gateway"

    def missing(self) -> str | None:
        """Never."""
        return None

    def command(self, home: Path, place: Place) -> Command | None:  # noqa: ARG002 - the interface
        """Nothing to start."""
        return None
