"""Options and values that the subcommands share.

Invariant: a value that does not parse is a usage error that names it, before anything is sent.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

from aiki_client.client import Client
from aiki_client.views import RunState
from aiki_task import durations
from aiki_task.errors import DurationError
from aiki_workflow.definition import IdPolicy

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class JsonValue(click.ParamType[object]):
    """A JSON value on the command line."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> object:
        try:
            parsed: object = json.loads(value, parse_constant=self._refuse)
        except ValueError as error:
            hint = json.dumps(value, ensure_ascii=False)
            self.fail(f"{value!r} is not JSON ({error}): a text is written '{hint}'", param, ctx)
        return parsed

    @staticmethod
    def _refuse(name: str) -> object:
        raise ValueError(f"{name} is not a number that JSON has")


class DurationValue(click.ParamType[timedelta]):
    """A duration such as 1m30s."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        try:
            return durations.parse(value)
        except DurationError as error:
            self.fail(str(error), param, ctx)


def connected(command: F) -> F:
    """The options of every subcommand: where the coordinator is, and how to print."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON, one document a line."),
        click.option("--namespace", metavar="NAME", help="[default: AIKI_NAMESPACE, aiki.toml, or default]"),
        click.option(
            "--address",
            metavar="HOST:PORT",
            help="Coordinators, with commas. [default: AIKI_ADDRESS, aiki.toml, or localhost:7700]",
        ),
    ):
        command = option(command)
    return command


def with_client(act: Callable[[Client], Awaitable[T]], *, address: str | None, namespace: str | None) -> T:
    """What *act* returns, with a connected client."""

    async def connect_and_act() -> T:
        async with Client.connect(*([address] if address else ()), namespace=namespace) as client:
            return await act(client)

    return asyncio.run(connect_and_act())


def pair_of(text: str) -> tuple[str, str]:
    """`KEY=VALUE` on the command line."""
    key, sign, value = text.partition("=")
    if not (key and sign and value):
        raise click.UsageError(f"{text!r} is no label: write KEY=VALUE, such as gpu=a100")
    return key, value


JSON_VALUE = JsonValue()
DURATION = DurationValue()
STATE = click.Choice([state.value for state in RunState])
POLICY = click.Choice([policy.value for policy in IdPolicy])
