"""What a run needs to go on from an event of another's history: pure.

The history itself is copied by the store. Timers that were open are armed again, with the times they had; tasks
that were open begin anew (the note RunReset tells the worker); children that were open go over, and how they
ended; signals that came later are delivered again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiki.v1 import history_pb2
from aiki_server.core.deadlines import deadline_ms
from aiki_server.core.runs import Branch
from aiki_server.rpc.effects import CLOSE_POLICIES, CLOSING
from aiki_server.rpc.run_view import RunView

RESULTS = {"child_completed": "completed", "child_failed": "failed"}


@dataclass(slots=True)
class Past:
    """The events that are kept: `take` each in order."""

    first: history_pb2.Event = field(default_factory=history_pb2.Event)
    length: int = 0
    is_closed: bool = False
    _view: RunView = field(default_factory=RunView)
    _fields: dict[str, bytes] = field(default_factory=dict[str, bytes])
    _children: dict[str, history_pb2.ChildScheduled] = field(
        default_factory=dict[str, history_pb2.ChildScheduled]
    )
    _signals: set[str] = field(default_factory=set[str])
    _updates: set[str] = field(default_factory=set[str])

    def take(self, event: history_pb2.Event) -> None:
        """The next event."""
        if self.length == 0:
            self.first = event
        self.length += 1
        self._view.take(event)
        match event.WhichOneof("kind"):
            case "state_published":
                published = event.state_published
                self._fields[f"s:{published.key}"] = published.value.SerializeToString()
            case "update_received":
                self._updates.add(event.update_received.update_id)
                self._fields.setdefault(f"u:{event.update_received.update_id}", b"")
            case "update_completed":
                done = event.update_completed
                self._fields[f"u:{done.update_id}"] = done.SerializeToString()
            case "child_scheduled":
                self._children[event.child_scheduled.address] = event.child_scheduled
            case "child_completed" | "child_failed" as kind:
                self._children.pop(getattr(event, kind).address, None)
            case "signal_sent":
                self._signals.add(event.signal_sent.address)
            case "signal_delivered":
                self._signals.discard(event.signal_delivered.address)
            case kind:
                self.is_closed = self.is_closed or kind in CLOSING

    @property
    def open_children(self) -> list[history_pb2.ChildScheduled]:
        """Those whose outcome is not there."""
        return list(self._children.values())

    def branch(
        self,
        seed: str,
        note: history_pb2.Event,
        later: Sequence[history_pb2.Event] = (),
        child_runs: dict[str, str] | None = None,
    ) -> Branch:
        """What goes on. `later` is what came after; `child_runs` the run ids of children, by address."""
        first = history_pb2.Event()
        first.CopyFrom(self.first)
        first.run_started.seed = first.run_started.seed or seed
        mail, ended = self._mail(later)
        fields = dict(self._fields)
        for event in mail:
            if event.WhichOneof("kind") == "update_received":
                fields.setdefault(f"u:{event.update_received.update_id}", b"")
        children = [
            (child.address, _child_record(child, child_runs[child.address], ended.get(child.address, "open")))
            for child in self._children.values()
            if child_runs is not None and child.address in child_runs
        ]
        return Branch(
            length=self.length,
            first=first.SerializeToString(),
            note=note.SerializeToString(),
            timers=[(timer.address, timer.due.ToMilliseconds()) for timer in self._view.timers],
            fields=list(fields.items()),
            children=children,
            mail=[event.SerializeToString() for event in mail],
            deadline_ms=deadline_ms(
                first.time_ms, first.run_started.timeout_ms, first.run_started.deadline_ms
            ),
        )

    def _mail(self, later: Sequence[history_pb2.Event]) -> tuple[list[history_pb2.Event], dict[str, str]]:
        """What of *later* is delivered again, and how children ended by it."""
        answered = {
            event.update_completed.update_id
            for event in later
            if event.WhichOneof("kind") == "update_completed"
        }
        mail: list[history_pb2.Event] = []
        ended: dict[str, str] = {}
        for event in later:
            kind = event.WhichOneof("kind")
            match kind:
                case "child_completed" | "child_failed" | "child_started":
                    address = getattr(event, kind).address
                    wanted = address in self._children
                    if wanted and kind in RESULTS:
                        ended[address] = RESULTS[kind]
                case "update_received":
                    update_id = event.update_received.update_id
                    wanted = update_id not in answered and update_id not in self._updates
                case "signal_delivered":
                    wanted = event.signal_delivered.address in self._signals
                case _:
                    wanted = kind == "signal_received"
            if wanted:
                mail.append(event)
        return mail, ended


def _child_record(child: history_pb2.ChildScheduled, run_id: str, state: str) -> str:
    policy = CLOSE_POLICIES.get(child.close_policy, "cancel")
    return json.dumps({"state": state, "run": run_id, "workflow_id": child.workflow_id, "policy": policy})
