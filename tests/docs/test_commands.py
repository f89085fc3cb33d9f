"""Every `aiki` command that the documentation shows exists, with the options it is shown with."""

import re
import shlex

import click
import pytest

from aiki_client.cli.program import AikiGroup
from tests.docs.markdown import Fence
from tests.docs.test_docs import blocks, name

PROGRAM = re.compile(r"(?:^|[|;&(] ?|\$\()(?:[A-Z_]+=\S+ +)*aiki ")


def shown() -> list[tuple[Fence, str]]:
    """The lines of bash blocks that call `aiki`, from there on."""
    return [
        (fence, line[found.end() :])
        for fence in blocks("bash")
        for line in fence.code.replace("\\\n", " ").splitlines()
        if (found := PROGRAM.search(line))
    ]


@pytest.mark.parametrize(("fence", "line"), shown(), ids=lambda value: getattr(value, "heading", value))
def test_command_exists(fence: Fence, line: str) -> None:
    """A reader can paste it."""
    words = [word for word in shlex.split(line, comments=True) if word not in {"&", "|", ")"}]
    context = click.Context(AikiGroup("aiki"))
    command: click.Command = context.command
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words[0])
        assert found is not None, f"{name(fence)}: no command {words[0]!r} in {line!r}"
        command, words = found, words[1:]
        context = click.Context(command, parent=context)
    try:
        command.make_parser(context).parse_args(words)
    except click.UsageError as error:
        pytest.fail(f"{name(fence)}: {line!r}: {error.format_message()}")
