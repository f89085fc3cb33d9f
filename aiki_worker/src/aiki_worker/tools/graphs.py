"""`aiki graph show`: draw the graphs of a module."""

from __future__ import annotations

import click

from aiki_task.errors import AikiError
from aiki_worker.handlers import import_module
from aiki_workflow.drawing import to_dot, to_text
from aiki_workflow.graph import Graph


@click.group()
def graph() -> None:
    """Look at graphs of tasks."""


@graph.command()
@click.argument("where", metavar="MODULE[:ATTRIBUTE]")
@click.option("--format", "how", type=click.Choice(["text", "dot"]), default="text", show_default=True)
def show(where: str, how: str) -> None:
    """Draw the graphs of MODULE, or one of them, as text or for Graphviz."""
    module_name, _, attribute = where.partition(":")
    try:
        found = _graphs(module_name, attribute)
    except AikiError as error:
        raise click.ClickException(str(error)) from error
    if not found:
        raise click.ClickException(f"there is no graph in {where}: define one with Graph(name)")
    draw = to_text if how == "text" else to_dot
    click.echo("\n\n".join(map(draw, found)))


def _graphs(module_name: str, attribute: str) -> list[Graph]:
    values = vars(import_module(module_name))
    wanted = [values.get(attribute)] if attribute else values.values()
    return list(dict.fromkeys(value for value in wanted if isinstance(value, Graph)))
