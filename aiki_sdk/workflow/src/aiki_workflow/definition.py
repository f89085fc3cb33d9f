"""Define workflows: async functions that a run executes durably."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum, unique
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    NoReturn,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    get_args,
    overload,
)

from aiki_task.durations import Duration, parse
from aiki_task.errors import DefinitionError, DurationError, NotInRunError
from aiki_task.hints import resolved_hints
from aiki_task.payloads import ArgumentsCodec, Payload, ValueCodec
from aiki_task.placing import ANYWHERE, Placement, placed, queue_name
from aiki_task.retry import Retry
from aiki_workflow.api import current_engine
from aiki_workflow.errors import ContinueAsNew
from aiki_workflow.events import ClosePolicy
from aiki_workflow.hooks import AnyTask, Hooks
from aiki_workflow.loop import RunLoop
from aiki_workflow.messages import WORKFLOW_ATTRIBUTE, methods_of
from aiki_workflow.signals import Signal, remote_run

if TYPE_CHECKING:
    from aiki_workflow.calls import OpenChild
    from aiki_workflow.loop import CallFuture
    from aiki_workflow.messages import QueryMethod, UpdateMethod

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
C = TypeVar("C")

CancelPolicy = Literal["wait", "request"]
"""What the cancellation of a call of a child does."""


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
        queue: where the run is worked on; None: "default", for a child its parent's.
        id_policy: what to do when the id is in use. Of a child, a closed run is replaced and an open one refused.
        timeout: the longest the run may take; then its code is cancelled and the run is `timed_out`.
        chain_timeout: the longest it may take together with all that continue or retry it.
        delay: how much later it begins.
        close_policy: what becomes of it, as a child, when its parent closes: "cancel", "leave" or "terminate".
        cancel_policy: of a child that is awaited by calling it, when that await is cancelled: "wait" asks it to stop and
            waits until it has cleaned up and ended, "request" asks it and goes on at once.
        placement: its priority, and the labels that a worker must or should have.
    """

    id: str | None = None
    queue: str | None = None
    id_policy: IdPolicy = IdPolicy.EQUAL
    timeout: timedelta | None = None
    chain_timeout: timedelta | None = None
    delay: timedelta | None = None
    close_policy: ClosePolicy = "cancel"
    cancel_policy: CancelPolicy = "wait"
    placement: Placement = ANYWHERE


@dataclass(frozen=True, slots=True)
class ChildRun(Generic[R]):
    """A child that was started, seen from its parent; made by `Workflow.start`.

    Attributes:
        workflow_id: the child's workflow id.
        run_id: its run.
    """

    workflow_id: str
    run_id: str
    _address: str
    _outcome: CallFuture

    async def result(self) -> R:
        """Its result. Giving up waiting does not stop it.

        Raises:
            ChildFailed: it ended without one.
        """
        return cast("R", await asyncio.shield(self._outcome))

    async def signal(self, signal: Signal[T], value: T) -> None:
        """Send it a signal; returns when it has arrived.

        Raises:
            SignalFailed: it is closed.
        """
        await remote_run(self.workflow_id).signal(signal, value)

    def cancel(self) -> None:
        """Ask it to stop; `result` tells when it has."""
        current_engine("a child").calls.cancel_child(self._address)


@dataclass(frozen=True, slots=True)
class WorkflowCall(Generic[R]):
    """A workflow with its arguments, to be started; made by `Workflow.bind`."""

    workflow: Workflow[..., R]
    input: Payload


