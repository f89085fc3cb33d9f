"""What code logs in runs and tasks, on its way to the run's logs in the store.

Lines of workflow code and of local attempts go with the run's next commit, so that they are kept if and only if
what was done is recorded; those of attempts of remote tasks go with their report. Lines that wait for a second go by
themselves. Invariant: what waits is bounded; what is too much is dropped, and counted by a line that says so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from aiki.v1 import common_pb2
from aiki_task.context import entered
from aiki_task.records import record
from aiki_workflow.engine import RunEngine
from aiki_workflow.logs import ReplayFilter
from aiki_workflow.loop import RunLoop

SEND_SECONDS: Final = 1.0
WAITING_MAX: Final = 10_000
TOGETHER_MAX: Final = 200
CHARACTERS_MAX: Final = 2_000
NOT_THEIRS: Final = ("aiki_worker", "aiki_client", "aiki_task", "opentelemetry", "grpc", "asyncio")
"""Loggers of what runs the code, not of the code."""

STRUCTLOGS: Final = frozenset(
    {"event", "level", "logger", "timestamp", "run_id", "task", "attempt", "trace_id", "span_id"}
)
"""What structlog adds, and a line has anyway."""


@record
class Said:
    """A line, and who said it: with `engine`, the code of that run; otherwise an attempt."""

    run_id: str
    engine: RunEngine | None
    line: common_pb2.LogLine

    @property
    def thing(self) -> tuple[str, str]:
        """Run id, and the address of the task."""
        return self.run_id, self.line.address


class RunLogs(logging.Handler):
    """Takes what is logged by code of runs, on any thread; `woken` is called on the main loop when there is something.

    Args:
        level: what is less is not kept; None keeps nothing.
        worker: who runs the code.
        woken: told on the loop that made this.
    """

    def __init__(self, level: str | None, worker: str, woken: Callable[[], None]) -> None:
        super().__init__(logging.CRITICAL + 1 if level is None else level.upper())
        self._is_on = level is not None
        self._worker = worker
        self._woken = woken
        self._loop = asyncio.get_running_loop()
        self._said: deque[Said] = deque(maxlen=WAITING_MAX)
        self._last_us = 0
        self._told = False
        self._stderr = logging.StreamHandler()
        self._stderr.setLevel(logging.WARNING)
        self._stderr.addFilter(ReplayFilter())

    def open(self) -> None:
        """Listen to all loggers."""
        root = logging.getLogger()
        if self._is_on:
            if not root.handlers:
                # What Python writes to stderr while nobody listens is to be seen still.
                root.addHandler(self._stderr)
            root.addHandler(self)

    def close(self) -> None:
        """Listen no more."""
        logging.getLogger().removeHandler(self)
        logging.getLogger().removeHandler(self._stderr)
        super().close()

    def take(self) -> list[Said]:
        """What was said since the last time."""
        self._told = False
        taken: list[Said] = []
        while self._said:
            taken.append(self._said.popleft())
        return taken

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record that code of a run made."""
        if record.name.startswith(NOT_THEIRS):
            return
        loop = asyncio._get_running_loop()
        if isinstance(loop, RunLoop):
            if not loop.replaying:
                self._keep(loop.engine.info.run_id, loop.engine, self._line(record, "", 0))
            return
        context = entered()
        if context is not None:
            self._keep(context.run_id, None, self._line(record, context.address, context.attempt))

    def _keep(self, run_id: str, engine: RunEngine | None, line: common_pb2.LogLine) -> None:
        self._said.append(Said(run_id, engine, line))
        if not self._told:
            self._told = True
            self._loop.call_soon_threadsafe(self._woken)

    def _line(self, record: logging.LogRecord, address: str, attempt: int) -> common_pb2.LogLine:
        # `handle` holds the lock.
        self._last_us = max(time.time_ns() // 1000, self._last_us + 1)
        return common_pb2.LogLine(
            time_us=self._last_us,
            level=record.levelname.lower(),
            logger=record.name,
            message=_text_of(record),
            address=address,
            attempt=attempt,
            worker=self._worker,
        )


class Lines:
    """Lines of one run or attempt that wait to be sent."""

    def __init__(self) -> None:
        self._lines: list[common_pb2.LogLine] = []
        self._dropped = 0
        self._last = common_pb2.LogLine()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, line: common_pb2.LogLine) -> None:
        """One more, if there is room."""
        if len(self._lines) < TOGETHER_MAX - 1:
            self._lines.append(line)
        else:
            self._dropped += 1
            self._last = line

    def take(self) -> Iterable[common_pb2.LogLine]:
        """What is to be sent now."""
        lines, self._lines = self._lines, []
        if self._dropped:
            last = self._last
            told = f"{self._dropped:,} lines were dropped: more than {TOGETHER_MAX} came at once"
            lines.append(
                common_pb2.LogLine(
                    time_us=last.time_us,
                    level="warning",
                    logger="aiki",
                    message=told,
                    address=last.address,
                    attempt=last.attempt,
                    worker=last.worker,
                )
            )
            self._dropped = 0
        return lines


def _text_of(record: logging.LogRecord) -> str:
    message: Any = record.msg
    if isinstance(message, dict):
        return _cut(_of_structlog(cast("dict[str, Any]", message)))
    try:
        text = record.getMessage()
    except Exception as error:  # noqa: BLE001  arguments that do not fit are the author's mistake, and no reason to fail
        text = f"{record.msg} (not formatted: {error!r})"
    if record.exc_info and record.exc_info[0] is not None:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return _cut(text)


def _of_structlog(told: dict[str, Any]) -> str:
    values = (f"{name}={value}" for name, value in told.items() if name not in STRUCTLOGS)
    return " ".join([str(told.get("event", "")), *values])


def _cut(text: str) -> str:
    return text if len(text) <= CHARACTERS_MAX else text[: CHARACTERS_MAX - 1] + "…"
