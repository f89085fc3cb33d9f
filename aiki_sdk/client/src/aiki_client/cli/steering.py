"""The subcommands of `aiki run` that change a run's course, or ask it something."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final

import click

from aiki_client.cli.options import DURATION, JSON_VALUE, connected, with_client
from aiki_client.cli.output import print_json
from aiki_client.cli.program import OK
from aiki_client.client import Client
from aiki_client.runs import Run

ID: Final = click.argument("id_", metavar="ID")
REASON: Final = click.option("--reason", default="", help="Why, for people.")


@click.command()
@ID
@connected
def resume(id_: str, **where: Any) -> int:
    """Let a paused run go on, or a worker try a stalled one again."""
    return _do(id_, "resumed", lambda run: run.resume(), **where)


@click.command()
@ID
@REASON
@connected
def cancel(id_: str, reason: str, **where: Any) -> int:
    """Ask a run to stop; it cleans up first."""
    return _do(id_, "asked to stop:", lambda run: run.cancel(reason), **where)


@click.command()
@ID
@REASON
@connected
def terminate(id_: str, reason: str, **where: Any) -> int:
    """End a run at once, without clean-up."""
    return _do(id_, "terminated", lambda run: run.terminate(reason), **where)


@click.command()
@ID
@REASON
@click.option("--freeze-timers", is_flag=True, help="Its timers stand still, and fire later.")
@connected
def pause(id_: str, reason: str, freeze_timers: bool, **where: Any) -> int:  # noqa: FBT001  a flag
    """Hold a run until it is resumed."""
    return _do(id_, "paused", lambda run: run.pause(reason, freeze_timers=freeze_timers), **where)


@click.command("cancel-task")
@ID
@click.argument("task_address", metavar="TASK")
@REASON
@connected
def cancel_task(id_: str, task_address: str, reason: str, **where: Any) -> int:
    """Cancel one task of a run, by its address as `aiki run show` prints it."""
    return _do(id_, "told", lambda run: run.cancel_task(task_address, reason), **where)


@click.command("move-timer")
@ID
@click.option("--timer", default="", help="Address of the timer, when the run has several.")
@click.option("--due", type=click.DateTime(), help="When it fires, in local time.")
@click.option("--after", type=DURATION, help="How long from now. [default: now]")
@connected
def move_timer(id_: str, timer: str, due: datetime | None, after: timedelta | None, **where: Any) -> int:
    """Change when a timer of a run fires, or wake the run now."""
    if due is not None and after is not None:
        raise click.UsageError("give --due or --after, not both")
    at = None if due is None else due.astimezone()

    async def move(run: Run[Any]) -> object:
        return await run.move_timer(timer, due=at, after=after)

    return _do(id_, "moved a timer of", move, **where)


@click.command()
@ID
@click.argument("name")
@click.argument("value", type=JSON_VALUE, metavar="JSON")
@click.option("--dedupe-id", help="What is sent again with the same one is not delivered again.")
@connected
def signal(id_: str, name: str, value: object, dedupe_id: str | None, **where: Any) -> int:
    """Send a message to a run: the signal's NAME and its value in JSON."""
    return _do(id_, "signalled", lambda run: run.signal_by_name(name, value, dedupe_id=dedupe_id), **where)


@click.command()
@ID
@click.argument("name")
@click.argument("arguments", nargs=-1, type=JSON_VALUE, metavar="[JSON]...")
@connected
def query(id_: str, name: str, arguments: tuple[object, ...], **where: Any) -> int:
    """Ask a run, open or closed, the query NAME; prints the answer in JSON."""
    return _print(id_, lambda run: run.query_by_name(name, *arguments), **where)


@click.command()
@ID
@click.argument("name")
@click.argument("arguments", nargs=-1, type=JSON_VALUE, metavar="[JSON]...")
@click.option("--update-id", help="Names the update: a repeat gets the same answer. [default: generated]")
@connected
def update(id_: str, name: str, arguments: tuple[object, ...], update_id: str | None, **where: Any) -> int:
    """Send the update NAME into a run; prints its answer in JSON."""
    return _print(id_, lambda run: run.update_by_name(name, *arguments, update_id=update_id), **where)


@click.command()
@ID
@click.argument("length", type=click.IntRange(min=1))
@REASON
@click.option("--fork", "fork_id", metavar="WORKFLOW_ID", help="Leave the run, and go on under this id.")
@connected
def reset(id_: str, length: int, reason: str, fork_id: str | None, **where: Any) -> int:
    """Go back in a run's history: a new run keeps its first LENGTH events. Prints the new run's id."""

    async def go_back(run: Run[Any]) -> str:
        return await (run.fork(length, fork_id, reason) if fork_id else run.reset(length, reason))

    return _print(id_, go_back, **where)


COMMANDS: Final = (
    resume,
    cancel,
    terminate,
    pause,
    cancel_task,
    move_timer,
    signal,
    query,
    update,
    reset,
)


def _do(
    id_: str,
    done: str,
    step: Callable[[Run[Any]], Awaitable[object]],
    *,
    as_json: bool,
    address: str | None,
    namespace: str | None,
) -> int:
    """Do something to a run, and say so."""

    async def act(client: Client) -> int:
        found = await client.find(id_)
        await step(found)
        if as_json:
            print_json({"run_id": found.run_id, "workflow_id": found.workflow_id})
        else:
            click.echo(f"{done} {found.run_id}", err=True)
        return OK

    return with_client(act, address=address, namespace=namespace)


def _print(
    id_: str,
    step: Callable[[Run[Any]], Awaitable[object]],
    *,
    as_json: bool,  # noqa: ARG001  an answer is JSON in any case
    address: str | None,
    namespace: str | None,
) -> int:
    """Print what a run answers."""

    async def act(client: Client) -> int:
        print_json(await step(await client.find(id_)))
        return OK

    return with_client(act, address=address, namespace=namespace)
