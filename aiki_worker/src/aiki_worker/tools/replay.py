"""`aiki replay`: would the code here continue the runs that are there? The gate before a deploy."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from aiki_client import Client, Run, RunState
from aiki_client.cli.options import connected
from aiki_client.history_file import SavedRun, load as load_history, saved_run
from aiki_task.errors import AikiError
from aiki_worker.handlers import load
from aiki_worker.runtime import runtime
from aiki_worker.tools.replaying import Verdict, replayed

OPEN = (RunState.RUNNING, RunState.WAITING, RunState.STALLED, RunState.PAUSED)
TOGETHER = 8
"""Histories that are read at once."""


@click.command()
@click.argument("modules", nargs=-1, required=True)
@click.option(
    "--history", "files", multiple=True, type=click.Path(path_type=Path), help="Of aiki run history --save."
)
@click.option("--run", "runs", multiple=True, metavar="ID", help="A run, or a workflow id.")
@click.option("--all-open", is_flag=True, help="Every run that is not closed.")
@click.option("--workflow", default="", help="With --all-open: only runs of this workflow.")
@connected
def replay(
    modules: tuple[str, ...],
    *,
    files: tuple[Path, ...],
    runs: tuple[str, ...],
    all_open: bool,
    workflow: str,
    as_json: bool,
    address: str | None,
    namespace: str | None,
) -> int:
    """Replay histories against the code of MODULES; nothing is changed.

    Exits with 1 when a run would diverge, and names the call and its line.
    """
    if not files and not runs and not all_open:
        raise click.UsageError("say which: --history FILE, --run ID or --all-open")
    try:
        verdicts = asyncio.run(_verdicts(modules, files, runs, all_open, workflow, address, namespace))
    except AikiError as error:
        raise click.ClickException(str(error)) from error
    wrong = [verdict for verdict in verdicts if verdict.problem]
    for verdict in verdicts if as_json else wrong:
        click.echo(json.dumps(asdict(verdict)) if as_json else _told(verdict))
    _tell_runtimes(verdicts)
    agree = len(verdicts) - len(wrong)
    click.echo(f"{len(verdicts)} replayed: {agree} agree with the code here, {len(wrong)} do not", err=True)
    return 1 if wrong else 0


async def _verdicts(
    modules: tuple[str, ...],
    files: tuple[Path, ...],
    ids: tuple[str, ...],
    all_open: bool,  # noqa: FBT001  an option
    workflow: str,
    address: str | None,
    namespace: str | None,
) -> list[Verdict]:
    workflows = load(modules).workflows
    verdicts = [replayed(load_history(path), workflows) for path in files]
    if ids or all_open:
        async with Client.connect(*([address] if address else ()), namespace=namespace) as client:
            runs = _saved(client, ids, all_open=all_open, workflow=workflow)
            verdicts += [replayed(saved, workflows) async for saved in runs]
    return verdicts


async def _saved(
    client: Client, ids: tuple[str, ...], *, all_open: bool, workflow: str
) -> AsyncIterator[SavedRun]:
    for id_ in ids:
        yield await saved_run(await client.find(id_))
    if not all_open:
        return
    page: list[Run[Any]] = []
    async for view in client.list(workflow=workflow, states=OPEN):
        page.append(await client.get_run(view.run_id))
        if len(page) == TOGETHER:
            for saved in await asyncio.gather(*map(saved_run, page)):
                yield saved
            page = []
    for saved in await asyncio.gather(*map(saved_run, page)):
        yield saved


def _tell_runtimes(verdicts: list[Verdict]) -> None:
    """A verdict holds for the Python it was made with: name the others that runs have had."""
    for other, count in sorted(Counter(verdict.runtime for verdict in verdicts if verdict.runtime).items()):
        message = (
            f"{count} ran with {other} until now; what is said here of them is how they do with {runtime()}"
        )
        click.echo(message, err=True)


def _told(verdict: Verdict) -> str:
    at = f"\n    at {verdict.line}" if verdict.line else ""
    return f"{verdict.workflow} {verdict.run_id} ({verdict.workflow_id}): {verdict.problem}{at}"
