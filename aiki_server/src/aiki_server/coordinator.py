"""A whole coordinator: store, services and loops, from start to drain."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import secrets
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from aiki.keda import externalscaler_pb2, externalscaler_pb2_grpc
from aiki.v1 import admin_pb2, admin_pb2_grpc, worker_pb2, worker_pb2_grpc, workflow_pb2, workflow_pb2_grpc
from aiki_server.core.stealing import Rules
from aiki_server.http.endpoint import serving_http
from aiki_server.http.metrics import metrics_routes
from aiki_server.http.probes import probe_routes
from aiki_server.loops.deadlines import Deadlines
from aiki_server.loops.failovers import FailoverWatch
from aiki_server.loops.gauges import Gauges
from aiki_server.loops.membership import Membership
from aiki_server.loops.outbox import OutboxPump
from aiki_server.loops.queues import QueueWatch
from aiki_server.loops.readiness import Readiness
from aiki_server.loops.streams import Hints, read_messages
from aiki_server.loops.survey import Survey
from aiki_server.loops.sweeper import Sweeper
from aiki_server.loops.telling import keep_telling
from aiki_server.loops.timers import Timers
from aiki_server.loops.upkeep import Upkeep
from aiki_server.rpc.admin_service import AdminService
from aiki_server.rpc.cluster import Cluster
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.scaler_service import ScalerService
from aiki_server.rpc.stalled import StalledRuns
from aiki_server.rpc.worker_service import WorkerService
from aiki_server.rpc.workflow_service import WorkflowService
from aiki_server.settings import ServerSettings
from aiki_server.store import Stores, StoreSettings, open_store
from aiki_server.store.embedded import EmbeddedValkey
from aiki_server.store.errors import StoreError
from aiki_server.telemetry.metrics import REGISTRY
from aiki_server.telemetry.pushing import pushing_metrics

DRAIN_SECONDS = 5.0
LEAVE_SECONDS = 1.0
COLLECTOR_THRESHOLDS = (200_000, 20, 50)
OPTIONS = (
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", 16 * 1024 * 1024),
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)
log = structlog.get_logger(__name__)


async def serve(settings: ServerSettings, *, ready_file: Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT; a second one stops at once.

    Raises:
        StoreUnsafeError, StoreUnavailableError: the store cannot be served on.
    """
    _spare_the_collector()
    stopping = asyncio.Event()
    _stop_on_signals(stopping)
    async with AsyncExitStack() as stack:
        url = settings.store
        if not url:
            valkey = await stack.enter_async_context(EmbeddedValkey(settings.data or Path("aiki-data")))
            url = valkey.url
        store_settings = StoreSettings(
            url=url,
            user=settings.store_user if settings.store else "",
            password=settings.store_password.get_secret_value() if settings.store else "",
            replicas=settings.replicas,
            partitions=settings.partitions,
            durability=settings.durability,
            allow_unsafe=settings.allow_unsafe,
        )
        stores = await stack.enter_async_context(open_store(store_settings))
        address = await stack.enter_async_context(serving(stores, settings))
        log.info("serving", address=address)
        if ready_file is not None:
            _write_ready(ready_file, address)
        await stopping.wait()
        log.info("draining")


