"""OpenTelemetry's SDK, set up from the standard OTEL_… variables. Imported only where it is wanted.

Invariant: nothing here waits for a collector. Spans wait in a bounded queue for a thread of their own; what does
not fit is dropped, and at the end of the process they get a moment and no more.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry import trace
from opentelemetry.sdk.environment_variables import (
    OTEL_BSP_SCHEDULE_DELAY,
    OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_PROTOCOL,
    OTEL_EXPORTER_OTLP_TIMEOUT,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
    OTEL_EXPORTER_OTLP_TRACES_TIMEOUT,
    OTEL_RESOURCE_ATTRIBUTES,
    OTEL_SDK_DISABLED,
    OTEL_SERVICE_NAME,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider

OTEL_TRACES_EXPORTER: Final = "OTEL_TRACES_EXPORTER"  # the SDK has no names for these
OTEL_METRICS_EXPORTER: Final = "OTEL_METRICS_EXPORTER"
EXPORT_SECONDS_MAX: Final = 5
LAST_SECONDS_MAX: Final = 2.0
SEND_EVERY_MS: Final = 1000
"""Sooner than the SDK would: what a worker has not sent is lost when it is killed."""

log = logging.getLogger(__name__)


class DerivedIds(IdGenerator):
    """Gives the next span of a thread the ids that it is to have, and all others what *others* gives."""

    def __init__(self, others: IdGenerator | None = None) -> None:
        self.others = others or RandomIdGenerator()
        self._next = threading.local()

    def expect(self, *, trace_id: str, span_id: str) -> None:
        """The next span that this thread begins has these."""
        self._next.trace_id, self._next.span_id = int(trace_id, 16), int(span_id, 16)

    def generate_span_id(self) -> int:
        given: int = self._next.__dict__.pop("span_id", 0)
        self._next.__dict__.pop("trace_id", 0)
        return given or self.others.generate_span_id()

    def generate_trace_id(self) -> int:
        """Asked for a root span only, and before its span id."""
        given: int = self._next.__dict__.pop("trace_id", 0)
        return given or self.others.generate_trace_id()


def exports_traces(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether spans go anywhere: an OTLP endpoint is named, or the exporter is."""
    chosen = environment.get(OTEL_TRACES_EXPORTER, "").strip()
    if environment.get(OTEL_SDK_DISABLED, "").strip().lower() == "true" or chosen == "none":
        return False
    if chosen and chosen != "otlp":
        log.warning("OTEL_TRACES_EXPORTER is %r, and only otlp is there: no spans are sent", chosen)
        return False
    return bool(
        chosen
        or environment.get(OTEL_EXPORTER_OTLP_ENDPOINT)
        or environment.get(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT)
    )


def provider_of_process(instance: str, ids: DerivedIds) -> TracerProvider | None:
    """The provider that the author's code has set up, or else one as the environment says, if it does."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        before = provider.id_generator
        ids.others = before.others if isinstance(before, DerivedIds) else before
        provider.id_generator = cast("Any", ids)  # the SDK takes the type of what it had
        return provider
    if not exports_traces():
        return None
    made = tracer_provider("aiki-worker", instance, ids)
    # So that the author's spans, and those of the libraries they use, go the same way.
    trace.set_tracer_provider(made)
    return made


def tracer_provider(service: str, instance: str, ids: IdGenerator) -> TracerProvider:
    """A provider whose spans go to the collector that the environment names."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    said = os.environ
    protocol = said.get(OTEL_EXPORTER_OTLP_TRACES_PROTOCOL, said.get(OTEL_EXPORTER_OTLP_PROTOCOL, "grpc"))
    if protocol != "grpc":
        log.warning("spans go by gRPC: the OTLP protocol %r is not there", protocol)
    named = {OTEL_EXPORTER_OTLP_TIMEOUT, OTEL_EXPORTER_OTLP_TRACES_TIMEOUT} & said.keys()
    exporter = OTLPSpanExporter(timeout=None if named else EXPORT_SECONDS_MAX)
    delay = None if OTEL_BSP_SCHEDULE_DELAY in said else SEND_EVERY_MS
    provider = TracerProvider(
        resource=Resource.create(_resource(service, instance)), id_generator=ids, shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=delay))
    return provider


def exports_metrics(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether metrics are pushed: only where that is asked for, since Prometheus pulls them."""
    is_disabled = environment.get(OTEL_SDK_DISABLED, "").strip().lower() == "true"
    return environment.get(OTEL_METRICS_EXPORTER, "").strip() == "otlp" and not is_disabled


def meter_provider(service: str, instance: str) -> MeterProvider:
    """A provider that pushes what its meters observe, every minute or as OTEL_METRIC_EXPORT_INTERVAL says."""
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    reader = PeriodicExportingMetricReader(OTLPMetricExporter(timeout=EXPORT_SECONDS_MAX))
    resource = Resource.create(_resource(service, instance))
    return MeterProvider([reader], resource=resource, shutdown_on_exit=False)


def shut_down(provider: TracerProvider | MeterProvider) -> None:
    """Send what is left, if that takes no more than a moment."""
    last = threading.Thread(target=provider.shutdown, name="aiki-last-spans", daemon=True)
    last.start()
    last.join(LAST_SECONDS_MAX)


def _resource(service: str, instance: str) -> dict[str, str]:
    """What the environment says wins, which `Resource.create` would have the other way round."""
    said = os.environ.get(OTEL_RESOURCE_ATTRIBUTES, "")
    attributes = {"service.instance.id": instance}
    if OTEL_SERVICE_NAME not in os.environ:
        attributes["service.name"] = service
    return {name: value for name, value in attributes.items() if f"{name}=" not in said}
