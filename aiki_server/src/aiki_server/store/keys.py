"""The names of all keys: the schema of the store.

Everything of a run shares the hash tag of its partition, so a script's keys are in one slot. Names with
parts that people choose are unambiguous: `%` and `:` are escaped in all such parts but the last.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

from aiki_server.core.ids import partition_of_run
from aiki_server.core.matching import Lane

SESSIONS: Final = "aiki:sessions"
COORDINATORS: Final = "aiki:coordinators"
LOST: Final = "aiki:lost"
RETURNED: Final = "aiki:returned"
HANDLERS: Final = "aiki:handlers"
LANES: Final = "aiki:lanes"
META: Final = "aiki:meta"
PULSE: Final = "aiki:pulse"

GROUP: Final = "aiki"


def tag(partition: int) -> str:
    return f"{{aiki:{partition}}}:"


def tag_of(run_id: str) -> str:
    """The prefix of all keys of a run; the id is taken to be valid (see `is_run_id`).

    Raises:
        ValueError: it is not even of the form.
    """
    return "{aiki:" + run_id[: run_id.index("-")] + "}:"


def is_run_id(run_id: str, partitions: int) -> bool:
    """Can this be a run of this cluster?"""
    try:
        return partition_of_run(run_id) < partitions
    except ValueError:
        return False


def run(run_id: str) -> str:
    return f"{tag_of(run_id)}run:{run_id}"


def history(run_id: str) -> str:
    return f"{tag_of(run_id)}history:{run_id}"


def mailbox(run_id: str) -> str:
    return f"{tag_of(run_id)}mailbox:{run_id}"


def tasks(run_id: str) -> str:
    return f"{tag_of(run_id)}tasks:{run_id}"


def state(run_id: str) -> str:
    """What the run has published (`s:KEY`), and its answers to updates (`u:ID`, empty while there is none)."""
    return f"{tag_of(run_id)}state:{run_id}"


def logs(run_id: str) -> str:
    """What code logged in the run."""
    return f"{tag_of(run_id)}logs:{run_id}"


def outbox(partition: int) -> str:
    return f"{tag(partition)}outbox"


def workflow(prefix: str, namespace: str, workflow_id: str) -> str:
    return f"{prefix}workflow:{escaped(namespace)}:{workflow_id}"


def seen(prefix: str, namespace: str, workflow_id: str) -> str:
    return f"{prefix}seen:{escaped(namespace)}:{workflow_id}"


def index(prefix: str, namespace: str, which: str) -> str:
    """`which`: open (stalled ones too), stalled, or a closed state; score: when the run started."""
    return f"{prefix}index:{escaped(namespace)}:{which}"


def deadlines(prefix: str) -> str:
    """When the time of runs is up; members: `deadline`. What closes earlier is dropped when it is looked at."""
    return f"{prefix}deadlines"


def deadline(run_id: str, namespace: str) -> str:
    """A member of `deadlines`."""
    return f"{run_id}|{namespace}"


def ending(namespace: str, run_id: str, holder: str, state: str = "terminated") -> tuple[str, ...]:
    """What is touched when a run is ended from outside: keys 1 to 11 of `terminate`, `reset` and `time_out`."""
    prefix = tag_of(run_id)
    return (
        f"{prefix}run:{run_id}",
        f"{prefix}history:{run_id}",
        f"{prefix}ready",
        f"{prefix}held:{holder}",
        f"{prefix}timers",
        f"{prefix}tasks:{run_id}",
        index(prefix, namespace, "open"),
        index(prefix, namespace, state),
        f"{prefix}closed",
        f"{prefix}outbox",
        index(prefix, namespace, "stalled"),
    )


def queue_stream(lane: Lane) -> str:
    """`…:HANDLER:PRIORITY`, and for work that asks for more `:LABELS:SLOTS`."""
    head = f"{{aiki:queue:{escaped(lane.namespace)}:{escaped(lane.queue)}}}:{lane.handler}:{lane.priority}"
    return head if not lane.labels and lane.slots == 1 else f"{head}:{','.join(lane.labels)}:{lane.slots}"


def lane_member(lane: Lane) -> str:
    """A lane, as a member of `LANES`."""
    place = [lane.namespace, lane.queue, lane.handler, lane.priority, lane.labels, lane.slots]
    return json.dumps(place, separators=(",", ":"))


def lane_from(member: bytes) -> Lane:
    """What `lane_member` made."""
    namespace, queue, handler, priority, labels, slots = json.loads(member)
    return Lane(namespace, queue, handler, priority, tuple(labels), slots)


def coordinator_report(coordinator_id: str) -> str:
    """What a coordinator says of its sessions, for the others; expires by itself."""
    return f"{{aiki:coordinator:{coordinator_id}}}:report"


def coordinator_stream(coordinator_id: str) -> str:
    return f"{{aiki:coordinator:{coordinator_id}}}"


def coordinator_picture(coordinator_id: str) -> str:
    """What a coordinator tells of itself, for a few seconds."""
    return f"{{aiki:coordinator:{coordinator_id}}}:picture"


def letter(coordinator_id: str, name: str) -> str:
    """Something for a coordinator that is too long for its stream."""
    return f"{{aiki:coordinator:{coordinator_id}}}:letter:{name}"


def handler_member(namespace: str, queue: str, handler: str) -> str:
    return f"{escaped(namespace)}:{escaped(queue)}:{handler}"


def ready_run(run_id: str) -> str:
    """A run, as a member of `ready` and `held`, and in hints."""
    return f"r|{run_id}"


def ready_task(run_id: str, address: str) -> str:
    """A remote task, as a member of `ready` and `held`, and in hints."""
    return f"t|{run_id}|{address}"


def timer(kind: str, run_id: str, address: str) -> str:
    """A member of `timers`."""
    return f"{kind}|{run_id}|{address}"


@lru_cache(maxsize=1024)
def escaped(part: str) -> str:
    return part.replace("%", "%25").replace(":", "%3A").replace("{", "%7B").replace("}", "%7D")


def unescaped(part: str) -> str:
    return part.replace("%7D", "}").replace("%7B", "{").replace("%3A", ":").replace("%25", "%")


def split_ready(member: str) -> tuple[str, str]:
    """Run id and address ('' for a run) of what `ready_run` or `ready_task` made."""
    kind, run_id, *address = member.split("|", 2)
    return (run_id, "") if kind == "r" else (run_id, address[0])
