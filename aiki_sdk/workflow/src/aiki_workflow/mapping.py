"""One task over many items, with a limit to how many are under way: see docs/map.md for the design.

Up to `PAGE_ITEMS` items run in the run itself. More run in pages: child runs of `map.TASK`, a workflow that every
worker which serves the task serves too, so that the history of the run grows by a few events for each page.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from aiki_task.errors import DefinitionError
from aiki_task.hints import resolved_hints
from aiki_task.task import Task
from aiki_workflow.definition import Workflow

T = TypeVar("T")
R = TypeVar("R")

PAGE_ITEMS: Final = 500
PAGE_LIMIT: Final = 50
"""Items of one page that are under way together."""


async def map(task: Task[[T], R], items: Sequence[T], *, limit: int = 50) -> list[R]:  # noqa: A001  the field's word
    """What *task* returns for each of *items*, in their order; at most *limit* are under way together.

    The first failure is raised as the task raises it (`TaskFailed`, or as `ChildFailed` of the page it is in) and
    cancels what is under way. A page and its results take 2 MiB at most: let items and results be small.

    Raises:
        DefinitionError: *limit* is not positive; or there are more than 500 items and *task* has other options than
            it was defined with, which pages would not know.
    """
    if limit < 1:
        raise DefinitionError(f"limit must be at least 1, not {limit}")
    if len(items) <= PAGE_ITEMS:
        return await _window(task, items, limit)
    if task.base is not task:
        raise DefinitionError(
            f"task {task.name!r} has options of with_(), which pages of more than {PAGE_ITEMS} items do not know: "
            "define a task with these options"
        )
    page = page_workflow(task)
    pages = [items[first : first + PAGE_ITEMS] for first in range(0, len(items), PAGE_ITEMS)]
    in_page = min(limit, PAGE_LIMIT)
    found = await _window(functools.partial(_call_page, page, in_page), pages, limit // in_page)
    return [result for results in found for result in results]


@functools.cache
def page_workflow(task: Task[..., Any]) -> Workflow[..., list[Any]]:
    """The workflow that runs one page of *task*: `map.TASK`, of a list of items and a limit."""

    async def page(items: list[Any], limit: int) -> list[Any]:
        return await _window(task, items, limit)

    hints = resolved_hints(task.function, f"task {task.name!r}")
    (parameter,) = inspect.signature(task.function).parameters
    item, result = hints.get(parameter, Any), hints.get("return", Any)
    page.__annotations__ = {"items": list[item], "limit": int, "return": list[result]}  # type: ignore[valid-type]  # made here
    page.__module__ = task.function.__module__
    page.__qualname__ = page.__name__ = f"map.{task.name}"
    return Workflow(page, name=f"map.{task.name}", version="1")


def has_pages(task: Task[..., Any]) -> bool:
    """Whether it can be mapped: it takes exactly one argument."""
    parameters = list(inspect.signature(task.function).parameters.values())
    return len(parameters) == 1 and parameters[0].kind in {
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    }


async def _call_page(page: Workflow[..., list[Any]], limit: int, items: Sequence[Any]) -> list[Any]:
    return await page(list(items), limit)


async def _window(call: Any, items: Sequence[Any], limit: int) -> list[Any]:
    """A few workers take the next item each, so that results need no set of tasks."""
    results: list[Any] = [None] * len(items)
    waiting = iter(enumerate(items))

    async def work() -> None:
        for index, item in waiting:
            results[index] = await call(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(limit, len(items))):
                group.create_task(work())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return results
