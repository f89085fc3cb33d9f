"""Start runs and find them.

Invariant: every request can be repeated without effect, so that a broken connection loses nothing.
"""

import logging
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar, overload
from uuid import uuid4

from google.protobuf import duration_pb2

from aiki.v1 import workflow_pb2
from aiki_client import convert
from aiki_client.channels import Tls
from aiki_client.completions import TaskCompletions
from aiki_client.connection import Connection
from aiki_client.errors import RunNotFoundError
from aiki_client.event_wire import payload_to_wire, placement_to_wire
from aiki_client.runs import Run, outcome_of, send_update, update_request
from aiki_client.settings import load_settings
from aiki_client.tracing import calling
from aiki_client.views import RunState, RunView
from aiki_task.durations import Duration, parse
from aiki_task.payloads import ValueCodec
from aiki_task.placing import ANYWHERE, placed
from aiki_workflow.definition import IdPolicy, Workflow, WorkflowCall
from aiki_workflow.messages import Update
from aiki_workflow.signals import Signal

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
A = TypeVar("A")

LOGGER: Final = logging.getLogger("aiki_client")
LIST_PAGE_RUNS: Final = 200
RUN_ID: Final = re.compile(r"\d+-[0-9a-f]{20}")
POLICIES: Final[Mapping[IdPolicy, workflow_pb2.WorkflowIdPolicy.ValueType]] = {
    IdPolicy.EQUAL: workflow_pb2.WORKFLOW_ID_POLICY_UNSPECIFIED,
    IdPolicy.REJECT: workflow_pb2.WORKFLOW_ID_POLICY_REJECT,
    IdPolicy.RETURN_EXISTING: workflow_pb2.WORKFLOW_ID_POLICY_RETURN_EXISTING,
    IdPolicy.REPLACE_CLOSED: workflow_pb2.WORKFLOW_ID_POLICY_REPLACE_CLOSED,
}


