"""Completing tasks from elsewhere, by the token of their attempt."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from aiki.v1 import workflow_pb2
from aiki_client.connection import Connection
from aiki_client.event_wire import failure_to_wire, payload_to_wire
from aiki_task.failures import from_exception
from aiki_task.payloads import ValueCodec
from aiki_task.task import Task

T = TypeVar("T")


class TaskCompletions:
    """What a client can do to tasks whose attempts have deferred their outcome; see `complete_later`."""

    namespace: str
    _connection: Connection

    @overload
    async def complete_task(self, token: str, value: object = None) -> str: ...
    @overload
    async def complete_task(self, token: str, value: T, task: Task[..., T]) -> str: ...
    async def complete_task(
        self, token: str, value: object = None, task: Task[..., Any] | None = None
    ) -> str:
        """Give the result of a task attempt; returns the id of its run. Doing it again changes nothing.

        Args:
            token: what `current_task().token` was in the attempt.
            value: the result: what JSON can say, or anything of the result's type when *task* is given.
            task: which task it is.

        Raises:
            TaskNotFoundError: the attempt is over: completed, tried again, timed out or cancelled.
            InvalidArgumentError: the token is none.
            PayloadTypeError: the value does not fit.
        """
        hint = bytes if isinstance(value, bytes) else Any
        codec = ValueCodec(hint, "the result of a task") if task is None else task.result
        request = workflow_pb2.CompleteTaskRequest(
            namespace=self.namespace, token=token, output=payload_to_wire(codec.encode(value))
        )
        return (await self._connection.call(lambda stub: stub.CompleteTask, request)).run_id

    async def fail_task(self, token: str, error: BaseException) -> str:
        """Have a task fail for good, as if it had raised *error*; returns the id of its run.

        Raises:
            TaskNotFoundError, InvalidArgumentError: as `complete_task` does.
        """
        request = workflow_pb2.CompleteTaskRequest(
            namespace=self.namespace, token=token, failure=failure_to_wire(from_exception(error))
        )
        return (await self._connection.call(lambda stub: stub.CompleteTask, request)).run_id
