"""Runs: start, deliver, grant, commit, release, adopt, watch, unstall, and reading them.

Every call is one script (two, when the first has to find out a name), may be repeated, and comes back as a
future that the flusher resolves: no task is made.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from aiki_server.core.ids import DEFAULT_NAMESPACE, partition_of
from aiki_server.core.runs import (
    Attention,
    Begun,
    CacheMark,
    Committed,
    Delivered,
    Effects,
    Existing,
    Fenced,
    Gap,
    Granted,
    IdPolicy,
    LeaseToken,
    NextRun,
    NotFound,
    NotReady,
    NotStalled,
    Released,
    RunClosed,
    RunRecord,
    RunState,
    Started,
    StartOutcome,
    StartRun,
)
from aiki_server.store import keys, replies
from aiki_server.store.calls import Again
from aiki_server.store.deliver import Delivery
from aiki_server.store.scripts import script

if TYPE_CHECKING:
    from asyncio import Future

    from aiki_server.store.calls import Router
    from aiki_server.store.clock import Clock
    from aiki_server.store.connection import Argument, Reply

PAGE_BYTES: Final = 1_000_000


class RunStore:
    def __init__(self, flusher: Router, clock: Clock, partitions: int) -> None:
        self._flusher = flusher
        self._clock = clock
        self._partitions = partitions
        self._grant = script("grant")
        self._commit = script("commit")
        self._release = script("release")

    def start(self, start: StartRun) -> Future[StartOutcome]:
        """Started: the run is in `ready`; grant it or hint it. `repeat` too: it may be done already."""
        return self._flusher.submit(self._start_command(start, ""), partial(self._started, start, ""))

    def grant(
        self, *, run_id: str, incarnation: str, nonce: str, cached: CacheMark | None = None, runtime: str = ""
    ) -> Future[Granted | NotReady]:
        """Lease the run to an incarnation. The nonce is new for each lease, and the same in a repeat.

        `runtime` is what runs the code there; the run keeps it.
        """
        prefix = keys.tag_of(run_id)
        mark = f"{cached.epoch}:{cached.nonce}:{cached.length}" if cached else ""
        command = self._grant.command(
            (
                f"{prefix}run:{run_id}",
                f"{prefix}history:{run_id}",
                f"{prefix}mailbox:{run_id}",
                f"{prefix}ready",
                f"{prefix}held:{incarnation}",
                f"{prefix}holders",
            ),
            (run_id, incarnation, nonce, self._clock.now_ms(), mark, PAGE_BYTES, runtime),
        )
        return self._flusher.submit(command, partial(replies.granted, run_id, incarnation, nonce))

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
        namespace: str = DEFAULT_NAMESPACE,
    ) -> Future[Committed | Fenced | Gap]:
        """Append, with all that the events mean; `idle` goes with `drain` only.

        `namespace` is that of the run: a wrong one costs a round trip when the run closes or stalls.
        """
        run_id = token.run_id
        ending = "stalled" if stall is not None else (effects.closing or "")
        rest: list[Argument] = [len(events), len(effects.timers), len(effects.cancelled_timers)]
        rest += [len(effects.dispatches), len(effects.cancelled_tasks), len(effects.fields)]
        going_on = _next_arguments(effects)
        rest += [len(effects.children), len(effects.outbox), len(going_on), *events]
        for address, due_ms, kind in effects.timers:
            rest += (due_ms, keys.timer(kind, run_id, address))
        rest += [keys.timer(kind, run_id, address) for address, kind in effects.cancelled_timers]
        for task in effects.dispatches:
            rest += (task.address, task.handler, task.queue, task.spec, task.attempts_made)
            rest += (task.deadline_ms, task.queue_ms, task.placement.encode())
        rest += effects.cancelled_tasks
        for field, answer in effects.fields:
            rest += (field, answer)
        for address, child in effects.children:
            rest += (address, child)
        rest += effects.outbox
        rest += going_on
        fixed = (
            run_id,
            token.epoch,
            token.nonce,
            incarnation,
            number,
            self._clock.now_ms(),
            "1" if drain else "",
            "1" if idle else "",
            ending,
            stall or b"",
        )
        arguments = (*fixed, namespace, *rest)
        next_run = effects.next_run
        command = self._commit_command(run_id, incarnation, ending, namespace, next_run, arguments)

        def named(right: str) -> Again[Committed | Fenced | Gap]:
            arguments = (*fixed, right, *rest)
            again = self._commit_command(run_id, incarnation, ending, right, next_run, arguments)
            return Again(again, decode)

        def decode(reply: Reply) -> Committed | Fenced | Gap | Again[Committed | Fenced | Gap]:
            if reply[0] == b"namespace":
                return named(reply[1].decode())
            return replies.committed(run_id, reply)

        return self._flusher.submit(command, decode)

    def release(
        self, *, token: LeaseToken, incarnation: str, lost: bool = False
    ) -> Future[Released | Fenced | Begun]:
        """Of a run (for tasks see TaskStore). `Fenced` when it was not held (any more): no error.

        `lost`: the worker died with it.
        """
        run_id = token.run_id
        prefix = keys.tag_of(run_id)
        command = self._release.command(
            (f"{prefix}run:{run_id}", f"{prefix}ready", f"{prefix}held:{incarnation}"),
            (run_id, token.epoch, token.nonce, incarnation, self._clock.now_ms(), int(lost)),
        )
        return self._flusher.submit(command, partial(replies.released, run_id))

    def adopt(self, *, token: LeaseToken, old: str, new: str) -> Future[bool]:
        """Move a lease of a run or task to another incarnation; false when *old* does not hold it."""
        run_id, address = token.run_id, token.address
        prefix = keys.tag_of(run_id)
        name, key = (
            ("adopt_task", f"{prefix}tasks:{run_id}") if address else ("adopt", f"{prefix}run:{run_id}")
        )
        command = script(name).command(
            (key, f"{prefix}held:{old}", f"{prefix}held:{new}", f"{prefix}holders"),
            (
                run_id,
                *((address,) if address else ()),
                token.epoch,
                token.nonce,
                old,
                new,
                self._clock.now_ms(),
            ),
        )
        return self._flusher.submit(command, bool)

    def deliver(
        self,
        *,
        namespace: str,
        event: bytes,
        dedupe_id: str,
        run_id: str = "",
        workflow_id: str = "",
        anyway: bool = False,
        answer_field: str = "",
    ) -> Future[Delivered | RunClosed | NotFound]:
        """Put an input into the mailbox of a run, or of the newest run of a workflow id; one of the two.

        A run that continued as another gives it on. `dedupe_id` belongs to the workflow id and is kept 24 h;
        an update's `answer_field` keeps it out for as long as the run is there. `anyway`: in a full store too.
        """
        deliver = Delivery(
            clock=self._clock,
            namespace=namespace,
            event=event,
            dedupe_id=dedupe_id,
            anyway=anyway,
            answer_field=answer_field,
        )
        if workflow_id:
            key = keys.workflow(self._prefix(namespace, workflow_id), namespace, workflow_id)
            return self._flusher.submit(("GET", key), partial(deliver.resolved, workflow_id))
        if not keys.is_run_id(run_id, self._partitions):
            return self._flusher.answer(NotFound())
        command = ("HMGET", keys.run(run_id), "namespace", "workflow_id")
        return self._flusher.submit(command, partial(deliver.identified, run_id))

    def watch(self, *, run_id: str, coordinator_id: str) -> Future[RunState | NotFound]:
        """Have the coordinator told when the run closes or stalls (`Committed.waiters`); its state now."""
        if not keys.is_run_id(run_id, self._partitions):
            return self._flusher.answer(NotFound())

        def decode(reply: Reply) -> RunState | NotFound:
            return NotFound() if reply is None else replies.state_of(reply)

        return self._flusher.submit(script("watch").command((keys.run(run_id),), (coordinator_id,)), decode)

    def unstall(self, *, run_id: str) -> Future[Attention | NotStalled | NotFound]:
        """Wake a stalled run."""
        if not keys.is_run_id(run_id, self._partitions):
            return self._flusher.answer(NotFound())
        prefix = keys.tag_of(run_id)

        def decode(reply: Reply) -> Attention | NotStalled | NotFound:
            match reply[0]:
                case b"ok":
                    return replies.attention(run_id, reply[1])
                case b"state":
                    return NotStalled(run_id, replies.state_of(reply[1]))
                case _:
                    return NotFound()

        def identified(
            reply: Reply,
        ) -> NotFound | Again[Attention | NotStalled | NotFound]:
            if reply is None:
                return NotFound()
            index = keys.index(prefix, reply.decode(), "stalled")
            command = script("unstall").command(
                (f"{prefix}run:{run_id}", f"{prefix}ready", index), (run_id, self._clock.now_ms())
            )
            return Again(command, decode)

        return self._flusher.submit(("HGET", keys.run(run_id), "namespace"), identified)

    def get(self, *, namespace: str, run_id: str = "", workflow_id: str = "") -> Future[RunRecord | None]:
        """A run, or the newest run of a workflow id. None as well when the run id is of another namespace."""
        if workflow_id:
            key = keys.workflow(self._prefix(namespace, workflow_id), namespace, workflow_id)

            def resolved(reply: Reply) -> RunRecord | Again[RunRecord | None] | None:
                if reply is None:
                    return None
                found = reply.decode()
                return Again(_get_command(found), partial(_of_namespace, found, namespace))

            return self._flusher.submit(("GET", key), resolved)
        if not keys.is_run_id(run_id, self._partitions):
            return self._flusher.answer(None)
        return self._flusher.submit(_get_command(run_id), partial(_of_namespace, run_id, namespace))

    def history(self, *, run_id: str, first: int, count: int) -> Future[list[bytes]]:
        """At most *count* events from index *first*, and about 1 MB; at least one if there is one."""
        command = script("history").command((keys.history(run_id),), (first, count, PAGE_BYTES))
        return self._flusher.submit(command, replies.as_it_is)

    def _prefix(self, namespace: str, workflow_id: str) -> str:
        return keys.tag(partition_of(namespace, workflow_id, self._partitions))

    def _start_command(self, start: StartRun, other: str) -> tuple[Argument, ...]:
        run_id = start.run_id
        prefix = keys.tag_of(run_id)
        return script("start").command(
            (
                f"{prefix}run:{run_id}",
                f"{prefix}mailbox:{run_id}",
                keys.workflow(prefix, start.namespace, start.workflow_id),
                f"{prefix}ready",
                keys.index(prefix, start.namespace, "open"),
                f"{prefix}run:{other or run_id}",
                f"{prefix}timers",
                f"{prefix}closed",
                keys.deadlines(prefix),
            ),
            (
                run_id,
                other,
                "1" if start.policy is IdPolicy.REPLACE_CLOSED else "",
                self._clock.now_ms(),
                start.started_event,
                start.namespace,
                start.workflow_id,
                start.workflow,
                start.version,
                start.queue,
                start.input_hash,
                start.begins_ms,
                start.parent,
                start.parent_address,
                start.mail,
                start.deadline_ms,
                start.placement.encode(),
            ),
        )

    def _started(self, start: StartRun, other: str, reply: Reply) -> StartOutcome | Again[StartOutcome]:
        match reply[0]:
            case b"started":
                return Started(start.run_id, repeat=False)
            case b"repeat":
                return Started(start.run_id, repeat=True, refused=reply[1] == b"refused")
            case b"other":
                current = reply[1].decode()
                return Again(self._start_command(start, current), partial(self._started, start, current))
            case _:
                return Existing(other, replies.state_of(reply[1]), reply[2] == 1)

    def _commit_command(
        self,
        run_id: str,
        incarnation: str,
        ending: str,
        namespace: str,
        next_run: NextRun | None,
        arguments: tuple[Argument, ...],
    ) -> tuple[Argument, ...]:
        prefix = keys.tag_of(run_id)
        index = f"{prefix}index:{keys.escaped(namespace)}:"
        return self._commit.command(
            (
                f"{prefix}run:{run_id}",
                f"{prefix}history:{run_id}",
                f"{prefix}mailbox:{run_id}",
                f"{prefix}ready",
                f"{prefix}held:{incarnation}",
                f"{prefix}timers",
                f"{prefix}tasks:{run_id}",
                f"{index}open",
                f"{index}{ending or 'open'}",
                f"{prefix}closed",
                f"{prefix}state:{run_id}",
                f"{prefix}outbox",
                *_next_keys(prefix, run_id, namespace, next_run),
            ),
            arguments,
        )


def _next_keys(prefix: str, run_id: str, namespace: str, next_run: NextRun | None) -> tuple[str, ...]:
    if next_run is None:
        own = f"{prefix}run:{run_id}"
        return own, own, own, own
    workflow = keys.workflow(prefix, namespace, next_run.workflow_id)
    return (
        f"{prefix}run:{next_run.run_id}",
        f"{prefix}mailbox:{next_run.run_id}",
        workflow,
        keys.deadlines(prefix),
    )


def _next_arguments(effects: Effects) -> list[Argument]:
    run = effects.next_run
    return [] if run is None else [run.run_id, run.version, run.begins_ms, run.deadline_ms, *run.mail]


def _get_command(run_id: str) -> tuple[Argument, ...]:
    prefix = keys.tag_of(run_id)
    return script("get").command(
        (f"{prefix}run:{run_id}", f"{prefix}history:{run_id}", f"{prefix}mailbox:{run_id}"), ()
    )


def _of_namespace(run_id: str, namespace: str, reply: Reply) -> RunRecord | None:
    if reply is None:
        return None
    record = replies.record(run_id, reply)
    return record if record.namespace == namespace else None
