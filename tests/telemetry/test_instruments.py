"""Metrics are bounded, declared once, and read the same by Prometheus and by OpenTelemetry."""

import re
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from aiki_server.telemetry import instruments, metrics as of_server
from aiki_server.telemetry.exposition import PrometheusText, observe_with
from aiki_server.telemetry.instruments import LABEL_VALUES_MAX, SERIES_MAX, Registry
from aiki_worker import metrics as of_worker

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "aiki_server/src/aiki_server/telemetry"
WORKER = ROOT / "aiki_worker/src/aiki_worker"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
NAME = re.compile(r"aiki(\.[a-z][a-z_]*)+")


@pytest.fixture
def registry() -> Registry:
    """With one of each kind."""
    registry = Registry()
    registry.counter("shop.orders", "Orders.", "kind").add(("book",), 2)
    registry.gauge("shop.stock", "Stock.", unit="By").set(7)
    wait = registry.histogram("shop.wait", "Waiting.", "desk", bounds=(1, 2))
    for value in (0.5, 1.0, 1.5, 9.0):
        wait.record(value, ("a",), ("ab" * 16, "cd" * 8) if value == 1.5 else None)
    return registry


def test_both_sides_have_the_same_instruments() -> None:
    """Server and worker share no code, and these files are the same."""
    assert (SERVER / "instruments.py").read_text() == (WORKER / "instruments.py").read_text()
    theirs = (SERVER / "exposition.py").read_text()
    assert theirs.replace("aiki_server.telemetry.", "aiki_worker.") == (WORKER / "exposition.py").read_text()


@pytest.mark.parametrize("registry_of", [of_server.REGISTRY, of_worker.REGISTRY], ids=["server", "worker"])
def test_every_metric_has_a_name_a_sentence_and_bounded_labels(registry_of: Registry) -> None:
    """No label is an id."""
    for metric in registry_of:
        assert NAME.fullmatch(metric.name)
        assert metric.description.endswith(".")
        assert not {label for label in metric.labels if "id" in label.split("_")}


def test_a_name_is_declared_once(registry: Registry) -> None:
    """Else two meanings would be added up."""
    with pytest.raises(RuntimeError, match="declared twice"):
        registry.gauge("shop.orders", "Again.")


def test_labels_with_many_values_count_as_other() -> None:
    """Nothing is lost from the sum."""
    orders = Registry().counter("shop.orders", "Orders.", "customer")

    for number in range(3 * LABEL_VALUES_MAX):
        orders.add((f"customer-{number}",))

    assert len(orders.values) == LABEL_VALUES_MAX + 1
    assert orders.values[(instruments.OTHER,)] == 2 * LABEL_VALUES_MAX


def test_metrics_with_many_series_count_as_other() -> None:
    """Labels that are bounded each are not always bounded together."""
    wait = Registry().histogram("shop.wait", "Waiting.", "desk", "day")

    for desk in range(90):
        for day in range(90):
            wait.record(1.0, (str(desk), str(day)))

    assert len(wait.values) == SERIES_MAX + 1
    assert sum(sum(series.counts) for series in wait.values.values()) == 90 * 90


def test_prometheus_reads_them(registry: Registry) -> None:
    """Buckets are cumulative, and units are in the names."""
    body, content_type = PrometheusText(registry).render("text/plain")

    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in parse_text(body.decode())
        for sample in family.samples
    }
    assert content_type.startswith("text/plain")
    assert samples["shop_orders_total", "book"] == 2
    assert samples["shop_stock_bytes",] == 7
    assert [samples["shop_wait_seconds_bucket", "a", bound] for bound in ("1.0", "2.0", "+Inf")] == [2, 3, 4]
    assert samples["shop_wait_seconds_sum", "a"] == 12.0


def test_exemplars_join_metrics_to_traces(registry: Registry) -> None:
    """For those who accept OpenMetrics."""
    body, content_type = PrometheusText(registry).render(OPENMETRICS)

    exemplars = [
        sample.exemplar
        for family in parse_openmetrics(body.decode())  # type: ignore[no-untyped-call]  # it has no types
        for sample in family.samples
        if sample.exemplar is not None
    ]
    assert content_type.startswith("application/openmetrics-text")
    assert [(found.labels["trace_id"], found.value) for found in exemplars] == [("ab" * 16, 1.5)]


def test_opentelemetry_reads_them(registry: Registry) -> None:
    """Through its metrics API; of a histogram, count and sum."""
    reader = InMemoryMetricReader()
    observe_with(registry, MeterProvider([reader], shutdown_on_exit=False).get_meter("shop"))

    data = reader.get_metrics_data()
    assert data is not None
    found = {
        metric.name: [point.value for point in metric.data.data_points]  # type: ignore[union-attr]  # all are numbers
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
    }

    assert found == {"shop.orders": [2], "shop.stock": [7], "shop.wait.count": [4], "shop.wait.sum": [12.0]}
