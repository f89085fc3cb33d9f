"""What is done to a run from outside: stop it, hold it, change what it waits for, go back in its history."""

from datetime import datetime
from uuid import uuid4

from aiki.v1 import workflow_pb2
from aiki_client.connection import Connection
from aiki_task.durations import Duration, parse


class RunControls:
    """The part of `Run` that changes the run's course; every request can be repeated."""

    def __init__(self, connection: Connection, *, namespace: str, run_id: str, workflow_id: str) -> None:
        self.namespace = namespace
        self.run_id = run_id
        self.workflow_id = workflow_id
        self._connection = connection
        self._reference = workflow_pb2.RunReference(run_id=run_id)

    async def cancel(self, reason: str = "") -> None:
        """Ask the run to stop: its code gets `asyncio.CancelledError` where it waits, and cleans up.

        Raises:
            RunClosedError: it is over.
        """
        request = workflow_pb2.CancelRunRequest(
            namespace=self.namespace, run=self._reference, request_id=uuid4().hex, reason=reason
        )
        await self._connection.call(lambda stub: stub.CancelRun, request)

    async def terminate(self, reason: str = "") -> None:
        """End the run at once, without clean-up.

        Raises:
            RunClosedError: it is over.
        """
        request = workflow_pb2.TerminateRunRequest(
            namespace=self.namespace, run=self._reference, reason=reason
        )
        await self._connection.call_once(lambda stub: stub.TerminateRun, request)

    async def pause(self, reason: str = "", *, freeze_timers: bool = False) -> None:
        """Hold the run until `resume`; tasks that run are finished, and messages are kept.

        Args:
            reason: for people.
            freeze_timers: its timers stand still, and fire later by as long as it was held. Otherwise they run
                on, and those that are due fire when it goes on.

        Raises:
            RunClosedError: it is over.
            NotRunningError: it is stalled, or held already.
        """
        request = workflow_pb2.PauseRunRequest(
            namespace=self.namespace, run=self._reference, reason=reason, freeze_timers=freeze_timers
        )
        await self._connection.call_once(lambda stub: stub.PauseRun, request)

    async def resume(self) -> None:
        """Let a paused run go on, or a worker try a stalled one again.

        Raises:
            NotStalledError: the run is neither.
        """
        request = workflow_pb2.ResumeRunRequest(namespace=self.namespace, run=self._reference)
        await self._connection.call_once(lambda stub: stub.ResumeRun, request)

    async def cancel_task(self, address: str, reason: str = "") -> None:
        """Cancel one task: whoever awaits it gets `TaskCancelledError`.

        Args:
            address: names the call, as `describe()` shows it.
            reason: for people.

        Raises:
            TaskNotFoundError: the run has no such open task.
        """
        request = workflow_pb2.CancelTaskRequest(
            namespace=self.namespace,
            run=self._reference,
            request_id=uuid4().hex,
            address=address,
            reason=reason,
        )
        await self._connection.call(lambda stub: stub.CancelTask, request)

    async def move_timer(
        self, address: str = "", *, due: datetime | None = None, after: Duration | None = None
    ) -> str:
        """Change when a timer fires; returns its address. With neither *due* nor *after* it fires now.

        Args:
            address: names the timer, as `describe()` shows it; may be left out when the run has only one.
            due: when, with a time zone.
            after: how long from now, by this machine's clock.

        Raises:
            TimerNotFoundError: the run has no such timer.
            ValueError: *due* has no time zone, or both are given.
        """
        if due is not None and after is not None:
            raise ValueError("give a time or a delay, not both")
        if due is not None and due.tzinfo is None:
            raise ValueError(f"{due} has no time zone")
        if after is not None:
            due = datetime.now().astimezone() + parse(after)
        request = workflow_pb2.MoveTimerRequest(
            namespace=self.namespace, run=self._reference, address=address
        )
        if due is not None:
            request.due.FromDatetime(due)
        response = await self._connection.call(lambda stub: stub.MoveTimer, request)
        return response.address

    async def reset(self, length: int, reason: str = "") -> str:
        """Go back in the history: a new run keeps its first *length* events and goes on from there.

        Signals that came later are delivered again; what was done later is done again. Returns the new run's id.

        Raises:
            EventNotFoundError: the history is not that long.
        """
        return await self._reset(length, reason, "")

    async def fork(self, length: int, workflow_id: str, reason: str = "") -> str:
        """The same under another workflow id, while this run goes on. Returns the new run's id.

        Raises:
            EventNotFoundError: the history is not that long, or has open children there.
            WorkflowIdTaken: *workflow_id* is in use.
        """
        return await self._reset(length, reason, workflow_id)

    async def _reset(self, length: int, reason: str, fork_workflow_id: str) -> str:
        request = workflow_pb2.ResetRunRequest(
            namespace=self.namespace,
            run=self._reference,
            request_id=uuid4().hex,
            length=length,
            reason=reason,
            fork_workflow_id=fork_workflow_id,
        )
        response = await self._connection.call(lambda stub: stub.ResetRun, request)
        return response.run_id
