"""One run, seen from outside.

Invariant: a handle holds no state of the run; each method asks the coordinator.
"""

import logging
import math
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, ParamSpec, TypeVar, assert_never
from uuid import uuid4

from google.protobuf import duration_pb2

from aiki.v1 import workflow_pb2
from aiki_client import convert
from aiki_client.connection import ANSWER_TIMEOUT, Connection
from aiki_client.controls import RunControls
from aiki_client.errors import (
    RunCancelledError,
    RunFailedError,
    RunStalled,
    RunTerminatedError,
    RunTimedOutError,
    UpdateFailedError,
    WaitTimeoutError,
)
from aiki_client.event_wire import failure_from_wire, payload_from_wire, payload_to_wire
from aiki_client.explanations import Explanation, explanation
from aiki_client.tracing import calling
from aiki_client.views import LogLine, RunState, RunView
from aiki_task import durations
from aiki_task.durations import Duration
from aiki_task.errors import AikiError, Failure
from aiki_task.failures import FailureInfo, rebuild
from aiki_task.payloads import Payload, ValueCodec
from aiki_workflow import events
from aiki_workflow.definition import Workflow
from aiki_workflow.errors import UpdateRejected
from aiki_workflow.messages import Query, Update
from aiki_workflow.signals import Signal

R = TypeVar("R")
T = TypeVar("T")
A = TypeVar("A")
P = ParamSpec("P")

