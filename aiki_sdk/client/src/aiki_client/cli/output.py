"""What the command prints: tables for people, JSON for programs.

Invariant: JSON goes to stdout, one document a line, and nothing else does with `--json`.
"""

import base64
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, cast

import click
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from aiki_client.views import ChildView, RunState, RunView, SignalView, TaskView, TimerView
from aiki_task.failures import FailureInfo
from aiki_task.payloads import RAW, Payload
from aiki_workflow import events

COLOURS: Final = {
    RunState.RUNNING: "cyan",
    RunState.WAITING: "blue",
    RunState.STALLED: "yellow",
    RunState.COMPLETED: "green",
    RunState.FAILED: "red",
    RunState.CANCELLED: "magenta",
    RunState.TERMINATED: "red",
    RunState.TIMED_OUT: "red",
    RunState.CONTINUED: "green",
    RunState.PAUSED: "yellow",
    RunState.SCHEDULED: "blue",
}
EVENT_COLOURS: Final = {"Failed": "red", "Completed": "green"}
PIPED_COLUMNS: Final = 200
VALUE_CHARACTERS_MAX: Final = 120


def console(*, stderr: bool = False) -> Console:
    """Where people read; as wide as a table needs when it is no terminal."""
    stream = sys.stderr if stderr else sys.stdout
    is_terminal = stream is not None and stream.isatty()  # None: it was closed before we began
    return Console(
        stderr=stderr, width=None if is_terminal else PIPED_COLUMNS, highlight=False, soft_wrap=True
    )


def print_json(value: object) -> None:
    """One document on one line."""
    click.echo(json.dumps(plain(value), ensure_ascii=False))


def plain(value: object) -> object:
    """Our values as JSON has them; payloads as what they hold."""
    match value:
        case Payload(data=data, encoding=encoding):
            return {"base64": base64.b64encode(data).decode()} if encoding == RAW else json.loads(data)
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case tuple():
            return [plain(item) for item in cast("tuple[object, ...]", value)]
        case dict():
            return {name: plain(item) for name, item in cast("dict[str, object]", value).items()}
        case _ if is_dataclass(value):
            return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            return value


def plain_event(index: int, event: events.Event) -> dict[str, object]:
    """An event with its index and the name of its kind."""
    told = {field.name: plain(getattr(event, field.name)) for field in fields(event) if field.name != "at"}
    return {"index": index, "time": _instant(event.at).isoformat(), "kind": type(event).__name__, **told}


def runs_table(runs: Iterable[RunView]) -> Table:
    """A listing."""
    table = _table("RUN", "WORKFLOW ID", "WORKFLOW", "STATE", "STARTED", "TOOK")
    for run in runs:
        table.add_row(
            run.run_id,
            escape(run.workflow_id),
            escape(f"{run.workflow} v{run.version}"),
            _state(run.state),
            f"{run.start_time.astimezone():%Y-%m-%d %H:%M:%S}",
            _took(run.start_time, run.close_time),
        )
    return table


def run_picture(run: RunView) -> Group:
    """All about one run."""
    grid = Table.grid(padding=(0, 2))
    rows = {
        "run": run.run_id,
        "workflow id": escape(run.workflow_id),
        "workflow": escape(f"{run.workflow} v{run.version}"),
        "namespace": escape(run.namespace),
        "queue": escape(run.queue),
        "state": _state(run.state),
        "waits for": escape(run.waiting_for),
        "worker": escape(run.worker),
        "runtime": escape(run.runtime),
        "started": f"{run.start_time.astimezone():%Y-%m-%d %H:%M:%S %Z}",
        "took": _took(run.start_time, run.close_time),
        "events": f"{run.history_length:,}" + (f", and {run.mail} unread" if run.mail else ""),
        "parent": run.parent_run_id,
        "continues": run.continued_from,
        "continued as": run.continued_as,
        "result": escape(shown(run.output)) if run.output else "",
        "failure": escape(named(run.failure)) if run.failure else "",
    }
    for name, value in rows.items():
        if value:
            grid.add_row(f"[bold]{name}[/bold]", value)
    parts: list[RenderableType] = [grid]
    if run.tasks:
        parts.append(_tasks_table(run.tasks))
    if run.timers:
        parts.append(_timers_table(run.timers))
    if run.children:
        parts.append(_children_table(run.children))
    if run.signals:
        parts.append(_signals_table(run.signals))
    if run.published:
        parts.append(_published_table(run.published))
    if run.failure and run.failure.traceback:
        parts.append(f"[dim]{escape(run.failure.traceback.rstrip())}[/dim]")
    return Group(*parts)


