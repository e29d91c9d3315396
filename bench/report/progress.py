"""What is being measured now, on stderr: a bar on a terminal, a line per slot elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import rich.progress
from rich.console import Console

if TYPE_CHECKING:
    from types import TracebackType


class Progress:
    """A context; `told` begins the next of `slots` slots."""

    def __init__(self, slots: int) -> None:
        self._console = Console(stderr=True)
        self._bar = rich.progress.Progress(
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("{task.description}"),
            console=self._console,
            refresh_per_second=2,  # drawing must not take part of the load generator's core
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=slots)
        self._begun = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def told(self, line: str) -> None:
        """The slot before is done; this one begins."""
        self._bar.update(self._task, completed=self._begun, description=line)
        self._begun += 1
        if not self._console.is_terminal:
            self._console.print(line, highlight=False)
