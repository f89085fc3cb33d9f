"""Counters, gauges and histograms: plain numbers on the hot path, read when somebody collects them.

OpenTelemetry's own instruments cost 7 µs a measurement, these 0.2 µs; `exposition.py` hands them to OpenTelemetry and to
Prometheus. Invariant: what is kept is bounded. A label has at most LABEL_VALUES_MAX values, the others count as
"other", and so do all labels of a metric that has SERIES_MAX series. (This file is the same for server and worker; a
test holds them equal.)
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

LABEL_VALUES_MAX: Final = 100
SERIES_MAX: Final = 1000
OTHER: Final = "other"
SECONDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    300,
    1800,
    3600,
    86400,
)
FAST_SECONDS: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
)
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SUFFIXES: Final[Mapping[str, str]] = {"s": "_seconds", "By": "_bytes", "1": ""}

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A span in which a value was measured."""

    trace_id: str
    span_id: str
    value: float
    at_s: float


class Metric:
    """What all kinds have; `labels` names what a series is told apart by, never by ids."""

    kind: str = ""

    def __init__(self, name: str, description: str, unit: str, labels: Labels) -> None:
        self.name = name
        self.description = description
        self.unit = unit
        self.labels = labels
        self._known: list[set[str]] = [set() for _ in labels]
        self._series = 0

    @property
    def prometheus_name(self) -> str:
        """As Prometheus has it; without the `_total` of a counter."""
        return self.name.replace(".", "_") + SUFFIXES[self.unit]

    def admit(self, labels: Labels) -> Labels:
        """The labels that a new series gets."""
        if self._series >= SERIES_MAX:
            return (OTHER,) * len(labels)
        admitted = tuple(map(self._value, self._known, labels))
        if admitted == labels:
            self._series += 1
        return admitted

    @staticmethod
    def _value(known: set[str], value: str) -> str:
        if value in known or len(known) < LABEL_VALUES_MAX:
            known.add(value)
            return value
        return OTHER


class Counter(Metric):
    """Only grows."""

    kind = "counter"

    def __init__(self, name: str, description: str, unit: str, labels: Labels) -> None:
        super().__init__(name, description, unit, labels)
        self.values: dict[Labels, float] = {} if labels else {(): 0}

    def add(self, labels: Labels = (), amount: float = 1) -> None:
        """Count *amount* more."""
        values = self.values
        if labels not in values:
            labels = self.admit(labels)
        values[labels] = values.get(labels, 0) + amount


class Gauge(Metric):
    """Is what it was last set to, or what `observe` says when it is collected."""

    kind = "gauge"

    def __init__(self, name: str, description: str, unit: str, labels: Labels) -> None:
        super().__init__(name, description, unit, labels)
        self.values: dict[Labels, float] = {}
        self.observe: Callable[[], float] | None = None

    def set(self, value: float, labels: Labels = ()) -> None:
        """It is *value* now."""
        if labels not in self.values:
            labels = self.admit(labels)
        self.values[labels] = value

    def set_all(self, values: Mapping[Labels, float]) -> None:
        """These are all series there are now; those that come to share the label "other" are added up."""
        now: dict[Labels, float] = {}
        for labels, value in values.items():
            key = labels if labels in self.values else self.admit(labels)
            now[key] = now.get(key, 0) + value
        self.values = now


@dataclass(slots=True)
class Distribution:
    """The values of one series: how many are up to each bound, and beyond the last."""

    counts: list[int]
    total: float = 0.0
    exemplars: dict[int, Exemplar] = field(default_factory=dict[int, Exemplar])


class Histogram(Metric):
    """How values are distributed over *bounds*."""

    kind = "histogram"

    def __init__(
        self, name: str, description: str, unit: str, labels: Labels, bounds: tuple[float, ...]
    ) -> None:
        super().__init__(name, description, unit, labels)
        self.bounds = bounds
        self.values: dict[Labels, Distribution] = {}

    def record(self, value: float, labels: Labels = (), span: tuple[str, str] | None = None) -> None:
        """Count *value*; *span*, trace id and span id, is an example of it."""
        series = self.values.get(labels)
        if series is None:
            labels = self.admit(labels)
            series = self.values.setdefault(labels, Distribution([0] * (len(self.bounds) + 1)))
        bucket = bisect_left(self.bounds, value)
        series.counts[bucket] += 1
        series.total += value
        if span is not None:
            series.exemplars[bucket] = Exemplar(*span, value, time.time())


class Registry:
    """All metrics of one side, each declared once."""

    def __init__(self) -> None:
        self._metrics: dict[str, Counter | Gauge | Histogram] = {}

    def __iter__(self) -> Iterator[Counter | Gauge | Histogram]:
        return iter(self._metrics.values())

    def counter(self, name: str, description: str, *labels: str, unit: str = "1") -> Counter:
        """Declare a counter."""
        metric = Counter(name, description, unit, labels)
        self._declare(metric)
        return metric

    def gauge(self, name: str, description: str, *labels: str, unit: str = "1") -> Gauge:
        """Declare a gauge."""
        metric = Gauge(name, description, unit, labels)
        self._declare(metric)
        return metric

    def histogram(
        self, name: str, description: str, *labels: str, unit: str = "s", bounds: tuple[float, ...] = SECONDS
    ) -> Histogram:
        """Declare a histogram."""
        metric = Histogram(name, description, unit, labels, bounds)
        self._declare(metric)
        return metric

    def _declare(self, metric: Counter | Gauge | Histogram) -> None:
        if metric.name in self._metrics:
            raise RuntimeError(f"metric {metric.name!r} is declared twice")
        self._metrics[metric.name] = metric
