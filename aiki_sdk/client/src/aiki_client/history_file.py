"""Histories as files: what a run did, to be replayed elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from aiki.v1 import history_pb2
from aiki_client.event_wire import event_from_wire, event_to_wire
from aiki_client.runs import Run
from aiki_task.errors import AikiError
from aiki_workflow import events


class HistoryFileError(AikiError):
    """A file holds no history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRun:
    """A run and its history. `runtime` is what ran its code last, such as "python 3.11"; "" if that is not known."""

    namespace: str
    run_id: str
    workflow_id: str
    workflow: str
    version: str
    queue: str
    history: Sequence[events.Event]
    runtime: str = ""


async def saved_run(run: Run[Any]) -> SavedRun:
    """A run with its whole history."""
    view = await run.describe()
    return SavedRun(
        namespace=view.namespace,
        run_id=view.run_id,
        workflow_id=view.workflow_id,
        workflow=view.workflow,
        version=view.version,
        queue=view.queue,
        history=[event async for event in run.history()],
        runtime=view.runtime,
    )


def save(run: SavedRun, path: Path) -> None:
    """Write one run as JSON: its names, and its events as the protocol has them."""
    about = {name: getattr(run, name) for name in (*_NAMES, "runtime")}
    told = [json_format.MessageToDict(event_to_wire(event)) for event in run.history]
    path.write_text(json.dumps({**about, "events": told}, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> SavedRun:
    """Read what `save` wrote.

    Raises:
        HistoryFileError: it is no such file.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        history = [
            event_from_wire(json_format.ParseDict(event, history_pb2.Event())) for event in found["events"]
        ]
        names = {name: str(found[name]) for name in _NAMES}
        return SavedRun(history=history, runtime=str(found.get("runtime", "")), **names)
    except (OSError, ValueError, KeyError, TypeError, json_format.ParseError) as error:
        message = f"{path} has no history, as `aiki run history ID --save FILE` writes it: {error}"
        raise HistoryFileError(message) from error


_NAMES = ("namespace", "run_id", "workflow_id", "workflow", "version", "queue")
