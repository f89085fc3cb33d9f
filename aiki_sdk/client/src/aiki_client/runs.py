"""One run, seen from outside.

Invariant: a handle holds no state of the run; each method asks the coordinator.
"""

import logging
import math
import sys
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar, assert_never
from uuid import uuid4

from google.protobuf import duration_pb2

from aiki.v1 import workflow_pb2
from aiki_client import convert
from aiki_client.connection import ANSWER_TIMEOUT, Connection
from aiki_client.errors import RunFailedError, RunStalled, WaitTimeoutError
from aiki_client.views import RunState, RunView
from aiki_task import durations
from aiki_task.durations import Duration
from aiki_task.errors import Failure
from aiki_task.failures import FailureInfo, rebuild
from aiki_task.payloads import ValueCodec
from aiki_workflow import events
from aiki_workflow.definition import Workflow
from aiki_workflow.signals import Signal

R = TypeVar("R")
T = TypeVar("T")

LOGGER: Final = logging.getLogger("aiki_client")
# The coordinator answers a wait after this at the latest; then the client asks again.
WAIT_SECONDS_MAX: Final = 60.0
# After this a waiting caller is told what keeps the run.
FIRST_WAIT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run's outcome is read: its result's codec, and the failures that are rebuilt as themselves."""

    result: ValueCodec
    failures: tuple[type[BaseException], ...]


class Run(Generic[R]):
    """A run; made by `Client`."""

    def __init__(
        self, connection: Connection, *, namespace: str, run_id: str, workflow_id: str, outcome: Outcome
    ) -> None:
        self.namespace = namespace
        self.run_id = run_id
        self.workflow_id = workflow_id
        self._connection = connection
        self._outcome = outcome
        self._reference = workflow_pb2.RunReference(run_id=run_id)

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
            case RunState.RUNNING | RunState.WAITING:
                raise WaitTimeoutError(view.run_id, view.waiting_for)
            case _:
                assert_never(view.state)

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

    async def signal(self, signal: Signal[T], value: T) -> None:
        """Put a message into the run's mailbox.

        Raises:
            PayloadTypeError: *value* does not fit the signal's type.
            RunClosedError: the run is over.
        """
        await self._signal(signal.name, signal.codec, value)

    async def signal_by_name(self, name: str, value: object) -> None:
        """Put a message into the run's mailbox, without its definition at hand."""
        await self._signal(name, ValueCodec(Any, f"the value of signal {name!r}"), value)

    async def resume(self) -> None:
        """Let a worker try a stalled run again.

        Raises:
            NotStalledError: the run is not stalled.
        """
        request = workflow_pb2.ResumeRunRequest(namespace=self.namespace, run=self._reference)
        await self._connection.call_once(lambda stub: stub.ResumeRun, request)

    async def _signal(self, name: str, codec: ValueCodec, value: object) -> None:
        request = workflow_pb2.SignalRunRequest(
            namespace=self.namespace,
            run=self._reference,
            request_id=uuid4().hex,
            name=name,
            value=convert.payload_to_wire(codec.encode(value)),
        )
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
        told = RunFailedError(self.run_id, failure)
        for kind in self._outcome.failures:
            if kind.__name__ == failure.type:
                rebuilt = rebuild(failure, kind)
                rebuilt.__cause__ = told
                return rebuilt
        return told


def outcome_of(workflow: Workflow[..., Any] | None) -> Outcome:
    """How to read the outcome of *workflow*'s runs; None: of a workflow known by name alone."""
    if workflow is None:
        return Outcome(result=ValueCodec(Any, "the result"), failures=())
    return Outcome(result=workflow.result, failures=(*workflow.options.fails_on, *_failures_near(workflow)))


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
