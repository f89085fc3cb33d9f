"""`aiki cluster`: coordinators, sessions and queues of a cluster, as any of its coordinators shows them.

Invariant: it looks and changes nothing.
"""

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click
from google.protobuf.json_format import MessageToDict
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from aiki.v1 import admin_pb2, admin_pb2_grpc
from aiki_client.cli.options import connected
from aiki_client.cli.output import console
from aiki_client.cli.program import INTERRUPTED, OK
from aiki_client.connection import ANSWER_TIMEOUT, Connection, Endpoint
from aiki_client.settings import ClientSettings, load_settings

if TYPE_CHECKING:
    from aiki.v1.admin_pb2_grpc import AdminServiceAsyncStub

WATCH_SECONDS: Final = 1.0


@click.group()
def cluster() -> None:
    """Look at coordinators, workers and queues."""


@cluster.command()
@click.option("--watch", "-w", is_flag=True, help="Go on showing it until Ctrl-C.")
@click.option("--all", "everything", is_flag=True, help="Sessions and queues of all namespaces.")
@connected
def show(*, watch: bool, everything: bool, as_json: bool, address: str | None, namespace: str | None) -> int:
    """Show every coordinator, session and queue.

    Any coordinator can be asked: each tells the others of itself every two seconds.
    """
    settings = load_settings(address=address, namespace=namespace)
    wanted = "" if everything else settings.namespace
    try:
        asyncio.run(_show(settings, wanted, watch=watch, as_json=as_json))
    except KeyboardInterrupt:
        return INTERRUPTED
    return OK


async def _show(settings: ClientSettings, namespace: str, *, watch: bool, as_json: bool) -> None:
    to = console()
    request = admin_pb2.ShowClusterRequest(namespace=namespace)
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(Connection([settings.address], settings.tls_files))
        redraws = watch and to.is_terminal and not as_json
        live = stack.enter_context(Live(console=to, auto_refresh=False)) if redraws else None
        while True:
            answer = await connection.ask(lambda endpoint: _ask(endpoint, request))
            if as_json:
                click.echo(json.dumps(_plain(answer)))
            elif live is not None:
                live.update(picture(answer), refresh=True)
            else:
                to.print(picture(answer))
            if not watch:
                return
            await asyncio.sleep(WATCH_SECONDS)


async def _ask(endpoint: Endpoint, request: admin_pb2.ShowClusterRequest) -> admin_pb2.ShowClusterResponse:
    stub: AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(endpoint.channel)
    return await stub.ShowCluster(request, timeout=ANSWER_TIMEOUT.total_seconds())


def _plain(answer: admin_pb2.ShowClusterResponse) -> dict[str, object]:
    plain: dict[str, object] = MessageToDict(
        answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return plain


def picture(answer: admin_pb2.ShowClusterResponse) -> Group:
    """Four tables, for people."""
    oldest = f", the oldest for {_span(answer.backlog_oldest_ms)}" if answer.backlog else ""
    head = Text(
        f"cluster {answer.cluster_id}, {answer.partitions} partitions, {_time(answer.store_time_ms)}: "
        f"{answer.backlog} things need attention{oldest}; {answer.timers} timers"
    )
    parts = [_coordinators(answer), _sessions(answer), _queues(answer)]
    if any(view.thefts for view in answer.coordinators):
        parts.append(_thefts(answer))
    return Group(head, *(part for table in parts for part in (Text(), table)))


def _coordinators(answer: admin_pb2.ShowClusterResponse) -> Table:
    table = _table("COORDINATOR", "ADDRESS", "HOST", "VERSION", "UP", "SWEEPS", "SESSIONS", "STATE")
    for view in answer.coordinators:
        if not view.told_time_ms:
            table.add_row(view.coordinator_id, "", "", "", "", "", "", "has not told yet")
            continue
        state = "draining" if view.draining else "serving"
        if view.coordinator_id == answer.coordinator_id:
            state += ", answered this"
        table.add_row(
            escape(view.coordinator_id),
            escape(view.address),
            escape(view.host),
            view.version,
            _span(answer.store_time_ms - view.start_time_ms),
            str(view.partitions),
            str(len(view.sessions)),
            state,
        )
    return table


def _sessions(answer: admin_pb2.ShowClusterResponse) -> Table:
    table = _table(
        *(
            "WORKER",
            "COORDINATOR",
            "QUEUES",
            "RUNS",
            "FREE",
            "TASKS",
            "FREE",
            "SLOTS",
            "STOLEN",
            "SINCE",
            "STATE",
        )
    )
    for view in answer.coordinators:
        for session in sorted(view.sessions, key=lambda one: one.identity):
            table.add_row(
                escape(session.identity),
                view.coordinator_id,
                escape(", ".join(session.queues)),
                str(session.runs_held),
                str(session.runs_free),
                str(session.tasks_held),
                str(session.tasks_free),
                str(session.slots),
                _stolen(session),
                _span(answer.store_time_ms - session.connect_time_ms),
                "draining" if session.draining else "",
            )
    return table


def _stolen(session: admin_pb2.SessionView) -> str:
    """What others took of it, what it took, what it was asked for and kept."""
    if not session.recalled and not session.stolen_to:
        return ""
    return f"-{session.stolen_from} +{session.stolen_to} ={sum(session.refused.values())}"


def _queues(answer: admin_pb2.ShowClusterResponse) -> Table:
    table = _table("QUEUE", "HANDLER", "WAITING", "OLDEST", "HELD", "SESSIONS")
    busy = [queue for queue in answer.queues if queue.backlog or queue.held or not queue.sessions]
    for queue in busy:
        table.add_row(
            escape(queue.queue),
            escape(queue.handler),
            str(queue.backlog),
            _span(queue.oldest_ms) if queue.backlog else "",
            str(queue.held),
            str(queue.sessions),
        )
    if len(busy) < len(answer.queues):
        table.caption = f"and {len(answer.queues) - len(busy)} handlers with nothing to do"
        table.caption_justify = "left"
    return table


def _thefts(answer: admin_pb2.ShowClusterResponse) -> Table:
    table = _table("STOLEN FROM", "BY", "TIMES")
    counts: Counter[tuple[str, str]] = Counter()
    for view in answer.coordinators:
        for theft in view.thefts:
            counts[theft.victim, theft.thief] += theft.count
    for (victim, thief), count in counts.most_common():
        table.add_row(escape(victim), escape(thief), str(count))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).astimezone().strftime("%H:%M:%S")


def _span(span_ms: int) -> str:
    seconds = max(span_ms, 0) / 1000
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.1f}s"
