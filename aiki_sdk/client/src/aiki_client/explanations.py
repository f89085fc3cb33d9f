"""Why a run waits, as the coordinator explains it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from google.protobuf import timestamp_pb2

from aiki.v1 import workflow_pb2
from aiki_client import convert
from aiki_client.views import RunState

CAUSES: Final = {
    number: name.removeprefix("WAIT_CAUSE_").lower() for name, number in workflow_pb2.WaitCause.items()
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitReason:
    """One thing that a run, or a task of it, waits for.

    Attributes:
        cause: "no_handler", "no_queue", "no_label", "no_slots", "no_credit", "ready", "leased", "paused",
            "stalled", "scheduled", "timer", "backoff", "deferred", "child", "signal" or "closed".
        address: names the task, timer or child within the run; "" for the run itself.
        message: a sentence about it.
        advice: what to do about it; "" when nothing needs to be done.
        since: since when, if that is known.
        due: when it is over by itself, if it is.
        worker: who has it, if anybody.
        position: its place among what waits for the same, from 1; None when it has none, or a late one.
        backlog: how much waits for the same.
    """

    cause: str
    address: str
    message: str
    advice: str
    since: datetime | None
    due: datetime | None
    worker: str
    position: int | None
    backlog: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a run waits. `more` reasons were left out."""

    run_id: str
    state: RunState
    reasons: tuple[WaitReason, ...]
    more: int = 0


def explanation(response: workflow_pb2.ExplainRunResponse) -> Explanation:
    """From what ExplainRun answers."""
    return Explanation(
        run_id=response.run_id,
        state=convert.STATES[response.state],
        reasons=tuple(map(_reason, response.reasons)),
        more=response.more,
    )


def _reason(why: workflow_pb2.Why) -> WaitReason:
    return WaitReason(
        cause=CAUSES.get(why.cause, "unknown"),
        address=why.address,
        message=why.message,
        advice=why.advice,
        since=_instant(why.since) if why.HasField("since") else None,
        due=_instant(why.due) if why.HasField("due") else None,
        worker=why.worker,
        position=why.position or None,
        backlog=why.backlog,
    )


def _instant(at: timestamp_pb2.Timestamp) -> datetime:
    return at.ToDatetime(UTC)
