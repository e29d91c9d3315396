"""What is so now, written on this process's sheet once a second; and how late its event loop is."""

from __future__ import annotations

import asyncio
import resource
from time import perf_counter
from typing import TYPE_CHECKING, Final

from fastgw import __version__
from fastgw.telemetry import families

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fastgw.telemetry.families import Family
    from fastgw.telemetry.metrics import Metrics

REFRESH_S: Final = 1.0
LAG_EVERY_S: Final = 0.25

Value = tuple["Family", tuple[str, ...], float]
"""A family, the values of its labels, and the figure."""


class Gauges:
    """`refresh` is to be run every REFRESH_S. To be made in the running loop."""

    def __init__(self, metrics: Metrics, sources: Iterable[Callable[[], Iterable[Value]]]) -> None:
        """sources: each tells its figures as they are now. Of a counter: its height, which may only grow."""
        self._metrics = metrics
        self._sources = tuple(sources)
        self._shown: set[tuple[str, ...]] = set()
        self._heights: dict[tuple[str, ...], float] = {}
        self._loop = asyncio.get_running_loop()
        self._lag = metrics.sheet.series(families.LOOP_LAG)
        self.lag_s = 0.0
        """How late the loop was last."""
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._arm()

    async def refresh(self) -> None:
        """Write all figures."""
        sheet = self._metrics.sheet
        shown = set()
        for family, labels, figure in self._figures():
            name = (family.name, *labels)
            if family.kind is families.Kind.COUNTER:
                grown = figure - self._heights.get(name, 0.0)
                self._heights[name] = figure
                sheet.series(family, *labels).cells[0] += max(0.0, grown)  # 0 at first: an increase is from something
                continue
            shown.add(name)
            sheet.series(family, *labels).cells[0] = figure
        for name in self._shown - shown:  # a backend or a region that is no more
            sheet.series(families.BY_NAME[name[0]], *name[1:]).cells[0] = float("nan")
        self._shown = shown

    def close(self) -> None:
        """Stop measuring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- inside ---------------------------------------------------------------------------------------

    def _figures(self) -> Iterable[Value]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield families.PROCESSES, (), 1.0
        yield families.INFO, (__version__,), 1.0
        yield families.CPU, (), usage.ru_utime + usage.ru_stime
        for source in self._sources:
            yield from source()

    def _arm(self) -> None:
        self._due = perf_counter() + LAG_EVERY_S
        self._timer = self._loop.call_later(LAG_EVERY_S, self._look)

    def _look(self) -> None:
        self.lag_s = max(0.0, perf_counter() - self._due)
        self._metrics.observe(self._lag, self.lag_s)
        self._arm()