class Client(TaskCompletions):
    """A connection to the coordinators of one cluster, for one namespace.

    async with Client.connect("localhost:7700") as client:
        run = await client.start(purchase.with_(id="order-42"), order)
        print(await run.result(timeout="1m"))
    """

    def __init__(
        self, addresses: Sequence[str], *, namespace: str = "default", tls: Tls | None = None
    ) -> None:
        self.namespace = namespace
        self._connection = Connection(addresses, tls)

    @classmethod
    def connect(cls, *addresses: str, namespace: str | None = None, tls: Tls | None = None) -> Self:
        """A client to be entered with `async with`, which fails when nobody answers.

        What is not given comes from AIKI_ADDRESS, AIKI_NAMESPACE and AIKI_TLS… or from `[client]` in `aiki.toml`.

        Args:
            addresses: `host:port` each; one that answers is enough.
            namespace: whose runs are meant.
            tls: how to speak TLS.

        Raises:
            SettingsError: an address or a setting is wrong.
        """
        settings = load_settings(address=",".join(addresses) or None, namespace=namespace)
        return cls([settings.address], namespace=settings.namespace, tls=tls or settings.tls_files)

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.__aexit__(kind, error, trace)

    async def start(self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Run[R]:
        """Start a run; options such as its id are given by `workflow.with_(…)`.

        Raises:
            PayloadTypeError: an argument does not fit the workflow's signature.
            PayloadTooLargeError: the arguments are over the limit.
            WorkflowIdTaken: the workflow id is in use.
        """
        request = start_request(workflow.bind(*args, **kwargs))
        run_id, workflow_id = await self._start(request)
        return self._handle(run_id, workflow_id, workflow)

    async def signal_with_start(self, call: WorkflowCall[R], signal: Signal[T], value: T) -> Run[R]:
        """Start a run with a signal in its mailbox; signal the run that is there when its id is in use.

        Args:
            call: a workflow and its arguments: `flow.with_(id="cart-1").bind(customer)`.
            signal: which signal.
            value: its value.

        Raises:
            WorkflowIdTaken: the run that is there is closed, or the id policy refuses it.
        """
        request = start_request(call, existing=workflow_pb2.WORKFLOW_ID_POLICY_RETURN_EXISTING)
        request.signal.name = signal.name
        request.signal.value.CopyFrom(payload_to_wire(signal.codec.encode(value)))
        run_id, workflow_id = await self._start(request)
        return self._handle(run_id, workflow_id, call.workflow)

    async def update_with_start(
        self, call: WorkflowCall[Any], update: Update[P, A], /, *args: P.args, **kwargs: P.kwargs
    ) -> A:
        """Send an update to the run of a workflow id, which is started unless it is there.

        Args:
            call: a workflow and its arguments: `Cart.run.with_(id="cart-1").bind(customer)`.
            update: which update, as in `Run.update`.
            args: the update's arguments.
            kwargs: its named ones.

        Raises:
            UpdateRejected, UpdateFailedError, RunClosedError: as `Run.update` does.
        """
        request = update_request(update, args, kwargs)
        request.namespace = self.namespace
        request.start.CopyFrom(start_request(call, existing=workflow_pb2.WORKFLOW_ID_POLICY_RETURN_EXISTING))
        self._name(request.start)
        handle = self._handle("", request.start.workflow_id, call.workflow)
        with calling(f"update {request.name}") as request.traceparent:
            request.start.traceparent = request.traceparent
            output = await send_update(self._connection, request, handle.failure_of)
        answer: A = update.result.decode(output)
        return answer

    async def start_by_name(
        self,
        workflow: str,
        /,
        *args: object,
        kwargs: Mapping[str, object] | None = None,
        version: str = "1",
        workflow_id: str | None = None,
        queue: str = "default",
        id_policy: IdPolicy = IdPolicy.EQUAL,
        require_worker: bool = False,
        timeout: Duration | None = None,
        chain_timeout: Duration | None = None,
        delay: Duration | None = None,
        signal: tuple[str, object] | None = None,
        priority: int | None = None,
        labels: Mapping[str, str] | None = None,
        prefers: Mapping[str, str] | None = None,
    ) -> Run[Any]:
        """Start a run of a workflow whose definition is not at hand; arguments are encoded as what they are.

        *signal*, a name and a value, is in the mailbox of the run from the start, or goes to the run that is there.

        Raises:
            NoWorkerError, UnknownWorkflowError, UnknownVersionError: no connected worker serves it, and
                *require_worker* is set. Without it the run waits for one.
            WorkflowIdTaken: the workflow id is in use.
            PlacementError: a priority or labels that cannot be.
        """
        given = ValueCodec(Any, f"the input of workflow {workflow!r}")
        request = workflow_pb2.StartRunRequest(
            workflow=workflow,
            version=version,
            workflow_id=workflow_id or "",
            queue=queue,
            input=payload_to_wire(given.encode({"args": list(args), "kwargs": dict(kwargs or {})})),
            id_policy=POLICIES[id_policy],
            require_worker=require_worker,
            timeout=_wire_duration(timeout),
            chain_timeout=_wire_duration(chain_timeout),
            delay=_wire_duration(delay),
            placement=placement_to_wire(placed(ANYWHERE, priority=priority, labels=labels, prefers=prefers)),
        )
        if signal is not None:
            name, value = signal
            request.signal.name = name
            request.signal.value.CopyFrom(payload_to_wire(ValueCodec(Any, f"signal {name!r}").encode(value)))
        run_id, workflow_id = await self._start(request)
        return self._handle(run_id, workflow_id, None)

    @overload
    async def run(self, workflow_id: str) -> Run[Any]: ...
    @overload
    async def run(self, workflow_id: str, workflow: Workflow[..., R]) -> Run[R]: ...
    async def run(self, workflow_id: str, workflow: Workflow[..., Any] | None = None) -> Run[Any]:
        """The newest run of a workflow id; *workflow* says what it returns.

        Raises:
            RunNotFoundError: there is none.
        """
        return await self._look_up(workflow_pb2.RunReference(workflow_id=workflow_id), workflow)

    @overload
    async def get_run(self, run_id: str) -> Run[Any]: ...
    @overload
    async def get_run(self, run_id: str, workflow: Workflow[..., R]) -> Run[R]: ...
    async def get_run(self, run_id: str, workflow: Workflow[..., Any] | None = None) -> Run[Any]:
        """The run of this id; *workflow* says what it returns.

        Raises:
            RunNotFoundError: there is none.
        """
        return await self._look_up(workflow_pb2.RunReference(run_id=run_id), workflow)

    async def find(self, text: str) -> Run[Any]:
        """The run that a person means: by its own id, else by its workflow id.

        Raises:
            RunNotFoundError: there is none.
        """
        if RUN_ID.fullmatch(text):
            try:
                return await self.get_run(text)
            except RunNotFoundError:
                LOGGER.debug("no run has the id %r: looking for a workflow id", text)
        return await self.run(text)

    async def list(
        self, *, workflow: str = "", states: Sequence[RunState] = ()
    ) -> AsyncGenerator[RunView, None]:
        """Runs, newest first, of all workflows and states unless told otherwise."""
        token = ""
        while True:
            request = workflow_pb2.ListRunsRequest(
                namespace=self.namespace,
                page_size=LIST_PAGE_RUNS,
                page_token=token,
                workflow=workflow,
                states=[convert.WIRE_STATES[state] for state in states],
            )
            response = await self._connection.call(lambda stub: stub.ListRuns, request)
            for run in response.runs:
                yield convert.run_view(run)
            token = response.next_page_token
            if not token:
                return

    async def _start(self, request: workflow_pb2.StartRunRequest) -> tuple[str, str]:
        self._name(request)
        with calling(
            f"start {request.workflow}", aiki_workflow_id=request.workflow_id
        ) as request.traceparent:
            response = await self._connection.call(lambda stub: stub.StartRun, request)
        return response.run_id, request.workflow_id

    def _name(self, request: workflow_pb2.StartRunRequest) -> None:
        request.namespace = self.namespace
        request.request_id = uuid4().hex
        request.workflow_id = request.workflow_id or f"{request.workflow}-{request.request_id}"

    async def _look_up(
        self, reference: workflow_pb2.RunReference, workflow: Workflow[..., Any] | None
    ) -> Run[Any]:
        request = workflow_pb2.GetRunRequest(namespace=self.namespace, run=reference)
        response = await self._connection.call(lambda stub: stub.GetRun, request)
        return self._handle(response.run.run_id, response.run.workflow_id, workflow)

    def _handle(self, run_id: str, workflow_id: str, workflow: Workflow[..., Any] | None) -> Run[Any]:
        return Run(
            self._connection,
            namespace=self.namespace,
            run_id=run_id,
            workflow_id=workflow_id,
            outcome=outcome_of(workflow),
        )


def start_request(
    call: WorkflowCall[Any], *, existing: "workflow_pb2.WorkflowIdPolicy.ValueType | None" = None
) -> workflow_pb2.StartRunRequest:
    """A request to start it; *existing* is the policy where the options have the default one."""
    options = call.workflow.options
    policy = POLICIES[options.id_policy]
    if existing is not None and options.id_policy is IdPolicy.EQUAL:
        policy = existing
    return workflow_pb2.StartRunRequest(
        workflow=call.workflow.name,
        version=call.workflow.version,
        workflow_id=options.id or "",
        queue=options.queue or "",
        input=payload_to_wire(call.input),
        id_policy=policy,
        timeout=convert.duration(options.timeout),
        chain_timeout=convert.duration(options.chain_timeout),
        delay=convert.duration(options.delay),
        placement=placement_to_wire(options.placement),
    )


def _wire_duration(given: Duration | None) -> duration_pb2.Duration | None:
    return convert.duration(None if given is None else parse(given))
