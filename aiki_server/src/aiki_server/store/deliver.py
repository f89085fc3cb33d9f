"""One delivery of an input to a run: find the run, then the script, and again if the run has changed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from aiki_server.core.runs import Delivered, NotFound, RunClosed
from aiki_server.store import keys, replies
from aiki_server.store.calls import Again
from aiki_server.store.scripts import script

if TYPE_CHECKING:
    from aiki_server.store.clock import Clock
    from aiki_server.store.connection import Reply

Outcome = Delivered | RunClosed | NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What is delivered; its methods decode replies, one after the other.

    `anyway`: also into a full store. `answer_field`: where the answer to an update will be.
    """

    clock: Clock
    namespace: str
    event: bytes
    dedupe_id: str
    anyway: bool = False
    answer_field: str = ""

    def resolved(self, workflow_id: str, reply: Reply) -> Outcome | Again[Outcome]:
        """The reply is the workflow id's current run."""
        if not reply:
            return NotFound()
        return self._deliver(reply.decode(), workflow_id, by_workflow_id=True)

    def identified(self, run_id: str, reply: Reply) -> Outcome | Again[Outcome]:
        """The reply is the run's namespace and workflow id."""
        if reply[0] is None or reply[0].decode() != self.namespace:
            return NotFound()
        return self._deliver(run_id, reply[1].decode(), by_workflow_id=False)

    def _deliver(self, run_id: str, workflow_id: str, *, by_workflow_id: bool) -> Again[Outcome]:
        prefix = keys.tag_of(run_id)
        command = script("deliver_anyway" if self.anyway else "deliver").command(
            (
                f"{prefix}run:{run_id}",
                f"{prefix}mailbox:{run_id}",
                f"{prefix}ready",
                keys.seen(prefix, self.namespace, workflow_id),
                keys.workflow(prefix, self.namespace, workflow_id),
                keys.state(run_id),
            ),
            (
                run_id,
                self.event,
                self.dedupe_id,
                self.clock.now_ms(),
                "1" if by_workflow_id else "",
                self.answer_field,
            ),
        )
        return Again(command, partial(self._delivered, run_id, workflow_id))

    def _delivered(self, run_id: str, workflow_id: str, reply: Reply) -> Outcome | Again[Outcome]:
        match reply[0]:
            case b"ok":
                return Delivered(run_id, repeat=False, attention=replies.attention(run_id, reply[1]))
            case b"repeat":
                return Delivered(run_id, repeat=True, attention=None)
            case b"closed":
                return RunClosed(run_id, replies.state_of(reply[1]))
            case b"next":
                return self._deliver(reply[1].decode(), workflow_id, by_workflow_id=False)
            case b"moved":
                return self.resolved(workflow_id, reply[1])
            case _:
                return NotFound()