def event_line(index: int, event: events.Event) -> str:
    """One event on one line, as markup."""
    told = {field.name: getattr(event, field.name) for field in fields(event)}
    subject = str(told.pop("address", None) or told.pop("name", None) or told.pop("workflow", None) or "")
    del told["at"]
    details = "  ".join(
        f"[dim]{name}=[/dim]{escape(_detail(name, value))}" for name, value in told.items() if value
    )
    when = f"{_instant(event.at).astimezone():%H:%M:%S.%f}"[:-3]
    return f"{index:>5}  [dim]{when}[/dim]  {_event_name(event)}  {escape(subject)}  {details}".rstrip()


def shown(payload: Payload) -> str:
    """A value, cut to what fits a line."""
    text = (
        f"{len(payload.data):,} bytes" if payload.encoding == RAW else payload.data.decode(errors="replace")
    )
    return text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[:VALUE_CHARACTERS_MAX]}…"


def named(failure: FailureInfo) -> str:
    """A failure in one line."""
    return f"{failure.type}: {failure.message}" if failure.message else failure.type


def _tasks_table(tasks: Iterable[TaskView]) -> Table:
    table = _table("TASK", "STATE", "ATTEMPT", "TOOK", "WORKER", "SINCE", "LAST FAILURE")
    for task in tasks:
        table.add_row(
            escape(task.address),
            task.state,
            str(task.attempt),
            "" if task.duration is None else f"{task.duration.total_seconds():.3f} s",
            escape(task.worker),
            _clock(task.since),
            escape(named(task.last_failure)) if task.last_failure else "",
        )
    return table


def _timers_table(timers: Iterable[TimerView]) -> Table:
    table = _table("TIMER", "SINCE", "DUE")
    for timer in timers:
        table.add_row(
            escape(timer.address), _clock(timer.since), f"{timer.due.astimezone():%Y-%m-%d %H:%M:%S}"
        )
    return table


def _children_table(children: Iterable[ChildView]) -> Table:
    table = _table("CHILD", "STATE", "WORKFLOW", "SINCE", "FAILURE")
    for child in children:
        table.add_row(
            escape(child.workflow_id),
            child.state,
            escape(child.workflow),
            _clock(child.since),
            escape(named(child.failure)) if child.failure else "",
        )
    return table


def _signals_table(signals: Iterable[SignalView]) -> Table:
    table = _table("SIGNAL", "CAME")
    for signal in signals:
        table.add_row(escape(signal.name), _clock(signal.time))
    return table


def _published_table(published: Mapping[str, Payload]) -> Table:
    table = _table("PUBLISHED", "VALUE")
    for key, value in published.items():
        table.add_row(escape(key), escape(shown(value)))
    return table


def _clock(at: datetime | None) -> str:
    return f"{at.astimezone():%H:%M:%S}" if at else ""


def _table(*columns: str) -> Table:
    """What is copied from it, the first column, stays on one line however narrow the terminal is."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in {columns[0], "STATE"})
    return table


def _event_name(event: events.Event) -> str:
    name = type(event).__name__
    colour = next((colour for part, colour in EVENT_COLOURS.items() if part in name), "cyan")
    return f"[{colour}]{name:<17}[/{colour}]"


def _detail(name: str, value: object) -> str:
    match value:
        case Payload():
            return shown(value)
        case FailureInfo():
            return named(value)
        case int() if name.endswith("_ms") and name != "duration_ms":
            return f"{_instant(value).astimezone():%Y-%m-%d %H:%M:%S}"
        case _:
            return str(value)


def _state(state: RunState) -> str:
    return f"[{COLOURS[state]}]{state.value}[/]"


def _took(start: datetime, close: datetime | None) -> str:
    seconds = ((close or datetime.now(UTC)) - start).total_seconds()
    if seconds < 60:
        return f"{max(seconds, 0):.2f} s"
    return str(timedelta(seconds=round(seconds)))


def _instant(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
