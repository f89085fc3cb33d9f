"""`aiki run why`: why a run does not go on, and what to do about it."""

from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from aiki_client.cli.options import connected, with_client
from aiki_client.cli.output import console, print_json
from aiki_client.cli.program import OK
from aiki_client.client import Client
from aiki_client.explanations import Explanation


@click.command()
@click.argument("id_", metavar="ID")
@connected
def why(id_: str, *, as_json: bool, **where: Any) -> int:
    """Say what a run and each of its open tasks wait for, and what to do about it."""

    async def ask(client: Client) -> Explanation:
        return await (await client.find(id_)).why()

    told = with_client(ask, **where)
    if as_json:
        print_json(told)
    else:
        console().print(f"run {told.run_id} is {told.state.value}")
        console().print(_table(told))
        if told.more:
            console().print(f"and {told.more:,} more")
    return OK


def _table(told: Explanation) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("WHAT", "CAUSE", "WHY", "SINCE", "UNTIL", "WHAT TO DO"):
        table.add_column(column, overflow="fold")
    for reason in told.reasons:
        table.add_row(
            escape(reason.address) or "the run",
            reason.cause.replace("_", " "),
            escape(reason.message),
            f"{reason.since.astimezone():%Y-%m-%d %H:%M:%S}" if reason.since else "",
            f"{reason.due.astimezone():%Y-%m-%d %H:%M:%S}" if reason.due else "",
            escape(reason.advice),
        )
    return table
