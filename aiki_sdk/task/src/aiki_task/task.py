"""Define tasks: the units of work whose outcome a run records.

A call is durable in a run and a plain call elsewhere; it is awaited in both, and typed alike.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from types import EllipsisType
from typing import Any, Final, Generic, Literal, ParamSpec, TypeVar, cast, overload

from aiki_task.calls import durable_loop
from aiki_task.durations import Duration, parse
from aiki_task.errors import DefinitionError, DurationError
from aiki_task.hints import hints_now, resolved_hints
from aiki_task.payloads import ArgumentsCodec, ValueCodec
from aiki_task.placing import ANYWHERE, Placement, placed, queue_name
from aiki_task.retry import DEFAULT_RETRY, Retry

P = ParamSpec("P")
R = TypeVar("R")

Executor = Literal["asyncio", "thread", "process"]

DEFAULT_TIMEOUT: Final = timedelta(minutes=10)

_NAME = re.compile(r"[^\W\d][\w.-]{0,199}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """How a task's calls are run.

    Attributes:
        retry: when a failed attempt is made again.
        timeout: the longest one attempt may take; None means without limit.
        total_timeout: the longest all attempts and delays may take together.
        heartbeat_timeout: the longest an attempt may go without `heartbeat()`.
        queue_timeout: the longest it may wait in a queue for a worker.
        raises: exceptions that callers get as themselves; they are not retried.
        queue: where the task runs; None means with the run.
        remote: always through the queue, even where the run's own worker could run it.
        placement: its priority, the slots it takes, and the labels that a worker must or should have.
        deferred: it may call `complete_later()`; always through the queue as well.
        at_most_once: it begins only when that is recorded, and never again: `OutcomeUnknown` if its worker dies
            meanwhile. One attempt; always through the queue as well.
        executor: what runs the function: the worker's loop, a thread, or a process of its own; None means the loop
            for async functions and a thread for others.
        key: names the call in its run instead of its arguments.
    """

    retry: Retry = DEFAULT_RETRY
    timeout: timedelta | None = DEFAULT_TIMEOUT
    total_timeout: timedelta | None = None
    heartbeat_timeout: timedelta | None = None
    queue_timeout: timedelta | None = None
    raises: tuple[type[BaseException], ...] = ()
    queue: str | None = None
    remote: bool = False
    placement: Placement = ANYWHERE
    deferred: bool = False
    at_most_once: bool = False
    executor: Executor | None = None
    key: str | None = None


class Task(Generic[P, R]):
    """A task; made by `@task`."""

    def __init__(
        self, function: Callable[P, Awaitable[R]] | Callable[P, R], name: str, options: TaskOptions
    ) -> None:
        if not _NAME.fullmatch(name):
            raise DefinitionError(
                f"{name!r} cannot name a task: names begin with a letter, then have letters, digits, "
                "'_', '.' and '-', 200 characters at most; give one with name="
            )
        self.name = name
        self.function = function
        self.options = options
        self.base = self  # the one that was defined, also of what `with_` makes
        self.is_async = inspect.iscoroutinefunction(function)
        where = f"task {name!r}"
        self.arguments = ArgumentsCodec(function, where)
        self._where = where
        self.__name__ = name
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        self.__wrapped__ = function
        self._result: ValueCodec | None = None

    @property
    def result(self) -> ValueCodec:
        """How results are encoded."""
        if self._result is None:
            hints = resolved_hints(self.function, self._where)
            self._result = ValueCodec(hints.get("return", Any), f"the result of {self._where}")
        return self._result

    def check(self) -> None:
        """Raise UnsupportedTypeError now rather than at first use, unless a name is not defined yet."""
        self.arguments.check()
        if hints_now(self.function) is not None:
            self.result.check()

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the task: durably in a run, as a plain call elsewhere (a sync function in a thread)."""
        loop = durable_loop()
        if loop is not None:
            return cast("R", await loop.schedule_task(self, args, kwargs))
        if self.is_async:
            return await cast("Callable[P, Awaitable[R]]", self.function)(*args, **kwargs)
        import asyncio

        return await asyncio.to_thread(cast("Callable[P, R]", self.function), *args, **kwargs)

    def with_(
        self,
        *,
        key: str | None = None,
        retry: Retry | None = None,
        timeout: Duration | EllipsisType | None = ...,
        total_timeout: Duration | EllipsisType | None = ...,
        heartbeat_timeout: Duration | EllipsisType | None = ...,
        queue_timeout: Duration | EllipsisType | None = ...,
        queue: str | None = None,
        remote: bool | None = None,
        priority: int | None = None,
        slots: int | None = None,
        labels: Mapping[str, str] | None = None,
        prefers: Mapping[str, str] | None = None,
    ) -> Task[P, R]:
        """The same task with other options; what is not given stays. A timeout of None is none.

        Raises:
            PlacementError: a priority, slots, labels or a queue that cannot be.
        """
        placement = placed(
            self.options.placement, priority=priority, slots=slots, labels=labels, prefers=prefers
        )
        given = {
            "key": key,
            "retry": retry,
            "queue": queue_name(queue),
            "remote": remote,
            "placement": placement,
        }
        changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        limits = {
            "timeout": timeout,
            "total_timeout": total_timeout,
            "heartbeat_timeout": heartbeat_timeout,
            "queue_timeout": queue_timeout,
        }
        for name, limit in limits.items():
            if not isinstance(limit, EllipsisType):
                changed[name] = _limit(limit)
        other: Task[P, R] = Task.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.options = replace(self.options, **changed)
        _refuse_retries(self.name, other.options)
        return other

    def __repr__(self) -> str:
        return f"<task {self.name!r}>"


