"""Metrics as others read them: Prometheus' text with exemplars, and OpenTelemetry's metrics API.

(This file is the same for server and worker but for one import; a test holds them equal.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from prometheus_client import Metric as Family
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as PrometheusExemplar

from aiki_worker.instruments import Counter, Exemplar, Gauge, Histogram, Registry

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation


class PrometheusText(Collector):
    """What a scrape gets; nothing is asked of anybody for it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def render(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type, of the kinds that the Accept header names."""
        encoder, content_type = choose_encoder(accept)
        text: bytes = encoder(self)
        return text, content_type

    def collect(self) -> Iterable[Family]:
        """One family for each metric, also for those that have no values yet."""
        for metric in self._registry:
            match metric:
                case Counter():
                    yield _counter(metric)
                case Gauge():
                    yield _gauge(metric)
                case Histogram():
                    yield _histogram(metric)


def observe_with(registry: Registry, meter: Meter) -> None:
    """Have OpenTelemetry read the metrics when it collects: of histograms, how many values there were and their sum."""
    for metric in registry:
        match metric:
            case Counter():
                meter.create_observable_counter(
                    metric.name, [_values_of(metric)], metric.unit, metric.description
                )
            case Gauge():
                meter.create_observable_gauge(
                    metric.name, [_values_of(metric)], metric.unit, metric.description
                )
            case Histogram():
                count, total = _counts_of(metric), _totals_of(metric)
                meter.create_observable_counter(f"{metric.name}.count", [count], "1", metric.description)
                meter.create_observable_counter(
                    f"{metric.name}.sum", [total], metric.unit, metric.description
                )


def values_of(metric: Counter | Gauge) -> dict[tuple[str, ...], float]:
    """Its series now. Any thread may ask."""
    if isinstance(metric, Gauge) and metric.observe is not None:
        return {(): metric.observe()}
    return metric.values.copy()


def _counter(metric: Counter) -> Family:
    family = CounterMetricFamily(metric.prometheus_name, metric.description, labels=metric.labels)
    for labels, value in values_of(metric).items():
        family.add_metric(labels, value)
    return family


def _gauge(metric: Gauge) -> Family:
    family = GaugeMetricFamily(metric.prometheus_name, metric.description, labels=metric.labels)
    for labels, value in values_of(metric).items():
        family.add_metric(labels, value)
    return family


def _histogram(metric: Histogram) -> Family:
    family = HistogramMetricFamily(metric.prometheus_name, metric.description, labels=metric.labels)
    bounds = [*map(str, map(float, metric.bounds)), "+Inf"]
    for labels, series in metric.values.copy().items():
        reached = 0
        buckets: list[Any] = []
        for number, (bound, count) in enumerate(zip(bounds, list(series.counts), strict=True)):
            reached += count
            buckets.append((bound, reached, _exemplar(series.exemplars.get(number))))
        family.add_metric(labels, buckets, series.total)
    return family


def _exemplar(example: Exemplar | None) -> PrometheusExemplar | None:
    if example is None:
        return None
    ids = {"trace_id": example.trace_id, "span_id": example.span_id}
    return PrometheusExemplar(ids, example.value, example.at_s)


def _values_of(metric: Counter | Gauge) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return _observations(metric, values_of(metric))

    return observe


def _counts_of(metric: Histogram) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        series = metric.values.copy().items()
        return _observations(metric, {labels: float(sum(values.counts)) for labels, values in series})

    return observe


def _totals_of(metric: Histogram) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        series = metric.values.copy().items()
        return _observations(metric, {labels: values.total for labels, values in series})

    return observe


def _observations(
    metric: Counter | Gauge | Histogram, values: dict[tuple[str, ...], float]
) -> Iterable[Observation]:
    from opentelemetry.metrics import Observation

    return [
        Observation(value, dict(zip(metric.labels, labels, strict=True))) for labels, value in values.items()
    ]
