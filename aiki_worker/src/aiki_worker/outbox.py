"""What must survive a broken stream: unanswered messages, and the leases this session has.

Pure bookkeeping over protobuf messages. Invariants: what is unanswered is sent again unchanged and in
its order; a lease is listed from the moment it was heard of until an answer ended it.
"""

from __future__ import annotations

from collections.abc import Iterable

from aiki.v1 import common_pb2, worker_pb2

Thing = tuple[str, str]
Key = tuple[str, str, str, str, int]


class Outbox:
    """One session's memory of what it has said and what it holds."""

    def __init__(self) -> None:
        self.leases: dict[Thing, common_pb2.Lease] = {}
        self._unanswered: dict[Key, worker_pb2.WorkerMessage] = {}
        self._unstarted: dict[Thing, common_pb2.Lease] = {}

    def add(self, message: worker_pb2.WorkerMessage) -> None:
        """Keep *message* until it is answered, if it will be."""
        kind = message.WhichOneof("kind")
        if kind == "task_start":
            self._begun(message.task_start.lease)
            if message.task_start.answer:
                self._unanswered[_key(kind, message.task_start.lease)] = message
        elif kind == "commit":
            commit = message.commit
            self._unanswered[_key(kind, commit.lease, commit.number)] = message
        elif kind == "task_report":
            self._unanswered[_key(kind, message.task_report.lease)] = message
            self._begun(message.task_report.lease)
        elif kind == "release":
            self._unanswered[_key(kind, message.release.lease)] = message
        elif kind == "need_history":
            need = message.need_history
            self._unanswered[_key(kind, need.lease, need.first_index)] = message

    def unanswered(self) -> list[worker_pb2.WorkerMessage]:
        """What is to be sent again, in order."""
        return list(self._unanswered.values())

    def heard(self, message: worker_pb2.CoordinatorMessage) -> None:
        """Take notice of what *message* answers, gives and ends."""
        kind = message.WhichOneof("kind")
        if kind == "commit_result":
            result = message.commit_result
            self._unanswered.pop(_key("commit", result.lease, result.number), None)
            if result.released:
                self._end(result.lease)
        elif kind == "run_grant":
            self._begin(message.run_grant.lease)
        elif kind == "task_assignment":
            self._begin(message.task_assignment.lease)
            lease = message.task_assignment.lease
            self._unstarted[lease.run_id, lease.address] = lease
        elif kind == "task_report_result":
            self._unanswered.pop(_key("task_report", message.task_report_result.lease), None)
            self._end(message.task_report_result.lease)
        elif kind == "task_start_result":
            self._unanswered.pop(_key("task_start", message.task_start_result.lease), None)
        elif kind == "release_result":
            self._unanswered.pop(_key("release", message.release_result.lease), None)
            self._end(message.release_result.lease)
        elif kind == "history_page":
            page = message.history_page
            self._unanswered.pop(_key("need_history", page.lease, page.first_index), None)

    def lost(self, leases: Iterable[common_pb2.Lease]) -> None:
        """These leases are gone, and with them all that was said under them."""
        for lease in leases:
            self._end(lease)
            gone = [key for key in self._unanswered if key[1:4] == (lease.run_id, lease.address, lease.nonce)]
            for key in gone:
                del self._unanswered[key]

    def clear(self) -> None:
        """Every lease is gone."""
        self.leases.clear()
        self._unstarted.clear()
        self._unanswered.clear()

    @property
    def unstarted(self) -> list[common_pb2.Lease]:
        """Leases of tasks that have not begun."""
        return list(self._unstarted.values())

    @property
    def is_empty(self) -> bool:
        """Whether everything was answered."""
        return not self._unanswered

    def _begin(self, lease: common_pb2.Lease) -> None:
        self.leases[lease.run_id, lease.address] = lease

    def _end(self, lease: common_pb2.Lease) -> None:
        held = self.leases.get((lease.run_id, lease.address))
        if held is not None and held.nonce == lease.nonce and held.epoch == lease.epoch:
            del self.leases[lease.run_id, lease.address]
            self._unstarted.pop((lease.run_id, lease.address), None)

    def _begun(self, lease: common_pb2.Lease) -> None:
        if self._unstarted.get((lease.run_id, lease.address)) == lease:
            del self._unstarted[lease.run_id, lease.address]


def _key(kind: str, lease: common_pb2.Lease, number: int = 0) -> Key:
    return kind, lease.run_id, lease.address, lease.nonce, number
