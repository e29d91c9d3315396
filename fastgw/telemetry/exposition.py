"""All processes' figures as one: for Prometheus (prometheus_client writes the text), and for the status page."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from prometheus_client import exposition as text_format
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.samples import Exemplar, Sample

from fastgw.telemetry.families import ALL, BOUNDS, BY_NAME, Kind
from fastgw.telemetry.ledger import EXEMPLAR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.metrics_core import Metric

    from fastgw.telemetry.families import Family
    from fastgw.telemetry.ledger import Ledger, Name

JOIN: Final[dict[Kind, Callable[[tuple[float, ...]], float]]] = {Kind.SUM: sum, Kind.MAX: max, Kind.MIN: min}
LIMITS: Final = (*(repr(bound) for bound in BOUNDS), "+Inf")


class Total:
    """The figures of all processes, by series. To be made anew for each question."""

    def __init__(self, ledger: Ledger) -> None:
        """Reads all sheets: 1 ms for 1,000 series."""
        self.cells: dict[Name, list[float]] = {}
        self.exemplars: dict[Name, list[Exemplar | None]] = {}
        for is_alive, readings in ledger.read():
            for reading in readings:
                kind = BY_NAME[reading.name[0]].kind
                if not kind.is_gauge:
                    self._add(reading.name, reading.cells)
                    if reading.exemplars:
                        self._keep(reading.name, reading.exemplars)
                elif is_alive and not math.isnan(reading.cells[0]):
                    self._put(kind, reading.name, reading.cells[0])

    def of(self, family: Family) -> dict[tuple[str, ...], list[float]]:
        """The series of a family: the values of its labels -> cells."""
        return {name[1:]: cells for name, cells in self.cells.items() if name[0] == family.name}

    def sum_of(self, family: Family) -> float:
        """All series of a counter or gauge together."""
        return sum(cells[0] for cells in self.of(family).values())

    def _add(self, name: Name, cells: list[float]) -> None:
        known = self.cells.get(name)
        self.cells[name] = cells if known is None else [a + b for a, b in zip(known, cells, strict=True)]

    def _put(self, kind: Kind, name: Name, figure: float) -> None:
        known = self.cells.get(name)
        if known is not None:
            figure = JOIN[kind]((known[0], figure))
        self.cells[name] = [figure]

    def _keep(self, name: Name, raw: bytes) -> None:
        """The newest exemplar of each bucket."""
        known = self.exemplars.setdefault(name, [None] * len(LIMITS))
        for bucket, (value, at, trace_id) in enumerate(EXEMPLAR.iter_unpack(raw)):
            before = known[bucket]
            if at and (before is None or (before.timestamp or 0.0) < at):
                known[bucket] = Exemplar({"trace_id": trace_id.hex()}, value, at)


class Collector:
    """For prometheus_client: a registry of one collection."""

    def __init__(self, total: Total) -> None:
        """total: read just now."""
        self._total = total

    def collect(self) -> Iterator[Metric]:
        """All families that have a series."""
        series: dict[str, list[tuple[Name, list[float]]]] = defaultdict(list)
        for name, cells in sorted(self._total.cells.items()):
            series[name[0]].append((name, cells))
        for family in ALL:
            if family.name in series:
                yield self._metric(family, series[family.name])

    def _metric(self, family: Family, series: list[tuple[Name, list[float]]]) -> Metric:
        if family.kind is Kind.HISTOGRAM:
            metric: Metric = HistogramMetricFamily(family.name, family.help)
            for name, cells in series:
                metric.samples += self._buckets(family, name, cells)
            return metric
        if family.kind is Kind.COUNTER:
            metric = CounterMetricFamily(family.name, family.help)
            suffix = "_total"
        else:
            metric = GaugeMetricFamily(family.name, family.help)
            suffix = ""
        for name, cells in series:
            metric.samples.append(Sample(family.name + suffix, _labels(family, name), cells[0]))
        return metric

    def _buckets(self, family: Family, name: Name, cells: list[float]) -> Iterator[Sample]:
        labels = _labels(family, name)
        exemplars = self._total.exemplars.get(name) or [None] * len(LIMITS)
        count = 0.0
        for limit, cell, exemplar in zip(LIMITS, cells, exemplars, strict=False):
            count += cell
            yield Sample(f"{family.name}_bucket", {**labels, "le": limit}, count, exemplar=exemplar)
        yield Sample(f"{family.name}_count", labels, count)
        yield Sample(f"{family.name}_sum", labels, cells[-1])


def expose(ledger: Ledger, accept: str) -> tuple[bytes, str]:
    """The metrics, and their content type: OpenMetrics with exemplars if `accept` asks for it, else the text format.

    Takes some milliseconds: to be called in a thread.
    """
    registry = Collector(Total(ledger))
    if "application/openmetrics-text" in accept:
        return openmetrics.generate_latest(registry), openmetrics.CONTENT_TYPE_LATEST  # type: ignore[no-untyped-call]
    return text_format.generate_latest(registry), text_format.CONTENT_TYPE_LATEST


def _labels(family: Family, name: Name) -> dict[str, str]:
    return dict(zip(family.labels, name[1:], strict=True))
