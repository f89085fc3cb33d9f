"""Pushes metrics to a collector, where the environment asks for that."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

from aiki_worker.metrics import REGISTRY


@contextmanager
def pushing_metrics(instance: str) -> Generator[None]:
    """As long as this is open; what is left at the end goes if that takes no more than a moment."""
    if not os.environ.get("OTEL_METRICS_EXPORTER"):
        yield
        return
    from aiki_worker import otel
    from aiki_worker.exposition import observe_with

    if not otel.exports_metrics():
        yield
        return
    provider = otel.meter_provider("aiki-worker", instance)
    observe_with(REGISTRY, provider.get_meter("aiki_worker"))
    try:
        yield
    finally:
        otel.shut_down(provider)
