"""Sagas: steps that are undone, in reverse, when the work as a whole does not succeed.

After Garcia-Molina and Salem, "Sagas" (SIGMOD, 1987).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from aiki_task.errors import Failure, TaskFailed
from aiki_workflow.api import current_engine

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Step:
    name: str
    undo: Callable[[Any], Awaitable[object]]
    result: Any


class CompensationFailed(Failure):
    """A saga could not be undone whole: somebody must look at it.

    Attributes:
        failed: the steps whose compensation gave up, with its error, in the order in which it was tried.
        undone: the steps that were undone.
    """

    def __init__(self, failed: dict[str, str], undone: list[str]) -> None:
        steps = ", ".join(f"{step} ({error})" for step, error in failed.items())
        super().__init__(f"not undone: {steps}; undone: {', '.join(undone) or 'nothing'}")
        self.failed = failed
        self.undone = undone


class Saga:
    """`async with Saga() as saga: seat = await saga.do(book(flight), undo=release_seat)`.

    When the block is left by an error, by cancellation or by a timeout, what was done is undone in reverse,
    shielded from further cancellation. Every compensation is tried, whatever came of the others; each is an
    ordinary durable call with its own retries.
    """

    def __init__(self) -> None:
        self._steps: list[_Step] = []

    async def do(
        self, step: Awaitable[R], *, undo: Callable[[R], Awaitable[object]], name: str | None = None
    ) -> R:
        """Await *step* and remember how to undo it: *undo* is called with its result.

        A step that fails is not undone; one that may have half happened needs an `undo_before`.

        Args:
            step: a call of a task or of a child workflow.
            undo: a task, or a function that returns a call of one.
            name: what `CompensationFailed` calls the step. Default: the name of *undo*.
        """
        result = await step
        self._steps.append(_Step(name or _name(undo), undo, result))
        return result

    def undo_before(self, undo: Callable[[], Awaitable[object]], *, name: str | None = None) -> None:
        """Remember a compensation before its step, for one that may have happened although it failed."""
        self._steps.append(_Step(name or _name(undo), lambda _: undo(), None))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A run that is evicted, or continues as a new one, has not failed.
        if isinstance(error, (Exception, asyncio.CancelledError)):
            await self._compensate(error)

    async def _compensate(self, error: BaseException) -> None:
        """Undo everything; cancellation waits until it is done.

        Raises:
            CompensationFailed: some of it could not be undone.
        """
        undoing = asyncio.ensure_future(self._undo_all())
        cancelled: asyncio.CancelledError | None = None
        while not undoing.done():
            try:
                await asyncio.shield(undoing)
            except asyncio.CancelledError as again:
                cancelled = again
        failed, undone = undoing.result()
        if failed:
            raise CompensationFailed(failed, undone) from error
        if cancelled is not None and not isinstance(error, asyncio.CancelledError):
            raise cancelled

    async def _undo_all(self) -> tuple[dict[str, str], list[str]]:
        failed: dict[str, str] = {}
        undone: list[str] = []
        while self._steps:
            step = self._steps.pop()
            try:
                await step.undo(step.result)
            except Exception as error:
                if not _is_failure(error):
                    raise
                failed[step.name] = str(error)
            else:
                undone.append(step.name)
        return failed, undone


def _is_failure(error: BaseException) -> bool:
    """Whether a compensation gave up, rather than had a bug."""
    declared = isinstance(error.__cause__, TaskFailed)
    return declared or current_engine("a saga").life.is_failure(error)


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", function))
