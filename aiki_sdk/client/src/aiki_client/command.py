"""`aiki run`: start runs, wait for them, look at them.

Invariant: the exit status says how it went (see `aiki_client.cli.program`), with and without `--json`.
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from rich.live import Live
from rich.markup import escape

from aiki_client.cli.logs import logs
from aiki_client.cli.options import DURATION, JSON_VALUE, POLICY, STATE, connected, pair_of, with_client
from aiki_client.cli.output import (
    console,
    event_line,
    named,
    plain_event,
    print_json,
    run_picture,
    runs_table,
)
from aiki_client.cli.program import FAILED, OK, STALLED
from aiki_client.cli.steering import COMMANDS
from aiki_client.cli.waits import waits_for
from aiki_client.cli.why import why
from aiki_client.client import Client
from aiki_client.history_file import save, saved_run
from aiki_client.runs import Run
from aiki_client.views import RunState, RunView
from aiki_workflow.definition import IdPolicy


@click.group()
def run() -> None:
    """Start runs, wait for them, look at them.

    ID is the id of a run, or a workflow id, which names its newest run.
    """


for command in (*COMMANDS, logs, why):
    run.add_command(command)


@run.command()
@click.argument("workflow")
@click.argument("arguments", nargs=-1, type=JSON_VALUE, metavar="[JSON]...")
@click.option("--keyword", "keywords", nargs=2, multiple=True, type=(str, JSON_VALUE), metavar="NAME JSON")
@click.option("--id", "workflow_id", help="Workflow id. [default: generated]")
@click.option("--version", default="1", show_default=True, help="Version of the workflow.")
@click.option("--queue", default="default", show_default=True)
@click.option("--priority", type=click.IntRange(1, 5), help="1 (first) to 5. [default: 3]")
@click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label that a worker must have."
)
@click.option("--id-policy", type=POLICY, default="equal", show_default=True, help="When the id is in use.")
@click.option("--timeout", type=DURATION, help="The longest the run may take, such as 1h30m.")
@click.option("--chain-timeout", type=DURATION, help="Likewise, with all that continue or retry it.")
@click.option("--delay", type=DURATION, help="Begin so much later.")
@click.option("--signal", nargs=2, type=(str, JSON_VALUE), metavar="NAME JSON", help="A first message to it.")
@click.option("--require-worker", is_flag=True, help="Refuse when no connected worker serves the workflow.")
@click.option("--wait", is_flag=True, help="Wait for the result and print it.")
@connected
def start(
    workflow: str,
    arguments: tuple[object, ...],
    keywords: tuple[tuple[str, object], ...],
    workflow_id: str | None,
    version: str,
    queue: str,
    priority: int | None,
    labels: tuple[str, ...],
    id_policy: str,
    timeout: timedelta | None,
    chain_timeout: timedelta | None,
    delay: timedelta | None,
    signal: tuple[str, object] | None,
    require_worker: bool,  # noqa: FBT001  a flag of the command line
    wait: bool,  # noqa: FBT001  as above
    as_json: bool,  # noqa: FBT001  as above
    address: str | None,
    namespace: str | None,
) -> int:
    """Start a run of WORKFLOW with arguments in JSON."""

    async def act(client: Client) -> int:
        started = await client.start_by_name(
            workflow,
            *arguments,
            kwargs=dict(keywords),
            version=version,
            workflow_id=workflow_id,
            queue=queue,
            id_policy=IdPolicy(id_policy),
            require_worker=require_worker,
            timeout=timeout,
            chain_timeout=chain_timeout,
            delay=delay,
            signal=signal,
            priority=priority,
            labels=dict(pair_of(label) for label in labels) or None,
        )
        if wait:
            return _print_outcome(await started.wait(), as_json=as_json)
        if as_json:
            print_json({"run_id": started.run_id, "workflow_id": started.workflow_id})
            return OK
        click.echo(started.run_id)
        view = await started.describe()
        if view.waiting_for:
            click.echo(f"waits: {view.waiting_for}", err=True)
        return OK

    return with_client(act, address=address, namespace=namespace)


@run.command()
@click.argument("id_", metavar="ID")
@click.option("--follow", "-f", is_flag=True, help="Show it again whenever it changes, until it is closed.")
@connected
def show(
    id_: str,
    follow: bool,  # noqa: FBT001  a flag of the command line
    as_json: bool,  # noqa: FBT001  as above
    address: str | None,
    namespace: str | None,
) -> int:
    """Show one run: its state, what it waits for, its tasks, timers, children and messages."""

    async def act(client: Client) -> int:
        found = await client.find(id_)
        if not follow:
            await _show(found, as_json=as_json)
        elif as_json:
            async with aclosing(found.watch()) as views:
                async for view in views:
                    print_json(view)
        else:
            await _follow(found)
        return OK

    return with_client(act, address=address, namespace=namespace)


@run.command("list")
@click.option("--workflow", default="", help="Only this workflow.")
@click.option("--state", "states", multiple=True, type=STATE, help="Only this state; may be repeated.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The newest so many."
)
@connected
def list_(
    workflow: str,
    states: Sequence[str],
    limit: int,
    as_json: bool,  # noqa: FBT001  a flag of the command line
    address: str | None,
    namespace: str | None,
) -> int:
    """List runs, newest first."""

    async def act(client: Client) -> int:
        views = await _first(client, workflow, [RunState(state) for state in states], limit)
        if not as_json:
            console().print(runs_table(views))
            return OK
        for view in views:
            print_json(view)
        return OK

    return with_client(act, address=address, namespace=namespace)


@run.command()
@click.argument("id_", metavar="ID")
@click.option("--follow", "-f", is_flag=True, help="Keep going until the run is closed.")
@click.option("--save", "file", type=click.Path(path_type=Path), help="Write it to a file, for aiki replay.")
@connected
def history(
    id_: str,
    follow: bool,  # noqa: FBT001  a flag of the command line
    file: Path | None,
    as_json: bool,  # noqa: FBT001  as above
    address: str | None,
    namespace: str | None,
) -> int:
    """Print what happened in a run."""

    async def act(client: Client) -> int:
        found = await client.find(id_)
        if file is not None:
            save(await saved_run(found), file)
            return OK
        to = console()
        async with aclosing(found.history(follow=follow)) as events:
            index = 0
            async for event in events:
                if as_json:
                    print_json(plain_event(index, event))
                else:
                    to.print(event_line(index, event))
                index += 1
        return OK

    return with_client(act, address=address, namespace=namespace)


@run.command()
@click.argument("id_", metavar="ID")
@click.option("--timeout", type=DURATION, help="At most so long, such as 1m30s; then exit with 124.")
@connected
def wait(
    id_: str,
    timeout: timedelta | None,
    as_json: bool,  # noqa: FBT001  a flag of the command line
    address: str | None,
    namespace: str | None,
) -> int:
    """Wait for a run and print its result."""

    async def act(client: Client) -> int:
        found = await client.find(id_)
        return _print_outcome(await found.wait(timeout), as_json=as_json)

    return with_client(act, address=address, namespace=namespace)


async def _described(found: Run[Any]) -> RunView:
    """A run, with what it waits for in local time."""
    return _told(await found.describe())


async def _show(found: Run[Any], *, as_json: bool) -> None:
    view = await _described(found)
    if as_json:
        print_json(view)
    else:
        console().print(run_picture(view))


async def _follow(found: Run[Any]) -> None:
    """Redraw in place on a terminal; print one after the other into a file."""
    to = console()
    async with aclosing(found.watch()) as views:
        with Live(console=to, auto_refresh=False, transient=False) as live:
            async for view in views:
                picture = run_picture(_told(view))
                if to.is_terminal:
                    live.update(picture, refresh=True)
                else:
                    to.print(picture)


def _told(view: RunView) -> RunView:
    return replace(view, waiting_for=waits_for(view)) if view.state is RunState.WAITING else view


async def _first(client: Client, workflow: str, states: Sequence[RunState], limit: int) -> list[RunView]:
    views: list[RunView] = []
    async with aclosing(client.list(workflow=workflow, states=states)) as listing:
        async for view in listing:
            views.append(view)
            if len(views) >= limit:
                break
    return views


def _print_outcome(view: RunView, *, as_json: bool) -> int:
    """Print how a run ended; returns the exit status for it."""
    if as_json:
        print_json(view)
    elif view.output is not None:
        print_json(view.output)
    if view.state is RunState.COMPLETED:
        return OK
    if not as_json and view.failure is not None:
        to = console(stderr=True)
        to.print(f"run {escape(view.run_id)} {view.state.value}: {escape(named(view.failure))}")
        # A run fails by what it raised on purpose; what stalls it is a bug, to be looked at.
        if view.state is RunState.STALLED and view.failure.traceback:
            to.print(escape(view.failure.traceback.rstrip()), style="dim")
    return STALLED if view.state is RunState.STALLED else FAILED
