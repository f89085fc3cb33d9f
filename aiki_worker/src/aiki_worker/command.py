"""`aiki worker MODULE…`: serve what modules define."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn, cast

import click

from aiki_client.errors import CoordinatorUnavailableError
from aiki_task.errors import AikiError
from aiki_worker.errors import LifespanError, ModuleImportError

if TYPE_CHECKING:
    from aiki_worker.settings import WorkerSettings

SWITCH_SECONDS: Final = 0.0005
"""How long a thread may keep the interpreter while the other waits: the session must not lag behind."""
COLLECTOR_THRESHOLDS: Final = (20_000, 20, 50)
OF_EACH_PROCESS: Final = frozenset({"processes", "identity", "http", "parent", "exit_with_parent"})
"""Options that a worker among several has a value of its own for."""
PARENT_POLL_SECONDS: Final = 0.25
NOT_NOW: Final = (LifespanError, CoordinatorUnavailableError)
# Packages whose frames tell an author nothing.
NOT_THEIRS: Final = frozenset({"aiki_sdk", "aiki_task", "aiki_worker", "aiki_workflow", "importlib"})


@click.command()
@click.argument("modules", nargs=-1, required=True)
@click.option("--address", multiple=True, help="host:port of a coordinator; can be given several times.")
@click.option("--namespace", help="The namespace that is served.")
@click.option("--queue", "queues", multiple=True, help="A queue that is served; can be given several times.")
@click.option(
    "--queue-slots",
    multiple=True,
    metavar="QUEUE=SLOTS",
    help="The most slots that tasks of a queue may take.",
)
@click.option(
    "--queue-weight",
    "queue_weights",
    multiple=True,
    metavar="QUEUE=WEIGHT",
    help="The share of a queue that has work, against the others; default: 1.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    help="A label that work can ask for, such as gpu=a100.",
)
@click.option(
    "--serve",
    type=click.Choice(["all", "workflows", "tasks"]),
    help="What of MODULES is served; default: all.",
)
@click.option("--slots", type=int, help="Attempts of tasks at once.")
@click.option("--threads", type=int, help="Threads for sync tasks.")
@click.option("--processes", type=int, help="Whole workers to run, each in a process of its own.")
@click.option("--task-processes", type=int, help='Child processes for tasks with executor="process".')
@click.option("--runs", type=int, help="Runs held at once.")
@click.option("--identity", help="A name for people.")
@click.option("--build-id", help="What the code is; default: a digest of its sources.")
@click.option("--http", metavar="HOST:PORT", help="Where /livez and /readyz are served; default: nowhere.")
@click.option("--grace", help="How long running work may take to finish on SIGTERM, such as 30s.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]))
@click.option("--log-format", type=click.Choice(["text", "json"]))
@click.option("--exit-with-parent", is_flag=True, help="End when the parent process does (not on Windows).")
# The same, for a parent that may be gone before we can ask who it is.
@click.option("--parent", type=int, hidden=True)
def worker(
    modules: tuple[str, ...],
    *,
    address: tuple[str, ...],
    queues: tuple[str, ...],
    queue_slots: tuple[str, ...],
    queue_weights: tuple[str, ...],
    labels: tuple[str, ...],
    exit_with_parent: bool,
    parent: int | None,
    **options: str | int | None,
) -> None:
    """Serve the workflows and tasks of MODULES until stopped.

    Ctrl-C or SIGTERM once drains, twice stops at once.
    """
    if exit_with_parent or parent is not None:
        _exit_with(parent or os.getppid())
    try:
        _serve(
            modules,
            address=",".join(address) or None,
            queues=queues or None,
            queue_slots=",".join(queue_slots) or None,
            queue_weights=",".join(queue_weights) or None,
            labels=",".join(labels) or None,
            **options,
        )
    except AikiError as error:
        kind = _NotNowError if isinstance(error, NOT_NOW) else click.ClickException
        raise kind(f"{error}{_place_of(error)}") from error


class _NotNowError(click.ClickException):
    """The same command may succeed later, which those who restart workers should know."""

    exit_code = 3


def _serve(modules: tuple[str, ...], **options: object) -> None:
    from aiki_worker import logs
    from aiki_worker.handlers import load
    from aiki_worker.pushing import pushing_metrics
    from aiki_worker.settings import load_settings
    from aiki_worker.tracing import shut_down
    from aiki_worker.worker import Worker

    settings = load_settings(**options)
    logs.configure(settings.log_level, settings.log_format)
    if settings.processes > 1:
        _supervise(settings)
    sys.setswitchinterval(SWITCH_SECONDS)
    handlers = load(modules)
    _spare_the_collector()
    serving = Worker(handlers, settings)
    _stop_on_signals(serving.drain)
    with pushing_metrics(settings.identity):
        serving.run_forever()
    shut_down()
    # A sync task that outlives the grace must not keep the process.
    sys.stderr.flush()
    os._exit(0)


def _supervise(settings: WorkerSettings) -> NoReturn:
    from aiki_worker.supervisor import Supervisor, commands_of

    commands = commands_of(
        _arguments_of(click.get_current_context()),
        processes=settings.processes,
        identity=settings.identity,
        http=settings.http,
    )
    sys.exit(asyncio.run(Supervisor(commands).run()))


def _arguments_of(context: click.Context) -> list[str]:
    """What was given on the command line, but for what each process has of its own."""
    arguments: list[str] = list(context.params["modules"])
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if not isinstance(parameter, click.Option) or parameter.name in OF_EACH_PROCESS or not value:
            continue
        values = cast("tuple[object, ...]", value) if parameter.multiple else (value,)
        for one in values:
            arguments += [parameter.opts[0]] if parameter.is_flag else [parameter.opts[0], str(one)]
    return arguments


def _spare_the_collector() -> None:
    """What was loaded stays; runs make many objects that are no garbage for a while."""
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def _stop_on_signals(drain: Callable[[], None]) -> None:
    seen: list[int] = []

    def on_signal(number: int, _: object) -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)
        drain()

    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), on_signal)


def _place_of(error: AikiError) -> str:
    """Where in an author's module it was raised, if that is why it cannot be imported."""
    if not isinstance(error, ModuleImportError) or error.__cause__ is None:
        return ""
    frames = [
        f" (raised in {frame.f_code.co_filename}, line {line})"
        for frame, line in traceback.walk_tb(error.__cause__.__traceback__)
        if frame.f_globals.get("__name__", "").partition(".")[0] not in NOT_THEIRS
    ]
    return frames[-1] if frames else ""


def _exit_with(parent: int) -> None:
    def watch() -> None:
        waiting = threading.Event()
        while os.getppid() == parent:
            waiting.wait(PARENT_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="aiki-parent", daemon=True).start()
