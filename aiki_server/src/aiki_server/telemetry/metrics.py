"""Every metric of a coordinator, declared once: docs/metrics.md is made from this.

Labels are bounded: names that people choose for things they define, never ids. Counters count what this coordinator did;
gauges of the store cover the partitions that it sweeps, so that the sum over coordinators is right.
"""

from __future__ import annotations

from typing import Final

from aiki_server.telemetry.instruments import FAST_SECONDS, SIZES, Registry

REGISTRY: Final = Registry()
_counter, _gauge, _histogram = REGISTRY.counter, REGISTRY.gauge, REGISTRY.histogram

RUNS_STARTED: Final = _counter(
    "aiki.runs.started", "Runs started, children and later runs of a chain included.", "namespace", "workflow"
)
RUNS_CLOSED: Final = _counter("aiki.runs.closed", "Runs that ended, by how.", "namespace", "state")
RUNS_STALLS: Final = _counter("aiki.runs.stalls", "Times a run was parked by a bug in its code.", "namespace")
RUNS_OPEN: Final = _gauge("aiki.runs.open", "Runs that are open, stalled ones included.", "namespace")
RUNS_STALLED: Final = _gauge("aiki.runs.stalled", "Runs that are parked by a bug in their code.", "namespace")

GRANTS: Final = _counter("aiki.grants", "Leases of runs and of remote tasks given to workers.", "kind")
GRANTS_WASTED: Final = _counter(
    "aiki.grants.wasted", "Leases that were asked for and not there any more.", "kind"
)
COMMITS: Final = _counter("aiki.commits", "Commits of workers that the store took.")
COMMIT_EVENTS: Final = _histogram("aiki.commit.events", "Events in one commit.", unit="1", bounds=SIZES)
FENCED: Final = _counter("aiki.fenced", "Messages that changed nothing because their lease was over.", "kind")
DUPLICATES: Final = _counter(
    "aiki.duplicates", "Requests that had been done before, and were answered alike.", "kind"
)
RELEASES: Final = _counter("aiki.releases", "Leases that workers gave back.", "kind")
SESSIONS_LOST: Final = _counter("aiki.sessions.lost", "Sessions of workers that were not renewed in time.")
LEASES_EXPIRED: Final = _counter("aiki.leases.expired", "Leases taken from sessions that were lost.", "kind")
STOLEN: Final = _counter(
    "aiki.stolen", "Runs and tasks that an idle worker got in place of a busy one.", "kind"
)

TASKS_DISPATCHED: Final = _counter("aiki.tasks.dispatched", "Tasks that went to a queue.", "queue")
TASKS_RETRIED: Final = _counter(
    "aiki.tasks.retried", "Failed attempts that are made again, on whichever worker."
)
TASKS_POISONED: Final = _counter(
    "aiki.tasks.poisoned", "Tasks given up because they killed their workers.", "queue"
)

QUEUE_BACKLOG: Final = _gauge(
    "aiki.queue.backlog", "Runs and tasks that wait for a worker.", "namespace", "queue"
)
QUEUE_OLDEST: Final = _gauge(
    "aiki.queue.oldest_age", "How long the oldest of them has waited.", "namespace", "queue", unit="s"
)
QUEUE_POLLERS: Final = _gauge(
    "aiki.queue.pollers", "Sessions here that serve the queue.", "namespace", "queue"
)

SESSIONS: Final = _gauge("aiki.sessions", "Workers connected here.", "namespace")
SLOTS: Final = _gauge("aiki.slots", "Slots for tasks of workers connected here.", "namespace")
CREDIT: Final = _gauge("aiki.credit", "Runs and tasks that the workers connected here still take.", "kind")
SESSION_OUTBOX: Final = _gauge("aiki.session.outbox", "Messages that wait to be sent to workers.")

TIMER_LAG: Final = _histogram("aiki.timer.lag", "How late timers fired.")
OUTBOX_DEPTH: Final = _gauge("aiki.outbox.depth", "Effects on other runs that wait to be brought there.")
OUTBOX_AGE: Final = _gauge("aiki.outbox.oldest_age", "How long the oldest of them has waited.", unit="s")

STORE_LATENCY: Final = _histogram(
    "aiki.store.latency",
    "From a call of the store until its answer, waiting for its batch included.",
    "script",
    bounds=FAST_SECONDS,
)
STORE_BATCH: Final = _histogram(
    "aiki.store.batch", "Calls that went to the store together.", unit="1", bounds=SIZES
)
STORE_ERRORS: Final = _counter(
    "aiki.store.errors", "Answers of the store that were errors, by their first word.", "error"
)
STORE_RECONNECTS: Final = _counter("aiki.store.reconnects", "Connections to the store that were lost.")
STORE_MEMORY: Final = _gauge("aiki.store.memory", "Memory that the store uses.", unit="By")
STORE_MEMORY_RATIO: Final = _gauge(
    "aiki.store.memory_ratio", "The part of the store's maxmemory that is used; 0 when there is no limit."
)
STORE_PROBLEMS: Final = _gauge(
    "aiki.store.problems", "What the guard finds wrong with the store: 0 when it is safe and reachable."
)

LOG_LINES: Final = _counter("aiki.log_lines", "Lines that code logged in runs and that came to be kept.")

PARTITIONS: Final = _gauge("aiki.partitions", "Partitions that this coordinator sweeps.")
LOOP_LAG: Final = _gauge(
    "aiki.loop.lag", "The longest that the coordinator's loop was late in the last ten seconds.", unit="s"
)
DRAINING: Final = _gauge("aiki.draining", "1 while this coordinator wants to go.")
