"""Define workflows: async functions that a run executes durably."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from enum import Enum, unique
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from aiki_task.errors import DefinitionError, NotInRunError
from aiki_task.hints import resolved_hints
from aiki_task.payloads import ArgumentsCodec, ValueCodec

P = ParamSpec("P")
R = TypeVar("R")


@unique
class IdPolicy(Enum):
    """What to do when a workflow id is in use, by an open run or a closed one."""

    EQUAL = "equal"
    """Return that run if workflow, version and arguments are equal; otherwise refuse. The default."""
    REJECT = "reject"
    RETURN_EXISTING = "return_existing"
    REPLACE_CLOSED = "replace_closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowOptions:
    """How a run is started.

    Attributes:
        id: the workflow id; None: a generated one.
        queue: where the run is worked on.
        id_policy: what to do when the id is in use.
        fails_on: exceptions that fail a run, beside `Failure`.
    """

    id: str | None = None
    fails_on: tuple[type[BaseException], ...] = ()
    queue: str = "default"
    id_policy: IdPolicy = IdPolicy.EQUAL


class Workflow(Generic[P, R]):
    """A workflow in one version; made by `@workflow`."""

    def __init__(
        self,
        function: Callable[P, Awaitable[R]],
        *,
        name: str,
        version: str,
        fails_on: tuple[type[BaseException], ...],
    ) -> None:
        if not inspect.iscoroutinefunction(function):
            message = f"workflow {name!r} must be an `async def` function; for sync code make a task"
            raise DefinitionError(message)
        self.name = name
        self.version = version
        self.function = function
        self.options = WorkflowOptions(fails_on=fails_on)
        self._where = f"workflow {name!r}"
        self.arguments = ArgumentsCodec(function, self._where)
        self._result: ValueCodec | None = None
        self.__name__ = name
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        self.__wrapped__ = function

    @property
    def result(self) -> ValueCodec:
        """How results are encoded."""
        if self._result is None:
            hints = resolved_hints(self.function, self._where)
            self._result = ValueCodec(hints.get("return", Any), f"the result of {self._where}")
        return self._result

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # noqa: ARG002  typed as a call
        """Workflows are started, not called.

        Raises:
            NotInRunError: always, so far.
        """
        message = f"workflow {self.name!r} cannot be called here: start it with client.start({self.name}, …)"
        raise NotInRunError(message)

    def with_(
        self,
        *,
        id: str | None = None,  # noqa: A002  the field's word
        queue: str | None = None,
        id_policy: IdPolicy | str | None = None,
    ) -> Workflow[P, R]:
        """The same workflow with other options for its start; what is not given stays."""
        given = {"id": id, "queue": queue, "id_policy": None if id_policy is None else IdPolicy(id_policy)}
        changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        other: Workflow[P, R] = Workflow.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.options = replace(self.options, **changed)
        return other

    def __repr__(self) -> str:
        return f"<workflow {self.name!r} v{self.version}>"


class _Decorator(Protocol):
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...


@overload
def workflow(function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...
@overload
def workflow(
    *, version: str = "1", name: str | None = None, fails_on: tuple[type[BaseException], ...] = ()
) -> _Decorator: ...
def workflow(
    function: Callable[..., Coroutine[Any, Any, Any]] | None = None,
    /,
    *,
    version: str = "1",
    name: str | None = None,
    fails_on: tuple[type[BaseException], ...] = (),
) -> Workflow[..., Any] | _Decorator:
    """Make an async function a workflow.

    Args:
        function: the function, when the decorator is bare.
        version: runs are pinned to it. Default "1".
        name: default: the function's.
        fails_on: exceptions that fail a run; any other that is not a `Failure` parks it as stalled.

    Raises:
        DefinitionError: the function is not async.
    """

    def decorate(function: Callable[..., Coroutine[Any, Any, Any]]) -> Workflow[..., Any]:
        return Workflow(function, name=name or function.__name__, version=version, fails_on=fails_on)

    return cast("_Decorator", decorate) if function is None else decorate(function)
