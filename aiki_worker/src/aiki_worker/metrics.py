"""Every metric of a worker, declared once: docs/metrics.md is made from this. Labels are bounded, and never ids."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from aiki_worker.instruments import Registry

REGISTRY: Final = Registry()
_counter, _gauge, _histogram = REGISTRY.counter, REGISTRY.gauge, REGISTRY.histogram

RUN_SCHEDULE_TO_START: Final = _histogram(
    "aiki.worker.run.schedule_to_start", "From a run's start until a worker began with it.", "workflow"
)
RUN_DURATION: Final = _histogram(
    "aiki.worker.run.duration", "From a run's start until its end.", "workflow", "state"
)
RUN_STALLS: Final = _counter("aiki.worker.run.stalls", "Runs parked by a bug in their code.", "workflow")
TASK_SCHEDULE_TO_START: Final = _histogram(
    "aiki.worker.task.schedule_to_start",
    "From when a task went to its queue until its first attempt began.",
    "queue",
    "task",
)
TASK_DURATION: Final = _histogram(
    "aiki.worker.task.duration", "How long attempts took, by how they ended.", "task", "outcome"
)
GRANTS: Final = _counter(
    "aiki.worker.grants", "Leases of runs, by whether the run was cached or had to be replayed.", "kind"
)
EVENTS_REPLAYED: Final = _counter("aiki.worker.events_replayed", "Events of histories that were replayed.")
FENCED: Final = _counter("aiki.worker.fenced", "Messages that changed nothing, by why.", "kind", "reason")
RUNS_HELD: Final = _gauge("aiki.worker.runs.held", "Runs that this worker holds.")
RUNS_CACHED: Final = _gauge("aiki.worker.runs.cached", "Runs that it remembers.")
SLOTS: Final = _gauge("aiki.worker.slots", "Slots for attempts.")
SLOTS_BUSY: Final = _gauge("aiki.worker.slots.busy", "Slots in which an attempt runs.")
SLOTS_LEAKED: Final = _gauge(
    "aiki.worker.slots.leaked", "Slots whose code goes on although it was told to stop."
)
TASKS_WAITING: Final = _gauge("aiki.worker.tasks.waiting", "Tasks that are here and have no slot yet.")
CONNECTED: Final = _gauge("aiki.worker.connected", "1 while a coordinator answers.")
LOOP_LAG: Final = _gauge(
    "aiki.worker.loop.lag",
    "The longest that the main loop was late in the last ten seconds: code that blocks it keeps others waiting.",
    unit="s",
)

TICK_SECONDS: Final = 0.25
LOOK_BACK_TICKS: Final = 40


async def feel_lag() -> None:
    """How late the running loop is, again and again until cancelled."""
    loop = asyncio.get_running_loop()
    recent: deque[float] = deque(maxlen=LOOK_BACK_TICKS)
    while True:
        due = loop.time() + TICK_SECONDS
        await asyncio.sleep(TICK_SECONDS)
        recent.append(loop.time() - due)
        LOOP_LAG.set(max(recent))
