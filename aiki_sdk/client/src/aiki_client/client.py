"""Start runs and find them.

Invariant: every request can be repeated without effect, so that a broken connection loses nothing.
"""

import logging
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar, overload
from uuid import uuid4

from aiki.v1 import workflow_pb2
from aiki_client import convert
from aiki_client.connection import Connection
from aiki_client.errors import RunNotFoundError
from aiki_client.runs import Run, outcome_of
from aiki_client.settings import load_settings
from aiki_client.views import RunState, RunView
from aiki_task.payloads import ValueCodec
from aiki_workflow.definition import IdPolicy, Workflow

P = ParamSpec("P")
R = TypeVar("R")

LOGGER: Final = logging.getLogger("aiki_client")
LIST_PAGE_RUNS: Final = 200
RUN_ID: Final = re.compile(r"\d+-[0-9a-f]{20}")
POLICIES: Final[Mapping[IdPolicy, workflow_pb2.WorkflowIdPolicy.ValueType]] = {
    IdPolicy.EQUAL: workflow_pb2.WORKFLOW_ID_POLICY_UNSPECIFIED,
    IdPolicy.REJECT: workflow_pb2.WORKFLOW_ID_POLICY_REJECT,
    IdPolicy.RETURN_EXISTING: workflow_pb2.WORKFLOW_ID_POLICY_RETURN_EXISTING,
    IdPolicy.REPLACE_CLOSED: workflow_pb2.WORKFLOW_ID_POLICY_REPLACE_CLOSED,
}


class Client:
    """A connection to the coordinators of one cluster, for one namespace.

    async with Client.connect("localhost:7700") as client:
        run = await client.start(purchase.with_(id="order-42"), order)
        print(await run.result(timeout="1m"))
    """

    def __init__(self, addresses: Sequence[str], *, namespace: str = "default") -> None:
        self.namespace = namespace
        self._connection = Connection(addresses)

    @classmethod
    def connect(cls, *addresses: str, namespace: str | None = None) -> Self:
        """A client to be entered with `async with`, which fails when nobody answers.

        What is not given comes from AIKI_ADDRESS and AIKI_NAMESPACE or from `[client]` in `aiki.toml`.

        Args:
            addresses: `host:port` each; one that answers is enough.
            namespace: whose runs are meant.

        Raises:
            SettingsError: an address or a setting is wrong.
        """
        settings = load_settings(address=",".join(addresses) or None, namespace=namespace)
        return cls([settings.address], namespace=settings.namespace)

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
        options = workflow.options
        run_id, workflow_id = await self._start(
            workflow_pb2.StartRunRequest(
                workflow=workflow.name,
                version=workflow.version,
                workflow_id=options.id or "",
                queue=options.queue,
                input=convert.payload_to_wire(workflow.arguments.encode(args, kwargs)),
                id_policy=POLICIES[options.id_policy],
            )
        )
        return self._handle(run_id, workflow_id, workflow)

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
    ) -> Run[Any]:
        """Start a run of a workflow whose definition is not at hand; arguments are encoded as what they are.

        Raises:
            NoWorkerError, UnknownWorkflowError, UnknownVersionError: no connected worker serves it, and
                *require_worker* is set. Without it the run waits for one.
            WorkflowIdTaken: the workflow id is in use.
        """
        given = ValueCodec(Any, f"the input of workflow {workflow!r}")
        run_id, workflow_id = await self._start(
            workflow_pb2.StartRunRequest(
                workflow=workflow,
                version=version,
                workflow_id=workflow_id or "",
                queue=queue,
                input=convert.payload_to_wire(
                    given.encode({"args": list(args), "kwargs": dict(kwargs or {})})
                ),
                id_policy=POLICIES[id_policy],
                require_worker=require_worker,
            )
        )
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
        request.namespace = self.namespace
        request.request_id = uuid4().hex
        request.workflow_id = request.workflow_id or f"{request.workflow}-{request.request_id}"
        response = await self._connection.call(lambda stub: stub.StartRun, request)
        return response.run_id, request.workflow_id

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