class _Decorator:
    """`@task(…)`: takes a sync or an async function."""

    def __init__(self, name: str | None, options: TaskOptions) -> None:
        self._name = name
        self._options = options

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]]) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> Task[P, R]: ...
    def __call__(self, function: Callable[..., Any]) -> Task[..., Any]:
        if not inspect.isfunction(function):
            raise DefinitionError(f"{function!r} is no function; write one with def or async def")
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise DefinitionError(f"task {function.__name__!r} is a generator; return a list instead")
        name = function.__name__ if self._name is None else self._name
        _refuse_executor(name, self._options.executor, is_async=inspect.iscoroutinefunction(function))
        made: Task[..., Any] = Task(function, name, self._options)
        _refuse_retries(name, self._options)
        made.check()
        return made


@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    retry: Retry | None = None,
    timeout: Duration | None = DEFAULT_TIMEOUT,
    total_timeout: Duration | None = None,
    heartbeat_timeout: Duration | None = None,
    queue_timeout: Duration | None = None,
    raises: tuple[type[BaseException], ...] = (),
    queue: str | None = None,
    remote: bool = False,
    priority: int | None = None,
    slots: int = 1,
    labels: Mapping[str, str] | None = None,
    prefers: Mapping[str, str] | None = None,
    deferred: bool = False,
    at_most_once: bool = False,
    executor: Executor | None = None,
) -> _Decorator: ...
def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    retry: Retry | None = None,
    timeout: Duration | None = DEFAULT_TIMEOUT,
    total_timeout: Duration | None = None,
    heartbeat_timeout: Duration | None = None,
    queue_timeout: Duration | None = None,
    raises: tuple[type[BaseException], ...] = (),
    queue: str | None = None,
    remote: bool = False,
    priority: int | None = None,
    slots: int = 1,
    labels: Mapping[str, str] | None = None,
    prefers: Mapping[str, str] | None = None,
    deferred: bool = False,
    at_most_once: bool = False,
    executor: Executor | None = None,
) -> Task[..., Any] | _Decorator:
    """Make a function a task, with the options of `TaskOptions` and of `Placement`.

    The name is the function's unless *name* is given. Defaults: three attempts (`Retry()`), ten
    minutes for each, no other limit.

    Raises:
        UnsupportedTypeError: a type hint has no encoding.
        DurationError: a timeout is not a duration, or zero.
        DefinitionError: the executor cannot run such a function, or it is to run at most once and be tried again.
        PlacementError: a priority, slots, labels or a queue that cannot be.
    """
    options = TaskOptions(
        retry=retry or (Retry.none() if at_most_once else DEFAULT_RETRY),
        timeout=_limit(timeout),
        total_timeout=_limit(total_timeout),
        heartbeat_timeout=_limit(heartbeat_timeout),
        queue_timeout=_limit(queue_timeout),
        raises=raises,
        queue=queue_name(queue),
        remote=remote,
        placement=placed(ANYWHERE, priority=priority, slots=slots, labels=labels, prefers=prefers),
        deferred=deferred,
        at_most_once=at_most_once,
        executor=executor,
    )
    decorator = _Decorator(name, options)
    return decorator if function is None else decorator(function)


def _refuse_retries(name: str, options: TaskOptions) -> None:
    if options.at_most_once and options.retry.attempts != 1:
        raise DefinitionError(
            f"task {name!r} runs at most once and cannot be tried again: leave retry= out, or at_most_once="
        )


def _refuse_executor(name: str, executor: str | None, *, is_async: bool) -> None:
    match executor:
        case "asyncio" if not is_async:
            raise DefinitionError(
                f"task {name!r} would block the loop: write async def, or leave executor= out"
            )
        case "thread" if is_async:
            raise DefinitionError(
                f"task {name!r} is async and runs on the loop: write def, or leave executor= out"
            )
        case None | "asyncio" | "thread" | "process":
            return
        case _:
            raise DefinitionError(
                f"task {name!r}: there is no executor {executor!r} (known are asyncio, thread, process)"
            )


def _limit(value: Duration | None) -> timedelta | None:
    if value is None:
        return None
    limit = parse(value)
    if not limit:
        raise DurationError(value, "no time at all is no timeout; None means without limit")
    return limit
