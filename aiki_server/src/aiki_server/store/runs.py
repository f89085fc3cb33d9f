"""Runs: start, deliver, grant, commit, release, adopt, watch, unstall, and reading them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Future

    from aiki_server.core.runs import (
        Attention,
        CacheMark,
        Committed,
        Delivered,
        Effects,
        Fenced,
        Gap,
        Granted,
        LeaseToken,
        NotFound,
        NotReady,
        NotStalled,
        Released,
        RunClosed,
        RunRecord,
        RunState,
        StartOutcome,
        StartRun,
    )


class RunStore:
    def start(self, start: StartRun) -> Future[StartOutcome]:
        """Started: the run is in `ready`; grant it or hint it. `repeat` too: it may be done already."""
        raise NotImplementedError

    def grant(
        self, *, run_id: str, incarnation: str, nonce: str, cached: CacheMark | None = None
    ) -> Future[Granted | NotReady]:
        raise NotImplementedError

    def commit(
        self,
        *,
        token: LeaseToken,
        incarnation: str,
        number: int,
        events: list[bytes],
        effects: Effects,
        drain: bool = False,
        idle: bool = False,
        stall: bytes | None = None,
    ) -> Future[Committed | Fenced | Gap]:
        raise NotImplementedError

    def release(self, *, token: LeaseToken, incarnation: str) -> Future[Released | Fenced]:
        """`Fenced` when it was not held (any more): no error. Address empty: for tasks see TaskStore."""
        raise NotImplementedError

    def adopt(self, *, token: LeaseToken, old: str, new: str) -> Future[bool]:
        """Move a lease of a run *or task* to another incarnation; false when it is not held."""
        raise NotImplementedError

    def deliver(
        self,
        *,
        namespace: str,
        run_id: str = "",
        workflow_id: str = "",
        event: bytes,
        dedupe_id: str,
    ) -> Future[Delivered | RunClosed | NotFound]:
        """By run id or workflow id (exactly one of them)."""
        raise NotImplementedError

    def watch(self, *, run_id: str, coordinator_id: str) -> Future[RunState | NotFound]:
        """Have the coordinator told when the run closes or stalls (`Committed.waiters`); its state now."""
        raise NotImplementedError

    def unstall(self, *, run_id: str) -> Future[Attention | NotStalled | NotFound]:
        """Wake a stalled run."""
        raise NotImplementedError

    def get(
        self, *, namespace: str, run_id: str = "", workflow_id: str = ""
    ) -> Future[RunRecord | None]:
        """None as well when the run id is of another namespace."""
        raise NotImplementedError

    def history(self, *, run_id: str, first: int, count: int) -> Future[list[bytes]]:
        """At most *count* events from index *first* and at most about 1 MB, at least one if there is one."""
        raise NotImplementedError
