"""`aiki queue`: what waits in queues, what is in flight, and what has no worker.

Invariant: it looks and changes nothing.
"""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import click
from rich.markup import escape
from rich.table import Table

from aiki.v1 import admin_pb2, admin_pb2_grpc, workflow_pb2
from aiki_client.cli.options import connected
from aiki_client.cli.output import console, print_json
from aiki_client.cli.program import FAILED, OK
from aiki_client.connection import ANSWER_TIMEOUT, Connection, Endpoint
from aiki_client.explanations import CAUSES
from aiki_client.settings import load_settings

if TYPE_CHECKING:
    from aiki.v1.admin_pb2_grpc import AdminServiceAsyncStub

HOMELESS: Final = frozenset(
    {
        workflow_pb2.WAIT_CAUSE_NO_HANDLER,
        workflow_pb2.WAIT_CAUSE_NO_QUEUE,
        workflow_pb2.WAIT_CAUSE_NO_LABEL,
        workflow_pb2.WAIT_CAUSE_NO_SLOTS,
    }
)
EVERYTHING: Final = click.option("--all", "everything", is_flag=True, help="Queues of all namespaces.")


@click.group("queue")
def queue() -> None:
    """Look at queues, and at what waits in them."""


@queue.command("list")
@EVERYTHING
@connected
def list_(*, everything: bool, as_json: bool, address: str | None, namespace: str | None) -> int:
    """List queues: what waits, since when, what is in flight, and the workers that serve them."""
    told = _told(everything, address, namespace)
    if as_json:
        for load in told.queues:
            print_json(_plain_load(load))
        return OK
    table = _table(
        "QUEUE", "NAMESPACE", "WAITING", "OLDEST", "RUNS", "TASKS", "SLOTS", "WORKERS", "FREE SLOTS"
    )
    for load in told.queues:
        table.add_row(
            escape(load.queue),
            escape(load.namespace),
            f"{load.backlog:,}",
            _age(load.oldest_ms, load.backlog),
            f"{load.runs:,}",
            f"{load.tasks:,}",
            f"{load.slots:,}",
            f"{load.sessions:,}",
            f"{load.free_slots:,}",
        )
    console().print(table)
    return OK


@queue.command()
@EVERYTHING
@click.option(
    "--check", is_flag=True, help="Exit with 1 if something waits that no connected worker could take."
)
@connected
def waiting(
    *, everything: bool, check: bool, as_json: bool, address: str | None, namespace: str | None
) -> int:
    """List what waits, and why: which handler, queue, label or number of slots no worker has."""
    told = _told(everything, address, namespace)
    if as_json:
        for work in told.waiting:
            print_json(_plain_work(work))
    else:
        table = _table(
            "WHAT", "QUEUE", "PRIORITY", "LABELS", "SLOTS", "WAITING", "OLDEST", "WHY", "WHAT TO DO"
        )
        for work in told.waiting:
            table.add_row(
                escape(_name(work.handler)),
                escape(work.queue),
                str(work.priority),
                escape(" ".join(work.labels)),
                str(work.slots),
                f"{work.backlog:,}",
                _age(work.oldest_ms, work.backlog),
                escape(work.message),
                escape(work.advice),
            )
        console().print(table)
    return FAILED if check and any(work.cause in HOMELESS for work in told.waiting) else OK


def _told(everything: bool, address: str | None, namespace: str | None) -> admin_pb2.ListQueuesResponse:  # noqa: FBT001  a flag of the command line
    settings = load_settings(address=address, namespace=namespace)
    request = admin_pb2.ListQueuesRequest(namespace="" if everything else settings.namespace)

    async def ask() -> admin_pb2.ListQueuesResponse:
        async with Connection([settings.address]) as connection:
            return await connection.ask(lambda endpoint: _ask(endpoint, request))

    return asyncio.run(ask())


async def _ask(endpoint: Endpoint, request: admin_pb2.ListQueuesRequest) -> admin_pb2.ListQueuesResponse:
    stub: AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(endpoint.channel)
    return await stub.ListQueues(request, timeout=ANSWER_TIMEOUT.total_seconds())


def _plain_load(load: admin_pb2.QueueLoad) -> dict[str, object]:
    return {
        "namespace": load.namespace,
        "queue": load.queue,
        "backlog": load.backlog,
        "oldest_ms": load.oldest_ms,
        "runs": load.runs,
        "tasks": load.tasks,
        "slots": load.slots,
        "workers": load.sessions,
        "free_slots": load.free_slots,
    }


def _plain_work(work: admin_pb2.WaitingWork) -> dict[str, object]:
    return {
        "namespace": work.namespace,
        "queue": work.queue,
        "handler": work.handler,
        "priority": work.priority,
        "labels": dict(_pairs(work.labels)),
        "slots": work.slots,
        "backlog": work.backlog,
        "oldest_ms": work.oldest_ms,
        "cause": CAUSES.get(work.cause, "unknown"),
        "message": work.message,
        "advice": work.advice,
    }


def _pairs(labels: Iterable[str]) -> Iterable[tuple[str, str]]:
    for label in labels:
        key, _, value = label.partition("=")
        yield key, value


def _name(handler: str) -> str:
    kind, _, rest = handler.partition(":")
    return f"task {rest}" if kind == "t" else " v".join(rest.rsplit(":", 1))


def _age(oldest_ms: int, backlog: int) -> str:
    return f"{oldest_ms / 1000:,.1f} s" if backlog else ""


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
