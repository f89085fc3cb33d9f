"""The life of one run's code: its main function, the hooks around it, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Literal

from aiki_task.durations import to_ms
from aiki_task.errors import DefinitionError, Failure, PayloadError
from aiki_task.failures import FailureInfo, from_exception
from aiki_workflow import events
from aiki_workflow.errors import ContinueAsNew, WorkflowBugError
from aiki_workflow.hooks import call_hook, info_at, info_of, phase_of, run_hooks

if TYPE_CHECKING:
    from aiki_workflow.definition import Workflow
    from aiki_workflow.engine import RunEngine
    from aiki_workflow.loop import RunTask

ANY_FAILURE = (Failure, TimeoutError, asyncio.CancelledError)


class Life:
    """Begins when the run does; `go_on` is called after each turn and ends the run when its code is done."""

    def __init__(self, engine: RunEngine, workflow: Workflow[..., Any]) -> None:
        self.started: events.RunStarted | None = None
        self.instance: Any = None
        self._engine = engine
        self._workflow = workflow
        self._main: RunTask[Any] | None = None
        self._stopping: Literal["", "cancel", "timeout"] = ""
        self._reason = ""
        self._deadline: asyncio.TimerHandle | None = None
        self._ending: events.Ending | None = None

    def begin(self, event: events.RunStarted) -> None:
        """Start the code; a run whose arguments do not fit fails at once."""
        self.started = event
        try:
            args, kwargs = self._workflow.arguments.decode(event.input)
        except PayloadError as error:
            self._engine.end(events.RunFailed(self._engine.loop.now_ms, from_exception(error)))
            return
        coroutine = self._coroutine(args, kwargs)
        if self._workflow.hooks.before and not event.chain_index:
            coroutine = self._after_hooks_before(coroutine)
        self._main = self._engine.loop.create_task(coroutine, name="run")
        due_ms = _deadline_ms(event)
        if due_ms:
            self._deadline = self._engine.timers.start_named("timeout", due_ms, self._time_out)

    def cancel(self, reason: str) -> None:
        """Ask the code to stop; only the first time, and only while it runs."""
        self._stop("cancel", reason)

    def go_on(self) -> None:
        """After a turn: if the code is done, run the hooks that are due, and end.

        Raises:
            WorkflowBugError: the code raised what is no declared failure.
        """
        while self._main is not None and self._main.done():
            main, self._main = self._main, None
            if self._ending is None:
                if self._deadline is not None:
                    self._deadline.cancel()
                ending = self._ending_of(main)
                hooks = self._hooks_for(ending)
                if hooks:
                    self._ending = ending
                    after = run_hooks(hooks, info_of(self._engine, ending))
                    self._main = self._engine.loop.create_task(after, name="hooks")
                    self._engine.loop.run_until_idle()
                    continue
            else:
                self._raise_bugs(main)
                ending = self._ending
            self._engine.end(ending)

    def close(self) -> None:
        """The run is evicted."""
        main, self._main = self._main, None
        if main is not None and not main.done():
            _close_quietly(main.get_coro())

    def is_failure(self, error: BaseException) -> bool:
        """Whether *error* is a declared way to fail, rather than a bug."""
        if isinstance(error, BaseExceptionGroup):
            parts: tuple[BaseException, ...] = error.exceptions  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            return all(self.is_failure(part) for part in parts)
        return isinstance(error, (*ANY_FAILURE, *self._workflow.fails_on))

    def _coroutine(self, args: list[Any], kwargs: dict[str, Any]) -> Coroutine[Any, Any, Any]:
        if self._workflow.owner is None:
            return self._workflow.function(*args, **kwargs)
        try:
            self.instance = self._workflow.owner()
        except Exception as error:
            raise WorkflowBugError(from_exception(error, kind="bug")) from error
        return self._workflow.function(self.instance, *args, **kwargs)

    async def _after_hooks_before(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            info = info_at(self._engine, "started")
            for number, hook in enumerate(self._workflow.hooks.before, 1):
                await call_hook(hook, f"before {number}", info)
        except BaseException:
            coroutine.close()
            raise
        return await coroutine

    def _time_out(self) -> None:
        self._stop("timeout", "")

    def _stop(self, why: Literal["cancel", "timeout"], reason: str) -> None:
        if self._main is None or self._stopping or self._ending is not None:
            return
        self._stopping, self._reason = why, reason
        self._main.cancel(reason or None)

    def _ending_of(self, main: RunTask[Any]) -> events.Ending:
        now_ms = self._engine.loop.now_ms
        try:
            result = main.result()
        except ContinueAsNew as next_run:
            return self._continued(next_run)
        except asyncio.CancelledError as error:
            if self._stopping == "cancel":
                message = self._reason or "it was asked to stop"
                return events.RunCancelled(now_ms, _stopped("cancelled", "RunCancelled", message, error))
            if self._stopping == "timeout":
                message = "the run was not over within its time"
                return events.RunTimedOut(now_ms, _stopped("timeout", "RunTimedOut", message, error))
            return events.RunFailed(now_ms, from_exception(error))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit) or not self.is_failure(error):
                raise WorkflowBugError(from_exception(error, kind="bug")) from error
            return self._retried(error) or events.RunFailed(now_ms, from_exception(error))
        try:
            return events.RunCompleted(now_ms, self._workflow.result.encode(result))
        except PayloadError as error:
            raise WorkflowBugError(from_exception(error, kind="bug")) from error

    def _continued(self, next_run: ContinueAsNew) -> events.RunContinued:
        workflow: Any = next_run.workflow
        args, kwargs = next_run.arguments
        started = self._started()
        try:
            if workflow.name != started.workflow:
                message = f"{started.workflow!r} cannot continue as {workflow.name!r}: start that as a child"
                raise DefinitionError(message)
            payload = workflow.arguments.encode(args, kwargs)
        except (PayloadError, DefinitionError) as error:
            raise WorkflowBugError(from_exception(error, kind="bug")) from error
        timeout = workflow.options.timeout
        return events.RunContinued(
            self._engine.loop.now_ms,
            payload,
            workflow.version,
            signals=self._engine.unread_signals(),
            timeout_ms=started.timeout_ms if timeout is None else to_ms(timeout),
            updates=self._engine.unread_updates(),
        )

    def _retried(self, error: BaseException) -> events.RunContinued | None:
        """The next attempt at the workflow, if its policy has one."""
        policy, started = self._workflow.retry, self._started()
        if policy is None or not policy.allows(started.attempt, error):
            return None
        return events.RunContinued(
            self._engine.loop.now_ms,
            started.input,
            started.version,
            signals=self._engine.unread_signals(),
            delay_ms=to_ms(policy.delay(started.attempt, self._engine.random.random())),
            failure=from_exception(error, attempts=started.attempt),
            attempt=started.attempt + 1,
            timeout_ms=started.timeout_ms,
            updates=self._engine.unread_updates(),
        )

    def _hooks_for(self, ending: events.Ending) -> list[tuple[str, Any]]:
        """What is continued has not ended."""
        if isinstance(ending, events.RunContinued):
            return []
        return self._workflow.hooks.at_end(phase_of(ending))

    def _raise_bugs(self, hooks: RunTask[Any]) -> None:
        """A hook that fails has failed, and the run ended as it did; what is no failure is a bug."""
        for error in hooks.result():
            if not self.is_failure(error):
                raise WorkflowBugError(from_exception(error, kind="bug")) from error

    def _started(self) -> events.RunStarted:
        assert self.started is not None
        return self.started


def _deadline_ms(started: events.RunStarted) -> int:
    """When the run must be over; 0: never."""
    own = started.at + started.timeout_ms if started.timeout_ms else 0
    return min(own, started.deadline_ms) if own and started.deadline_ms else own or started.deadline_ms


def _stopped(
    kind: Literal["cancelled", "timeout"], name: str, message: str, error: BaseException
) -> FailureInfo:
    return FailureInfo(kind=kind, type=name, message=message, traceback=from_exception(error).traceback)


def _close_quietly(coroutine: Any) -> None:
    try:
        coroutine.close()
    except BaseException:  # noqa: BLE001  clean-up of an evicted run may do what it likes: nobody hears it
        return
