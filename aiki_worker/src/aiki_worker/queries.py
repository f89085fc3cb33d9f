"""Questions to runs: answered from the run that is here, or from a copy brought to the end of its history.

Invariant: an answer shows what the store has, never what a worker only means to record.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiki.v1 import worker_pb2
from aiki_task.errors import AikiError, PayloadError
from aiki_task.failures import FailureInfo, from_exception
from aiki_task.payloads import Payload
from aiki_worker import wire
from aiki_worker.messages import HistoryPage, Lease, Query
from aiki_worker.runs import Runs, Unsettled
from aiki_workflow import UpdateRejected, Workflow, events
from aiki_workflow.engine import RunEngine, RunInfo

WAITING_MAX: Final = 1000
"""Questions that wait; the oldest goes when there are more, and whoever asked gives up."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Asked:
    """A question whose history has not arrived whole yet."""

    query: Query
    history: list[events.Event] = field(default_factory=list[events.Event])


class Queries:
    """Made and used on the main loop, from plain callbacks; `say` takes the answers."""

    def __init__(
        self,
        namespace: str,
        workflows: Mapping[tuple[str, str], Workflow[..., Any]],
        runs: Runs,
        say: Callable[[worker_pb2.WorkerMessage], None],
    ) -> None:
        self._namespace = namespace
        self._workflows = workflows
        self._runs = runs
        self._say = say
        self._waiting: OrderedDict[str, Query] = OrderedDict()
        self._asked: OrderedDict[str, _Asked] = OrderedDict()

    def ask(self, query: Query) -> None:
        """Answer, now or when the run is as the store has it or its history is here."""
        engine = self._runs.engine_at(query.run_id, query.length)
        if isinstance(engine, Unsettled):
            _keep(self._waiting, query.query_id, query)
        elif engine is not None:
            self._answer(query, engine)
        elif (query.workflow, query.version) not in self._workflows:
            message = f"this worker does not serve {query.workflow} v{query.version}"
            self._tell(query, FailureInfo(type="NoHandlerError", message=message))
        else:
            asked = _Asked(query)
            _keep(self._asked, query.query_id, asked)
            self._arrive(asked, query.events)

    def page(self, page: HistoryPage) -> bool:
        """Take a part of a history; false when it is none that was asked for here."""
        asked = self._asked.get(page.lease.nonce)
        if page.lease.epoch or asked is None:
            return False
        if page.refusal is not None:
            del self._asked[page.lease.nonce]
            self._tell(asked.query, FailureInfo(type="RunNotFoundError", message=page.refusal.message))
        elif page.first_index == len(asked.history):
            self._arrive(asked, page.events)
        return True

    def answer_waiting(self) -> None:
        """Try those again that waited for an answer of the coordinator's."""
        waiting, self._waiting = self._waiting, OrderedDict()
        for query in waiting.values():
            self.ask(query)

    def _arrive(self, asked: _Asked, arrived: Any) -> None:
        query = asked.query
        asked.history.extend(arrived)
        if len(asked.history) < query.length:
            lease = Lease(query.run_id, "", 0, query.query_id)
            self._say(wire.need_history_to_wire(lease, len(asked.history)))
            return
        del self._asked[query.query_id]
        info = RunInfo(
            namespace=self._namespace,
            run_id=query.run_id,
            workflow_id=query.workflow_id,
            workflow=query.workflow,
            version=query.version,
            queue=query.queue,
        )
        engine = RunEngine(self._workflows[query.workflow, query.version], info)
        try:
            engine.replay(asked.history)
            self._answer(query, engine)
        except AikiError as error:
            self._tell(query, from_exception(error))
        finally:
            engine.close()

    def _answer(self, query: Query, engine: RunEngine) -> None:
        outcome: Payload | FailureInfo
        try:
            if query.is_update:
                engine.requests.check(query.name, query.input)
                outcome = Payload(b"null")
            else:
                outcome = engine.query(query.name, query.input)
        except (UpdateRejected, PayloadError) as error:
            outcome = from_exception(error, kind="rejected")
        except Exception as error:  # noqa: BLE001  whatever user code raises is the answer
            outcome = from_exception(error)
        self._tell(query, outcome)

    def _tell(self, query: Query, outcome: Payload | FailureInfo) -> None:
        self._say(wire.query_result_to_wire(query.query_id, outcome))


def _keep(kept: OrderedDict[str, Any], key: str, value: object) -> None:
    kept[key] = value
    if len(kept) > WAITING_MAX:
        kept.popitem(last=False)
