"""`aiki task`: complete tasks from elsewhere."""

from collections.abc import Awaitable, Callable
from typing import Any

import click

from aiki_client.cli.options import JSON_VALUE, connected, with_client
from aiki_client.cli.output import print_json
from aiki_client.cli.program import OK
from aiki_client.client import Client
from aiki_task.errors import Failure


@click.group()
def task() -> None:
    """Complete tasks whose attempts have deferred their outcome, by the attempt's token."""


@task.command()
@click.argument("token")
@click.argument("value", type=JSON_VALUE, default="null", metavar="[JSON]")
@connected
def complete(token: str, value: Any, **where: Any) -> int:
    """Give the result of a task."""
    return _do("completed", lambda client: client.complete_task(token, value), **where)


@task.command()
@click.argument("token")
@click.argument("message")
@connected
def fail(token: str, message: str, **where: Any) -> int:
    """Have a task fail for good."""
    return _do("failed", lambda client: client.fail_task(token, Failure(message)), **where)


def _do(
    done: str,
    step: Callable[[Client], Awaitable[str]],
    *,
    as_json: bool,
    address: str | None,
    namespace: str | None,
) -> int:
    async def act(client: Client) -> int:
        run_id = await step(client)
        if as_json:
            print_json({"run_id": run_id})
        else:
            click.echo(f"{done} a task of run {run_id}", err=True)
        return OK

    return with_client(act, address=address, namespace=namespace)