LOGGER: Final = logging.getLogger("aiki_client")
# The coordinator answers a wait after this at the latest; then the client asks again.
WAIT_SECONDS_MAX: Final = 60.0
# After this a waiting caller is told what keeps the run.
FIRST_WAIT_SECONDS: Final = 5.0
QUERY_TIMEOUT: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run's outcome is read: its result's codec, and the failures that are rebuilt as themselves."""

    result: ValueCodec
    failures: tuple[type[BaseException], ...]


class Run(RunControls, Generic[R]):
    """A run; made by `Client`."""

    def __init__(
        self, connection: Connection, *, namespace: str, run_id: str, workflow_id: str, outcome: Outcome
    ) -> None:
        super().__init__(connection, namespace=namespace, run_id=run_id, workflow_id=workflow_id)
        self._outcome = outcome

    def __repr__(self) -> str:
        return f"<run {self.run_id!r} of workflow id {self.workflow_id!r}>"

    @property
    def id(self) -> str:
        """The run's own id."""
        return self.run_id

    async def result(self, timeout: Duration | None = None) -> R:
        """What the run returns, waited for without limit unless *timeout* is given.

        Raises:
            Failure: the run failed with a `Failure` (or an exception of `fails_on`) that the workflow's module knows.
            RunFailedError: the run failed with anything else.
            RunStalled: a bug parked the run.
            WaitTimeoutError: the time is up.
        """
        return self.outcome(await self.wait(timeout))

    async def wait(self, timeout: Duration | None = None) -> RunView:
        """The run, once it is closed or stalled. What it waits for is logged as a warning when that takes long.

        Raises:
            WaitTimeoutError: the time is up.
        """
        seconds = math.inf if timeout is None else durations.parse(timeout).total_seconds()
        give_up_at = time.monotonic() + seconds
        patience, told = FIRST_WAIT_SECONDS, ""
        while True:
            left = max(give_up_at - time.monotonic(), 0.0)
            view = await self._wait_once(timedelta(seconds=min(left, patience)))
            if view.state.is_closed or view.state is RunState.STALLED:
                return view
            if time.monotonic() >= give_up_at:
                raise WaitTimeoutError(self.run_id, view.waiting_for)
            if view.waiting_for not in {"", told}:
                LOGGER.warning("run %s waits: %s", self.run_id, view.waiting_for)
            patience, told = WAIT_SECONDS_MAX, view.waiting_for

    def outcome(self, view: RunView) -> R:
        """The result that *view* shows, or its failure raised; see `result`."""
        match view.state:
            case RunState.COMPLETED:
                assert view.output is not None, "a completed run has an output"
                result: R = self._outcome.result.decode(view.output)
                return result
            case RunState.FAILED:
                raise self._failed(_failure_of(view))
            case RunState.STALLED:
                raise RunStalled(view.run_id, _failure_of(view))
            case RunState.CANCELLED:
                raise RunCancelledError(view.run_id, _failure_of(view))
            case RunState.TERMINATED:
                raise RunTerminatedError(view.run_id, _failure_of(view))
            case RunState.TIMED_OUT:
                raise RunTimedOutError(view.run_id, _failure_of(view))
            case RunState.RUNNING | RunState.WAITING | RunState.PAUSED | RunState.SCHEDULED:
                raise WaitTimeoutError(view.run_id, view.waiting_for)
            case RunState.CONTINUED:
                raise WaitTimeoutError(view.run_id, f"run {view.continued_as}, which continues it")
            case _:
                assert_never(view.state)

    async def why(self) -> Explanation:
        """What the run, and each of its open tasks, waits for."""
        request = workflow_pb2.ExplainRunRequest(namespace=self.namespace, run=self._reference)
        return explanation(await self._connection.call(lambda stub: stub.ExplainRun, request))

    async def describe(self) -> RunView:
        """The run as it stands."""
        request = workflow_pb2.GetRunRequest(namespace=self.namespace, run=self._reference)
        response = await self._connection.call(lambda stub: stub.GetRun, request)
        return convert.run_view(response.run)

    async def history(
        self, *, follow: bool = False, first_index: int = 0
    ) -> AsyncGenerator[events.Event, None]:
        """The events of the run from *first_index* on; with *follow*, as they come until the run is closed."""
        request = workflow_pb2.GetHistoryRequest(
            namespace=self.namespace, run=self._reference, first_index=first_index, follow=follow
        )
        async for page in self._connection.history(request):
            for event in page.events:
                yield convert.event(event)

    async def logs(self, *, follow: bool = False) -> AsyncGenerator[LogLine, None]:
        """What code has logged in the run and its tasks, the oldest first; with *follow*, until the run is closed.

        The newest 1,000 lines of a run are kept, for as long as the run is. A line that says how many older ones are
        gone comes first.
        """
        request = workflow_pb2.GetLogsRequest(namespace=self.namespace, run=self._reference, follow=follow)
        async for page in self._connection.logs(request):
            if page.dropped:
                yield convert.dropped_lines(page)
            for line in page.lines:
                yield convert.log_line(line)

    async def signal(self, signal: Signal[T], value: T, *, dedupe_id: str | None = None) -> None:
        """Put a message into the run's mailbox.

        Args:
            signal: which signal.
            value: its value.
            dedupe_id: what is sent again to this workflow id with the same one, within a day, is not delivered again.

        Raises:
            PayloadTypeError: *value* does not fit the signal's type.
            RunClosedError: the run is over.
        """
        await self._signal(signal.name, signal.codec, value, dedupe_id)

    async def signal_by_name(self, name: str, value: object, *, dedupe_id: str | None = None) -> None:
        """Put a message into the run's mailbox, without its definition at hand: a value that does not fit is dropped."""
        await self._signal(name, ValueCodec(Any, f"the value of signal {name!r}"), value, dedupe_id)

    async def query(self, query: Query[P, A], /, *args: P.args, **kwargs: P.kwargs) -> A:
        """Ask the run; it may be closed. A worker that serves it answers, from what is recorded.

        Raises:
            QueryRejectedError: the workflow has no such query.
            QueryFailedError: its code failed.
            NoWorkerError: no worker that serves the workflow answers.
            PayloadTypeError: an argument does not fit.
        """
        output = await self._query(query.name, query.arguments.encode(args, kwargs))
        answer: A = query.result.decode(output)
        return answer

    async def query_by_name(self, name: str, *args: object) -> Any:
        """Ask the run, without its definition at hand."""
        given = ValueCodec(Any, f"the input of query {name!r}").encode({"args": list(args), "kwargs": {}})
        return ValueCodec(Any, "the answer").decode(await self._query(name, given))

    async def update(self, update: Update[P, A], /, *args: P.args, **kwargs: P.kwargs) -> A:
        """Send a request into the run and wait for its answer; done once, however often it is sent.

        Raises:
            UpdateRejected: the run did not accept it, and recorded nothing of it.
            Failure: it was accepted and failed with a `Failure` that the workflow's module knows.
            UpdateFailedError: it failed with anything else.
            RunClosedError: the run is over.
            PayloadTypeError: an argument does not fit.
        """
        request = update_request(update, args, kwargs)
        request.run.CopyFrom(self._reference)
        output = await self._update(request)
        answer: A = update.result.decode(output)
        return answer

    async def update_by_name(self, name: str, *args: object, update_id: str | None = None) -> Any:
        """Send a request into the run, without its definition at hand."""
        given = ValueCodec(Any, f"the input of update {name!r}").encode({"args": list(args), "kwargs": {}})
        request = workflow_pb2.UpdateRunRequest(
            run=self._reference,
            update_id=update_id or uuid4().hex,
            name=name,
            input=payload_to_wire(given),
        )
        return ValueCodec(Any, "the answer").decode(await self._update(request))

    async def watch(self) -> AsyncGenerator[RunView, None]:
        """The run as it stands, and again each time it has changed, until it is closed.

        A broken connection is resumed: what is the same is not told twice.
        """
        request = workflow_pb2.WatchRunRequest(namespace=self.namespace, run=self._reference)
        async for response in self._connection.watch(request):
            yield convert.run_view(response.run)

    async def _query(self, name: str, given: Payload) -> Payload:
        request = workflow_pb2.QueryRunRequest(
            namespace=self.namespace, run=self._reference, name=name, input=payload_to_wire(given)
        )
        response = await self._connection.call(lambda stub: stub.QueryRun, request, timeout=QUERY_TIMEOUT)
        return payload_from_wire(response.output)

    async def _update(self, request: workflow_pb2.UpdateRunRequest) -> Payload:
        request.namespace = self.namespace
        with calling(f"update {request.name}", aiki_run_id=self.run_id) as request.traceparent:
            return await send_update(self._connection, request, self.failure_of)

    async def _signal(self, name: str, codec: ValueCodec, value: object, dedupe_id: str | None) -> None:
        request = workflow_pb2.SignalRunRequest(
            namespace=self.namespace,
            run=self._reference,
            request_id=dedupe_id or uuid4().hex,
            name=name,
            value=payload_to_wire(codec.encode(value)),
        )
        with calling(f"signal {name}", aiki_run_id=self.run_id) as request.traceparent:
            await self._connection.call(lambda stub: stub.SignalRun, request)

    async def _wait_once(self, wait: timedelta) -> RunView:
        timeout = duration_pb2.Duration()
        timeout.FromTimedelta(wait)
        request = workflow_pb2.WaitRunRequest(namespace=self.namespace, run=self._reference, timeout=timeout)
        response = await self._connection.call(
            lambda stub: stub.WaitRun, request, timeout=wait + ANSWER_TIMEOUT
        )
        return convert.run_view(response.run)

    def _failed(self, failure: FailureInfo) -> BaseException:
        return self.failure_of(failure, RunFailedError(self.run_id, failure))

    def failure_of(self, failure: FailureInfo, told: AikiError) -> BaseException:
        """The failure as itself, when its class is known here, caused by *told*; otherwise that."""
        for kind in self._outcome.failures:
            if kind.__name__ == failure.type:
                rebuilt = rebuild(failure, kind)
                rebuilt.__cause__ = told
                return rebuilt
        return told