@asynccontextmanager
async def serving(stores: Stores, settings: ServerSettings) -> AsyncGenerator[str]:
    """The services and loops; the address they serve at."""
    coordinator_id = secrets.token_hex(4)
    ttl = timedelta(seconds=settings.lease_ttl_seconds)
    stealing = Rules(after_s=settings.stealing_after_seconds) if settings.stealing else None
    hub = Hub(stores, coordinator_id, stealing)
    membership = Membership(stores, coordinator_id, settings.lease_ttl_seconds)
    await membership.look()
    hub.stealing.abroad.others = membership.others
    survey = Survey(hub, membership, settings.lease_ttl_seconds)
    stalled = StalledRuns(hub)
    server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=settings.calls_max)
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(WorkerService(hub, ttl, stalled), server)
    workflow_pb2_grpc.add_WorkflowServiceServicer_to_server(WorkflowService(hub), server)
    scaler = ScalerService(hub.queues.load, hub.draining)
    externalscaler_pb2_grpc.add_ExternalScalerServicer_to_server(scaler, server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    names = [
        worker_pb2.DESCRIPTOR.services_by_name["WorkerService"].full_name,
        workflow_pb2.DESCRIPTOR.services_by_name["WorkflowService"].full_name,
        admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
        externalscaler_pb2.DESCRIPTOR.services_by_name["ExternalScaler"].full_name,
    ]
    reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
    address = f"{settings.listen.rpartition(':')[0]}:{_listen(server, settings)}"
    cluster = Cluster(hub, address, lambda: len(membership.partitions))
    admin_pb2_grpc.add_AdminServiceServicer_to_server(AdminService(hub, cluster), server)
    await server.start()
    readiness = Readiness(stores.health, hub, checks, names)
    await readiness.tell()
    # A loop that ends by itself is a bug, and takes the coordinator with it rather than leave half of one.
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        await stack.enter_async_context(pushing_metrics(coordinator_id))
        if settings.http:
            at = await stack.enter_async_context(
                serving_http(settings.http, [*probe_routes(readiness.problems), *metrics_routes(REGISTRY)])
            )
            log.info("serving http", address=at)
        loops = [
            group.create_task(part)
            for part in (
                readiness.run(),
                Gauges(hub, membership).run(),
                read_messages(hub),
                Hints(hub, membership).run(),
                hub.stealing.run(),
                QueueWatch(hub).run(),
                membership.run(),
                keep_telling(cluster),
                survey.run(),
                Timers(hub).run(),
                OutboxPump(hub).run(),
                FailoverWatch(hub, membership).run(),
                Upkeep(hub, membership).run(),
                Deadlines(hub, survey, timedelta(seconds=settings.timeout_grace_seconds)).run(),
                hub.questions.forwarding.run(),
                stalled.run(),
                Sweeper(
                    hub,
                    membership,
                    survey,
                    settings.lease_ttl_seconds,
                    timedelta(days=settings.retention_days),
                ).run(),
            )
        ]
        try:
            yield address
        finally:
            hub.drain()
            if not await _has_others(membership):
                hub.end_sessions()
            await readiness.tell()
            await server.stop(DRAIN_SECONDS)
            for part in loops:
                part.cancel()
            await asyncio.to_thread(hub.traces.close)
    # A courtesy to the others: without a store there is nobody to be told.
    with contextlib.suppress(StoreError, TimeoutError):
        async with asyncio.timeout(LEAVE_SECONDS):
            await membership.leave()


def _listen(server: grpc.aio.Server, settings: ServerSettings) -> int:
    """The port."""
    if settings.tls is None:
        return server.add_insecure_port(settings.listen)
    return server.add_secure_port(settings.listen, settings.tls.credentials())


async def _has_others(membership: Membership) -> bool:
    """Whether the workers have somewhere to go; without a store nobody can be asked, and they are let go."""
    with contextlib.suppress(StoreError, TimeoutError):
        async with asyncio.timeout(LEAVE_SECONDS):
            await membership.look()
            return membership.has_others
    return False


def _spare_the_collector() -> None:
    """What was loaded stays; calls under way make many objects that are no garbage for a moment."""
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def _stop_on_signals(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, _on_signal, stopping)
        except NotImplementedError:  # on Windows
            signal.signal(number, _safely(loop, stopping))


def _safely(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> Callable[[int, object], None]:
    def stop(_number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(_on_signal, stopping)

    return stop


def _on_signal(stopping: asyncio.Event) -> None:
    if stopping.is_set():
        os._exit(130)
    stopping.set()


def _write_ready(path: Path, address: str) -> None:
    """Whole or not at all, since somebody is waiting for it to appear."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"address": address}), encoding="utf-8")
    partial.replace(path)
