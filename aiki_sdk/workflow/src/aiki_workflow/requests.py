"""What others ask of a run while it lives: updates, which change it, and queries, which do not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiki_task.errors import PayloadError
from aiki_task.failures import FailureInfo, from_exception
from aiki_workflow import events
from aiki_workflow.errors import UpdateRejected, WorkflowBugError

if TYPE_CHECKING:
    from aiki_task.payloads import Payload
    from aiki_workflow.engine import RunEngine
    from aiki_workflow.loop import RunTask
    from aiki_workflow.messages import QueryMethod, UpdateMethod

CLOSED: Final = "RunClosed"
"""The type of failure by which an update is answered when its run ends first."""


class Requests:
    """Answers with the methods of the workflow's instance."""

    def __init__(
        self,
        engine: RunEngine,
        queries: Mapping[str, QueryMethod[Any, ..., Any]],
        updates: Mapping[str, UpdateMethod[Any, ..., Any]],
    ) -> None:
        self._engine = engine
        self._queries = queries
        self._updates = updates
        self._bug: BaseException | None = None
        self._open: dict[str, RunTask[Any]] = {}  # in the order in which they came

    def query(self, name: str, payload: Payload) -> Payload:
        """The answer to a query.

        Raises:
            UpdateRejected: there is no such query, or its arguments do not fit.
        """
        method = self._queries.get(name)
        if method is None:
            known = ", ".join(sorted(self._queries)) or "none"
            raise UpdateRejected(f"there is no query {name!r}; there are: {known}")
        try:
            args, kwargs = method.arguments.decode(payload)
        except PayloadError as error:
            raise UpdateRejected(str(error)) from error
        with self._engine.read_only():
            return method.result.encode(method.function(self._instance(), *args, **kwargs))

    def check(self, name: str, payload: Payload) -> None:
        """Look whether an update would be accepted; nothing is recorded.

        A run that has ended has no say: its delivery finds it closed, or comes to the run that goes on, which looks.

        Raises:
            UpdateRejected: it would not.
        """
        if self._engine.closed:
            return
        method, args, kwargs = self._parse(name, payload)
        with self._engine.read_only():
            self._validate(method, args, kwargs)

    def receive(self, event: events.UpdateReceived) -> None:
        """Begin to answer an update."""
        try:
            method, args, kwargs = self._parse(event.name, event.input)
            self._validate(method, args, kwargs)
        except UpdateRejected as error:
            failure = FailureInfo(kind="rejected", type=_type_of(error), message=str(error))
            self._complete(event.update_id, failure=failure)
            return
        handler = _called(method, self._instance(), args, kwargs)
        task = self._engine.loop.create_task(handler, name=f"update {event.name}")
        self._open[event.update_id] = task
        task.add_done_callback(partial(self._done, event.update_id, method))

    async def all_answered(self) -> None:
        """Wait until no update is under way, but for one that waits for this."""
        me = asyncio.current_task()
        while others := [task for task in self._open.values() if task is not me]:
            await asyncio.wait(others)

    def close(self) -> None:
        """The run ends: what is under way is answered so."""
        for update_id in list(self._open):
            closed = FailureInfo(
                kind="cancelled", type=CLOSED, message="the run ended before it was answered"
            )
            self._complete(update_id, failure=closed)

    def raise_bug(self) -> None:
        """After a turn: an update's code raised what is no declared failure.

        Raises:
            WorkflowBugError: as it says.
        """
        bug, self._bug = self._bug, None
        if bug is not None:
            raise WorkflowBugError(from_exception(bug, kind="bug")) from bug

    def _instance(self) -> Any:
        instance = self._engine.life.instance
        if instance is None:
            raise UpdateRejected("the run has not begun")
        return instance

    def _parse(
        self, name: str, payload: Payload
    ) -> tuple[UpdateMethod[Any, ..., Any], list[Any], dict[str, Any]]:
        method = self._updates.get(name)
        if method is None:
            known = ", ".join(sorted(self._updates)) or "none"
            raise UpdateRejected(f"there is no update {name!r}; there are: {known}")
        try:
            args, kwargs = method.arguments.decode(payload)
        except PayloadError as error:
            raise UpdateRejected(str(error)) from error
        return method, args, kwargs

    def _validate(self, method: UpdateMethod[Any, ..., Any], args: list[Any], kwargs: dict[str, Any]) -> None:
        if method.validate is None:
            return
        try:
            method.validate(self._instance(), *args, **kwargs)
        except UpdateRejected:
            raise
        except Exception as error:
            raise UpdateRejected(str(error)) from error

    def _done(self, update_id: str, method: UpdateMethod[Any, ..., Any], task: RunTask[Any]) -> None:
        if self._engine.closed:
            return
        if task.cancelled():
            cancelled = FailureInfo(kind="cancelled", type="Cancelled", message="the run was stopped")
            self._complete(update_id, failure=cancelled)
            return
        error = task.exception()
        if error is None:
            self._answer(update_id, method, task.result())
        elif isinstance(error, UpdateRejected):
            self._complete(update_id, failure=from_exception(error, kind="rejected"))
        elif self._engine.life.is_failure(error):
            self._complete(update_id, failure=from_exception(error))
        else:
            self._bug = error

    def _answer(self, update_id: str, method: UpdateMethod[Any, ..., Any], result: Any) -> None:
        try:
            output = method.result.encode(result)
        except PayloadError as error:
            self._bug = error
            return
        self._complete(update_id, output=output)

    def _complete(
        self, update_id: str, *, output: Payload | None = None, failure: FailureInfo | None = None
    ) -> None:
        self._open.pop(update_id, None)
        self._engine.issue(events.UpdateCompleted(self._engine.loop.now_ms, update_id, output, failure))


async def _called(
    method: UpdateMethod[Any, ..., Any], instance: Any, args: list[Any], kwargs: dict[str, Any]
) -> Any:
    result = method.function(instance, *args, **kwargs)
    return await result if method.is_async else result


def _type_of(error: BaseException) -> str:
    return type(error.__cause__ or error).__name__
