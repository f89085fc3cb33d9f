"""Remote tasks: scheduled → ready → leased → done, by compare-and-set on their state."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Future

    from aiki_server.core.runs import (
        Completed,
        Fenced,
        LeaseToken,
        NotReady,
        Released,
        Retrying,
        Taken,
        TaskRecord,
    )


class TaskStore:
    def take(
        self, *, run_id: str, address: str, incarnation: str, nonce: str, worker: str = ""
    ) -> Future[Taken | NotReady]:
        raise NotImplementedError

    def start(self, *, token: LeaseToken) -> Future[bool]:
        """Record that the attempt has begun; false when the lease is over."""
        raise NotImplementedError

    def complete(self, *, token: LeaseToken, incarnation: str, event: bytes) -> Future[Completed | Fenced]:
        """End the task with a TaskCompleted or TaskFailed event, into its run's mailbox."""
        raise NotImplementedError

    def retry(
        self, *, token: LeaseToken, incarnation: str, due_ms: int, failure: bytes
    ) -> Future[Retrying | Fenced]:
        """An attempt failed and is made again at *due_ms*; the timer is armed in the same script."""
        raise NotImplementedError

    def release(self, *, token: LeaseToken, incarnation: str) -> Future[Released | Fenced]:
        """Back to ready, no attempt used up. Also ends the bookkeeping of a lease that was cancelled."""
        raise NotImplementedError

    async def list(self, *, run_id: str, limit: int = 1000) -> list[TaskRecord]:
        """Open remote tasks of a run."""
        raise NotImplementedError
