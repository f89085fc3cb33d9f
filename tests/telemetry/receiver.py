"""A collector in the test process: what OTLP exporters send arrives here, by gRPC, as they send it to any other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclass(frozen=True, kw_only=True)
class Received:
    """A span as it arrived; ids are hexadecimal."""

    name: str
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    events: list[str]
    event_ns: list[int]
    links: list[str]
    failed: bool


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps all spans."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._spans: list[Received] = []
        self.endpoint = ""

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  the rpc's name and shape
        """Take what an exporter sends."""
        with self._lock:
            for resource in request.resource_spans:
                service = _values(resource.resource.attributes).get("service.name", "")
                for scope in resource.scope_spans:
                    self._spans += [_received(span, service) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[Received]:
        """All that arrived so far."""
        with self._lock:
            return list(self._spans)

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._spans.clear()

    def save(self, path: Path) -> None:
        """Write them down, for a picture."""
        spans = sorted((asdict(span) for span in self.spans), key=lambda span: span["start_ns"])
        path.write_text(json.dumps(spans, indent=1) + "\n", encoding="utf-8")


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A collector on a free port."""
    server = grpc.server(ThreadPoolExecutor(2))
    receiver = Receiver()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)  # type: ignore[no-untyped-call]  # it has no types
    receiver.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield receiver
    finally:
        server.stop(None).wait()


def environment(receiver: Receiver, service: str = "") -> Mapping[str, str]:
    """What sends a process' spans there, soon."""
    named = {"OTEL_SERVICE_NAME": service} if service else {}
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50", **named}


def _received(span: Any, service: str) -> Received:
    return Received(
        name=span.name,
        service=service,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_values(span.attributes),
        events=[event.name for event in span.events],
        event_ns=[event.time_unix_nano for event in span.events],
        links=[link.span_id.hex() for link in span.links],
        failed=span.status.code == 2,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}
