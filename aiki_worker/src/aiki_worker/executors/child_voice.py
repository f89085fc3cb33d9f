"""What a child says to its worker: outcomes, beats and log records, from any thread."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from aiki_task.pulse import Pulse
from aiki_worker.executors.frames import Beat, Frame, Logged, pack

BEAT_SECONDS: Final = 0.1
"""The shortest time between two beats on the pipe."""
ORDINARY: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Voice:
    """Writes frames to a pipe, whole and one after the other."""

    def __init__(self, outlet: int) -> None:
        self._outlet = outlet
        self._lock = threading.RLock()

    def say(self, frame: Frame) -> None:
        """Returns when it is written."""
        data = memoryview(pack(frame))
        with self._lock:
            while data:
                data = data[os.write(self._outlet, data) :]

    @contextmanager
    def beating(self, number: int, pulse: Pulse) -> Generator[None, None, None]:
        """Tell the beats of *pulse* while the block runs, at last what is left."""
        beats = _Beats(self, number, pulse)
        pulse.connect(beats.due.set, is_async=pulse.is_async)
        thread = threading.Thread(target=beats.tell, name="aiki-beats", daemon=True)
        thread.start()
        try:
            yield
        finally:
            beats.over.set()
            beats.due.set()
            thread.join()

    def carry_logs(self, level: int) -> None:
        """Send everything that is logged to the worker."""
        root = logging.getLogger()
        root.handlers[:] = [_PipeHandler(self)]
        root.setLevel(level)


class _Beats:
    def __init__(self, voice: Voice, number: int, pulse: Pulse) -> None:
        self.due = threading.Event()
        self.over = threading.Event()
        self._voice = voice
        self._number = number
        self._pulse = pulse
        self._told_at = pulse.beaten_at

    def tell(self) -> None:
        while not self.over.is_set():
            self.due.wait()
            self.due.clear()
            self._tell()
            self.over.wait(BEAT_SECONDS)
        self._tell()

    def _tell(self) -> None:
        beaten_at = self._pulse.beaten_at
        checkpoint = self._pulse.take()
        if checkpoint is not None or beaten_at != self._told_at:
            self._told_at = beaten_at
            self._voice.say(Beat(number=self._number, checkpoint=checkpoint))


class _PipeHandler(logging.Handler):
    def __init__(self, voice: Voice) -> None:
        super().__init__()
        self._voice = voice

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._voice.say(Logged(record=_record_as_json(record)))
        except Exception:  # noqa: BLE001  what logging does with what cannot be logged
            self.handleError(record)


_plain = logging.Formatter("%(message)s")


def _record_as_json(record: logging.LogRecord) -> str:
    told: dict[str, Any] = {
        "name": record.name,
        "levelno": record.levelno,
        "levelname": record.levelname,
        # With the traceback, if there is one.
        "msg": _plain.format(record),
        "created": record.created,
        "pathname": record.pathname,
        "lineno": record.lineno,
        "funcName": record.funcName,
        "process": record.process,
        "threadName": record.threadName,
    }
    extra = {name: value for name, value in vars(record).items() if name not in ORDINARY}
    return json.dumps(extra | told, default=str)
