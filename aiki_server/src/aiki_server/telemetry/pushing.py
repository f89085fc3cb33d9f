"""Pushes metrics to a collector, where the environment asks for that."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiki_server.telemetry import otel
from aiki_server.telemetry.exposition import observe_with
from aiki_server.telemetry.metrics import REGISTRY

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@asynccontextmanager
async def pushing_metrics(instance: str) -> AsyncGenerator[None]:
    """As long as this is open; what is left at the end goes if that takes no more than a moment."""
    if not otel.exports_metrics():
        yield
        return
    provider = otel.meter_provider("aiki-server", instance)
    observe_with(REGISTRY, provider.get_meter("aiki_server"))
    try:
        yield
    finally:
        await asyncio.to_thread(otel.shut_down, provider)
