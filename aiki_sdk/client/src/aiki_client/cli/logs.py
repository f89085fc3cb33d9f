"""`aiki logs` and `aiki run logs`: what code logged in a run and its tasks, alone or next to the run's history."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

import click
from rich.markup import escape

from aiki_client.cli.options import connected, with_client
from aiki_client.cli.output import console, event_line, plain_event, print_json
from aiki_client.cli.program import OK
from aiki_client.client import Client
from aiki_client.runs import Run
from aiki_client.views import LogLine
from aiki_workflow import events

COLOURS: Final = {"warning": "yellow", "error": "red", "critical": "red", "debug": "dim"}
Entry = tuple[datetime, Callable[[], None]]


@click.command()
@click.argument("id_", metavar="ID")
@click.option("--follow", "-f", is_flag=True, help="Keep going until the run is closed.")
@click.option("--history", is_flag=True, help="Show what happened in the run, too.")
@connected
def logs(
    id_: str,
    follow: bool,  # noqa: FBT001  a flag of the command line
    history: bool,  # noqa: FBT001  as above
    as_json: bool,  # noqa: FBT001  as above
    address: str | None,
    namespace: str | None,
) -> int:
    """Print what the code of a run and its tasks has logged."""

    async def act(client: Client) -> int:
        found = await client.find(id_)
        streams = [_lines(found, follow=follow, as_json=as_json)]
        if history:
            streams.append(_events(found, follow=follow, as_json=as_json))
        await (_as_they_come(streams) if follow else _in_order(streams))
        return OK

    return with_client(act, address=address, namespace=namespace)


async def _as_they_come(streams: list[AsyncIterator[Entry]]) -> None:
    async def print_all(stream: AsyncIterator[Entry]) -> None:
        async for _, tell in stream:
            tell()

    async with asyncio.TaskGroup() as group:
        for stream in streams:
            group.create_task(print_all(stream))


async def _in_order(streams: list[AsyncIterator[Entry]]) -> None:
    entries = [entry for stream in streams async for entry in stream]
    for _, tell in sorted(entries, key=lambda entry: entry[0]):
        tell()


async def _lines(run: Run[Any], *, follow: bool, as_json: bool) -> AsyncIterator[Entry]:
    to = console()
    async with aclosing(run.logs(follow=follow)) as lines:
        async for line in lines:

            def tell(line: LogLine = line) -> None:
                if as_json:
                    print_json(line)
                else:
                    to.print(_shown(line))

            yield line.time, tell


async def _events(run: Run[Any], *, follow: bool, as_json: bool) -> AsyncIterator[Entry]:
    to = console()
    index = 0
    async with aclosing(run.history(follow=follow)) as history:
        async for event in history:

            def tell(index: int = index, event: events.Event = event) -> None:
                if as_json:
                    print_json(plain_event(index, event))
                else:
                    to.print(event_line(index, event))

            yield datetime.fromtimestamp(event.at / 1000, UTC), tell
            index += 1


def _shown(line: LogLine) -> str:
    """One line, as markup, in the columns of the history."""
    colour = COLOURS.get(line.level, "green")
    when = f"{line.time.astimezone():%H:%M:%S.%f}"[:-3]
    where = f"{line.address}#{line.attempt}" if line.address else "workflow"
    told = f"[{colour}]{line.level:<8}[/{colour}] {escape(line.message)}  [dim]{escape(where)} {escape(line.logger)}[/dim]"
    return f"{'':>5}  [dim]{when}[/dim]  {told}"
