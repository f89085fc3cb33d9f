"""The `aiki` command itself: finds subcommands by the entry-point group `aiki.commands`.

Invariant: an expected error is one sentence on stderr and an exit status that scripts can rely on.
"""

import os
import sys
from importlib.metadata import EntryPoint, entry_points, version
from typing import Final

import click

from aiki_client.errors import (
    CoordinatorUnavailableError,
    InvalidArgumentError,
    RunFailedError,
    RunNotFoundError,
    RunStalled,
    SettingsError,
    UnknownVersionError,
    UnknownWorkflowError,
    WaitTimeoutError,
)
from aiki_task.errors import AikiError, PayloadError

GROUP: Final = "aiki.commands"
# What a distribution brings, for those who have not installed it.
ELSEWHERE: Final = {"worker": "aiki-worker", "server": "aiki-server", "dev": "aiki-server[embedded]"}

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
NOT_FOUND: Final = 4
STALLED: Final = 5
TIMED_OUT: Final = 124
INTERRUPTED: Final = 130
STATUS: Final[tuple[tuple[type[AikiError], int], ...]] = (
    (CoordinatorUnavailableError, UNREACHABLE),
    (RunNotFoundError, NOT_FOUND),
    (UnknownWorkflowError, NOT_FOUND),
    (UnknownVersionError, NOT_FOUND),
    (RunStalled, STALLED),
    (WaitTimeoutError, TIMED_OUT),
    (RunFailedError, FAILED),
    (SettingsError, USAGE),
    (InvalidArgumentError, USAGE),
    (PayloadError, USAGE),
)


class AikiGroup(click.Group):
    """Subcommands by entry point, loaded only when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  the base's shape
        return sorted({point.name for point in entry_points(group=GROUP)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = list(entry_points(group=GROUP, name=cmd_name))
        if found:
            return _load(found[0])
        if cmd_name in ELSEWHERE:
            raise click.UsageError(
                f"'aiki {cmd_name}' is not installed here: pip install '{ELSEWHERE[cmd_name]}' brings it", ctx
            )
        return None


@click.group(cls=AikiGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("aiki-client"), prog_name="aiki")
def aiki() -> None:
    """Durable workflows."""


def main() -> int:
    """Run `aiki`; returns the exit status."""
    try:
        status: object = aiki.main(prog_name="aiki", standalone_mode=False)
        if sys.stdout is not None:  # None: it was closed before we began.
            sys.stdout.flush()
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()  # Whoever read it has gone.
        return FAILED
    except AikiError as error:
        click.echo(f"aiki: {error}", err=True)
        return exit_status(error)
    except OSError as error:
        _drop_output()
        click.echo(f"aiki: the output cannot be written: {error.strerror}", err=True)
        return FAILED
    return status if isinstance(status, int) else OK


def exit_status(error: AikiError) -> int:
    """The exit status that says what kind of error it was."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), FAILED)


def _drop_output() -> None:
    """Without this the interpreter complains at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _load(point: EntryPoint) -> click.Command:
    try:
        command: object = point.load()
    except Exception as error:
        brought_by = point.dist.name if point.dist else "an unknown distribution"
        raise click.ClickException(
            f"'aiki {point.name}' cannot be loaded from {point.value} ({brought_by}): "
            f"{type(error).__name__}: {error}. Install that distribution again."
        ) from error
    if not isinstance(command, click.Command):
        raise click.ClickException(f"'aiki {point.name}': {point.value} is no command of click")
    return command
