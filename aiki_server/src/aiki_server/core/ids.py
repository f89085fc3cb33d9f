"""Names of runs, handlers and leases' holders.

A run id names its partition, so that whoever has the id alone can find the run. It is derived from what
was asked for, so that asking again finds the same run.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

DEFAULT_NAMESPACE: Final = "default"
DEFAULT_QUEUE: Final = "default"


def partition_of(namespace: str, workflow_id: str, partitions: int) -> int:
    """The partition that holds every run of this workflow id."""
    digest = blake2b(f"{namespace}\0{workflow_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % partitions


def run_id_for(namespace: str, workflow_id: str, request_id: str, partitions: int) -> str:
    """The id of the run that this request starts, however often it is sent."""
    digest = blake2b(f"{namespace}\0{workflow_id}\0{request_id}".encode(), digest_size=10).hexdigest()
    return f"{partition_of(namespace, workflow_id, partitions)}-{digest}"


def child_run_id(namespace: str, workflow_id: str, parent: str, address: str, partitions: int) -> str:
    """The id of the run of a child: it follows from its parent's, so that starting it again finds it."""
    return run_id_for(namespace, workflow_id, f"{parent}/{address}", partitions)


def partition_of_run(run_id: str) -> int:
    """The partition that a run id names.

    Raises:
        ValueError: this is not the id of a run.
    """
    head, dash, digest = run_id.partition("-")
    if not dash or not head.isascii() or not head.isdigit() or len(digest) != 20:
        raise ValueError(f"{run_id!r} is not the id of a run")
    return int(head)


def workflow_handler(name: str, version: str) -> str:
    """How a workflow of one version is called in queues."""
    return f"w:{name}:{version}"


def task_handler(name: str) -> str:
    """How a task is called in queues."""
    return f"t:{name}"


def incarnation(coordinator_id: str, session_id: str, count: int) -> str:
    """Names one stream of one session: what leases belong to."""
    return f"{coordinator_id}.{session_id}.{count}"


def coordinator_of(held_by: str) -> str:
    """The coordinator an incarnation is connected to; neither id has a dot in it."""
    return held_by.partition(".")[0]