def update_request(
    update: Update[..., Any], args: Sequence[object], kwargs: Mapping[str, object]
) -> workflow_pb2.UpdateRunRequest:
    """A request for any run."""
    return workflow_pb2.UpdateRunRequest(
        update_id=update.id or uuid4().hex,
        name=update.name,
        input=payload_to_wire(update.arguments.encode(args, kwargs)),
    )


async def send_update(
    connection: Connection,
    request: workflow_pb2.UpdateRunRequest,
    failure_of: Callable[[FailureInfo, AikiError], BaseException],
) -> Payload:
    """Send it until it is answered; its id makes it one update."""
    while True:
        response = await connection.call(
            lambda stub: stub.UpdateRun,
            request,
            timeout=timedelta(seconds=WAIT_SECONDS_MAX) + ANSWER_TIMEOUT,
        )
        if response.HasField("failure"):
            failure = failure_from_wire(response.failure)
            if failure.kind == "rejected":
                raise UpdateRejected(failure.message)
            raise failure_of(failure, UpdateFailedError(request.name, failure))
        if response.completed:
            return payload_from_wire(response.output)


def outcome_of(workflow: Workflow[..., Any] | None) -> Outcome:
    """How to read the outcome of *workflow*'s runs; None: of a workflow known by name alone."""
    if workflow is None:
        return Outcome(result=ValueCodec(Any, "the result"), failures=())
    return Outcome(result=workflow.result, failures=(*workflow.fails_on, *_failures_near(workflow)))


def _failures_near(workflow: Workflow[..., Any]) -> Iterable[type[BaseException]]:
    """The failures that the workflow's module defines or imports."""
    module = sys.modules.get(workflow.function.__module__)
    return (
        [
            found
            for found in vars(module).values()
            if isinstance(found, type)
            and issubclass(found, Failure)
            and not found.__module__.startswith("aiki_")  # ours hold what their messages do not tell
        ]
        if module
        else []
    )


def _failure_of(view: RunView) -> FailureInfo:
    return view.failure or FailureInfo(type="Unknown", message="the coordinator did not say why")