class Workflow(Generic[P, R]):
    """A workflow in one version; made by `@workflow`.

    Attributes:
        function: what a run executes; its first parameter is the instance when there is an *owner*.
        owner: the class it is the main method of, if it is one.
        fails_on: exceptions that fail a run, beside `Failure`.
        retry: when a run that failed is begun again, as the next of its chain; None: never.
    """

    def __init__(
        self,
        function: Callable[..., Awaitable[R]],
        *,
        name: str,
        version: str,
        options: WorkflowOptions | None = None,
        fails_on: tuple[type[BaseException], ...] = (),
        retry: Retry | None = None,
        hooks: Hooks | None = None,
        owner: type | None = None,
    ) -> None:
        if not inspect.iscoroutinefunction(function):
            message = f"workflow {name!r} must be an `async def` function; for sync code make a task"
            raise DefinitionError(message)
        self.name = name
        self.version = version
        self.function = function
        self.owner = owner
        self.options = options or WorkflowOptions()
        self.fails_on = fails_on
        self.retry = retry
        self.hooks = hooks or Hooks()
        self.queries: dict[str, QueryMethod[Any, ..., Any]] = {}
        self.updates: dict[str, UpdateMethod[Any, ..., Any]] = {}
        self._where = f"workflow {name!r}"
        self.arguments = ArgumentsCodec(function, self._where, skip=0 if owner is None else 1)
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

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it as a child of this run, and wait for its result.

        When the await is cancelled, the child is asked to stop, and the cancellation comes out of here once it has
        ended; its failure does, if it fails by its clean-up. See `WorkflowOptions.cancel_policy`.

        Raises:
            ChildFailed: it ended without one, or its workflow id was in use.
            NotInRunError: called outside a run: start it with a client.
        """
        _, outcome = self._schedule(args, kwargs, confirm=False)
        return cast("R", await outcome)

    async def start(self, *args: P.args, **kwargs: P.kwargs) -> ChildRun[R]:
        """Start it as a child of this run; returns when the child is there.

        Raises:
            ChildFailed: it could not be started, such as when its workflow id is in use.
            NotInRunError: called outside a run: start it with a client.
        """
        child, outcome = self._schedule(args, kwargs, confirm=True)
        assert child.started is not None
        run_id: str = await asyncio.shield(child.started)
        return ChildRun(child.workflow_id, run_id, child.address, outcome)

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> WorkflowCall[R]:
        """The workflow with these arguments, for what starts it by the way, such as `update_with_start`.

        Raises:
            PayloadTypeError: an argument does not fit.
        """
        return WorkflowCall(self, self.arguments.encode(args, kwargs))

    def continue_as_new(self, *args: P.args, **kwargs: P.kwargs) -> NoReturn:
        """End this run and go on as a new one with a fresh history, under the same workflow id.

        Signals that nobody has waited for go along; open tasks and timers do not, and children meet their
        close policy. Raises what the run ends with: do not catch it.
        """
        current_engine("continue_as_new()")
        raise ContinueAsNew(self, args, kwargs)

    def with_(
        self,
        *,
        id: str | None = None,  # noqa: A002  the field's word
        queue: str | None = None,
        id_policy: IdPolicy | str | None = None,
        timeout: Duration | None = None,
        chain_timeout: Duration | None = None,
        delay: Duration | None = None,
        close_policy: ClosePolicy | None = None,
        cancel_policy: CancelPolicy | None = None,
        priority: int | None = None,
        labels: Mapping[str, str] | None = None,
        prefers: Mapping[str, str] | None = None,
    ) -> Workflow[P, R]:
        """The same workflow with other options for its start; what is not given stays.

        Raises:
            DurationError: one is negative or none.
            PlacementError: a priority, labels or a queue that cannot be.
        """
        given = {
            "id": id,
            "queue": queue_name(queue),
            "placement": placed(self.options.placement, priority=priority, labels=labels, prefers=prefers),
            "id_policy": None if id_policy is None else IdPolicy(id_policy),
            "timeout": None if timeout is None else _positive(timeout),
            "chain_timeout": None if chain_timeout is None else _positive(chain_timeout),
            "delay": None if delay is None else parse(delay),
            "close_policy": None if close_policy is None else _close_policy(close_policy),
            "cancel_policy": None if cancel_policy is None else _cancel_policy(cancel_policy),
        }
        changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        other: Workflow[P, R] = Workflow.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.options = replace(self.options, **changed)
        return other

    def __repr__(self) -> str:
        return f"<workflow {self.name!r} v{self.version}>"

    def _schedule(
        self, args: tuple[object, ...], kwargs: Mapping[str, object], *, confirm: bool
    ) -> tuple[OpenChild, CallFuture]:
        loop = asyncio._get_running_loop()
        if not isinstance(loop, RunLoop):
            message = (
                f"workflow {self.name!r} cannot be called here: start it with client.start({self.name}, …)"
            )
            raise NotInRunError(message)
        return loop.engine.calls.schedule_child(self, args, kwargs, confirm=confirm)


class _Decorator(Protocol):
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...  # type: ignore[overload-overlap]  # a class whose instances are coroutines is no workflow
    @overload
    def __call__(self, function: type[C], /) -> type[C]: ...


@overload
def workflow(function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...  # type: ignore[overload-overlap]  # as above
@overload
def workflow(function: type[C], /) -> type[C]: ...
@overload
def workflow(
    *,
    version: str = "1",
    name: str | None = None,
    fails_on: tuple[type[BaseException], ...] = (),
    queue: str | None = None,
    timeout: Duration | None = None,
    chain_timeout: Duration | None = None,
    retry: Retry | None = None,
    close_policy: ClosePolicy = "cancel",
    cancel_policy: CancelPolicy = "wait",
    priority: int | None = None,
    labels: Mapping[str, str] | None = None,
    prefers: Mapping[str, str] | None = None,
    before: Sequence[AnyTask] = (),
    after: Sequence[AnyTask] = (),
    on_complete: Sequence[AnyTask] = (),
    on_error: Sequence[AnyTask] = (),
    on_cancel: Sequence[AnyTask] = (),
    on_sleep: Sequence[AnyTask] = (),
) -> _Decorator: ...
def workflow(
    function: Any = None,
    /,
    *,
    version: str = "1",
    name: str | None = None,
    fails_on: tuple[type[BaseException], ...] = (),
    queue: str | None = None,
    timeout: Duration | None = None,
    chain_timeout: Duration | None = None,
    retry: Retry | None = None,
    close_policy: ClosePolicy = "cancel",
    cancel_policy: CancelPolicy = "wait",
    priority: int | None = None,
    labels: Mapping[str, str] | None = None,
    prefers: Mapping[str, str] | None = None,
    **hooks: Sequence[AnyTask],
) -> Any:
    """Make an async function, or a class with a method marked `@main`, a workflow.

    Args:
        function: the function or class, when the decorator is bare.
        version: runs are pinned to it. Default "1".
        name: default: the function's or class's.
        fails_on: exceptions that fail a run; any other that is not a `Failure` parks it as stalled.
        queue: see `WorkflowOptions`.
        timeout: likewise.
        chain_timeout: likewise.
        close_policy: likewise.
        cancel_policy: likewise.
        priority: see `Placement`.
        labels: likewise, as a mapping.
        prefers: likewise.
        retry: when a run that failed is begun again, as the next of its chain. Default: never.
        hooks: `before`: tasks that run before the code, once for a chain of runs; a failure fails the run.
            `after`, `on_complete`, `on_error` (timeouts too), `on_cancel`: tasks that run, in this order
            `on_…` then `after`, when the run has ended so; their failures change nothing.
            `on_sleep`: tasks that run before each `sleep`. Each takes a `HookInfo`, or nothing.

    Raises:
        DefinitionError: the function is not async, or the class is not as `@main` wants it.
        DurationError: a timeout is not a duration.
        PlacementError: a priority, labels or a queue that cannot be.
    """
    options = WorkflowOptions(
        queue=queue_name(queue),
        placement=placed(ANYWHERE, priority=priority, labels=labels, prefers=prefers),
        timeout=None if timeout is None else _positive(timeout),
        chain_timeout=None if chain_timeout is None else _positive(chain_timeout),
        close_policy=_close_policy(close_policy),
        cancel_policy=_cancel_policy(cancel_policy),
    )
    made = Hooks(**{kind: tuple(tasks) for kind, tasks in hooks.items()})

    def decorate(function: Any) -> Any:
        make = partial(
            Workflow[..., Any],
            name=name or function.__name__,
            version=version,
            options=options,
            fails_on=fails_on,
            retry=retry,
            hooks=made,
        )
        if not inspect.isclass(function):
            return make(function)
        entry, queries, updates = methods_of(function)
        flow = make(entry.function, owner=function)
        flow.queries, flow.updates = queries, updates
        setattr(function, WORKFLOW_ATTRIBUTE, flow)
        return function

    return decorate if function is None else decorate(function)


def _positive(duration: Duration) -> timedelta:
    parsed = parse(duration)
    if not parsed:
        raise DurationError(duration, "a timeout must be longer than nothing")
    return parsed


def _close_policy(policy: ClosePolicy) -> ClosePolicy:
    if policy not in get_args(ClosePolicy):
        raise DefinitionError(f'{policy!r} is no close policy; there are "cancel", "leave" and "terminate"')
    return policy


def _cancel_policy(policy: CancelPolicy) -> CancelPolicy:
    if policy not in get_args(CancelPolicy):
        raise DefinitionError(f'{policy!r} is no cancel policy; there are "wait" and "request"')
    return policy
