"""Tasks that run around a run: before it, after it, when it ends or sleeps. Each is an ordinary durable task."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from aiki_task.task import Task
from aiki_workflow import events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiki_task.payloads import Payload
    from aiki_workflow.engine import RunEngine

RunPhase = Literal["started", "sleeping", "completed", "failed", "cancelled", "timed_out"]
AnyTask = Task[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class HookInfo:
    """What a hook's task is told, if it has a parameter.

    Attributes:
        phase: where the run is; in `after` and `on_…`, how it ended.
        input: the run's arguments, as JSON: an object of "args" and "kwargs".
        result: what it returned, as JSON, when completed.
        error_type: the exception's type name, when it ended otherwise.
        error: the exception's text.
        sleep_seconds: how long it is about to sleep, in `on_sleep`.
    """

    workflow: str
    version: str
    workflow_id: str
    run_id: str
    phase: RunPhase
    input: Any = None
    result: Any = None
    error_type: str | None = None
    error: str | None = None
    sleep_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """The hooks of a workflow."""

    before: tuple[AnyTask, ...] = ()
    after: tuple[AnyTask, ...] = ()
    on_complete: tuple[AnyTask, ...] = ()
    on_error: tuple[AnyTask, ...] = ()
    on_cancel: tuple[AnyTask, ...] = ()
    on_sleep: tuple[AnyTask, ...] = ()

    def at_end(self, phase: RunPhase) -> list[tuple[str, AnyTask]]:
        """What runs when a run has ended so, each with a key of its own, in order."""
        special: tuple[AnyTask, ...] = {
            "completed": self.on_complete,
            "failed": self.on_error,
            "timed_out": self.on_error,
            "cancelled": self.on_cancel,
        }.get(phase, ())
        named = [(f"on {phase} {number}", hook) for number, hook in enumerate(special, 1)]
        return named + [(f"after {number}", hook) for number, hook in enumerate(self.after, 1)]


def phase_of(ending: events.Ending) -> RunPhase:
    """How a run ended."""
    match ending:
        case events.RunCompleted():
            return "completed"
        case events.RunCancelled():
            return "cancelled"
        case events.RunTimedOut():
            return "timed_out"
        case _:
            return "failed"


def info_at(engine: RunEngine, phase: RunPhase, **more: Any) -> HookInfo:
    """What a hook is told now."""
    run, started = engine.info, engine.life.started
    return HookInfo(
        workflow=run.workflow,
        version=run.version,
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        phase=phase,
        input=None if started is None else _parsed(started.input),
        **more,
    )


def info_of(engine: RunEngine, ending: events.Ending) -> HookInfo:
    """What a hook is told at the end."""
    phase = phase_of(ending)
    if isinstance(ending, events.RunCompleted):
        return info_at(engine, phase, result=_parsed(ending.output))
    failure = ending.failure
    if failure is None:
        return info_at(engine, phase)
    return info_at(engine, phase, error_type=failure.type, error=failure.message)


async def run_hooks(hooks: Sequence[tuple[str, AnyTask]], info: HookInfo) -> list[BaseException]:
    """One after the other; the failure of one does not keep the others from running."""
    failures: list[BaseException] = []
    for key, hook in hooks:
        try:
            await call_hook(hook, key, info)
        except Exception as error:  # noqa: BLE001  the caller decides what it means
            failures.append(error)
    return failures


async def call_hook(hook: AnyTask, key: str, info: HookInfo) -> None:
    """Call a hook's task, once under this key; with *info* if it takes something."""
    keyed = hook.with_(key=f"hook {key}")
    if hook.arguments.signature.parameters:
        await keyed(info)
    else:
        await keyed()


def _parsed(payload: Payload) -> Any:
    return json.loads(payload.data) if payload.encoding == "json" else None
