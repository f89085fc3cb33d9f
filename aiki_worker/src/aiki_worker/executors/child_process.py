"""A child process, as its worker sees it: starting, idle, or busy with one attempt.

Invariant: an attempt that is stopped ends, by itself or with its child: asked at once, by SIGTERM after the grace, by
SIGKILL after another.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast

from aiki_task.context import enter
from aiki_task.errors import AttemptCancelled, ProcessDied
from aiki_task.payloads import Payload
from aiki_worker.executors.attempt import Attempt
from aiki_worker.executors.frames import (
    Beat,
    Broke,
    Frame,
    Gave,
    Leave,
    Logged,
    Order,
    PutOff,
    Ready,
    Setup,
    Splitter,
    Stop,
    Unfit,
    pack,
)
from aiki_worker.executors.outcomes import Deferred, Outcome, Raised, Returned
from aiki_worker.executors.told_errors import error_of
from aiki_worker.tracing import current_traceparent

START_SECONDS_MAX: Final = 60.0
"""How long a child may take to import and to open its resources."""
LAST_WORDS_SECONDS_MAX: Final = 1.0
"""How long the pipe of a child that is dead is read, which something it started may hold."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSettings:
    """What children serve, how many there are, and how long they may take to obey.

    Attributes:
        main_path: the file of the program that the worker runs in, if tasks stand in it.
        attempts_max: after so many attempts a child is replaced.
        grace_s: how long an attempt may take to end when it is asked to, and again on SIGTERM.
    """

    modules: Sequence[str]
    main_path: str | None = None
    processes: int
    attempts_max: int
    grace_s: float


class ChildProcess(asyncio.SubprocessProtocol):
    """Made and used on the main loop.

    Args:
        begun: told when an attempt begins in earnest, which is when the child is ready.
        over: told the outcome of an attempt; the child is free then, unless it is gone.
        gone: told once, when the process has ended.
    """

    def __init__(
        self,
        settings: ChildSettings,
        *,
        begun: Callable[[Attempt], None],
        over: Callable[[ChildProcess, Attempt, Outcome], None],
        gone: Callable[[ChildProcess], None],
    ) -> None:
        self.attempts = 0  # that it was given
        self.is_doomed = False
        self._settings = settings
        self._begun = begun
        self._over = over
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.SubprocessTransport | None = None
        self._splitter = Splitter()
        self._attempt: Attempt | None = None
        self._input = Payload(b"")
        self._traceparent = ""
        self._ready = False
        self._stopped = False  # before the attempt began
        self._unfit = ""
        self._silent = False  # all it said is read
        self._told_end = False
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Start the process; an attempt can be given before."""
        command = (sys.executable, "-m", "aiki_worker.executors.child", str(os.getpid()))
        self._timer = self._loop.call_later(START_SECONDS_MAX, self._too_slow)
        try:
            await self._loop.subprocess_exec(lambda: self, *command, stderr=None, start_new_session=True)
        except OSError as error:
            self._unfit = f"cannot be started: {error}"
            self._conclude()

    def give(self, attempt: Attempt, payload: Payload) -> None:
        """Run an attempt; the child must be free."""
        assert self._attempt is None, "a child runs one attempt at a time"
        self._attempt, self._input, self._traceparent = attempt, payload, current_traceparent()
        self.attempts += 1
        attempt.follow(self)
        if self._ready:
            self._order(attempt)

    def stop(self) -> bool:
        """Ask the attempt to end, and see to it that it does."""
        if self._ready:
            self._say(Stop(number=self.attempts))
            self._set_timer(self._settings.grace_s, self.terminate)
        else:
            self._stopped = True
        return True

    def stack(self) -> str:
        """It is in another process, which is ended by force if need be."""
        return ""

    def leave(self) -> None:
        """Let a free child close its resources and end."""
        self.is_doomed = True
        self._say(Leave())
        self._set_timer(self._settings.grace_s, self.terminate)

    def terminate(self) -> None:
        """SIGTERM, and SIGKILL after the grace."""
        self.is_doomed = True
        self._signal(signal.SIGTERM)
        self._set_timer(self._settings.grace_s, self.kill)

    def kill(self) -> None:
        """SIGKILL (on Windows, what it has of that kind)."""
        self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))

    @property
    def pid(self) -> int | None:
        """None before it has one."""
        return None if self._transport is None else self._transport.get_pid()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        setup = Setup(
            modules=list(self._settings.modules),
            main_path=self._settings.main_path,
            path=sys.path,
            log_level=logging.getLogger().getEffectiveLevel(),
        )
        self._say(setup)

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002  the signature is asyncio's
        for frame in self._splitter.take(data):
            self._hear(frame)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002  as above
        if fd == 1:
            self._silent = True
            self._conclude_if_over()

    def process_exited(self) -> None:
        self._loop.call_later(LAST_WORDS_SECONDS_MAX, self._conclude)
        self._conclude_if_over()

    def _hear(self, frame: Frame) -> None:
        match frame:
            case Ready():
                self._set_timer(None, self.kill)
                self._ready = True
                self._begin()
            case Unfit():
                self._unfit = f"could not serve: {frame.reason}"
            case Logged():
                _log(frame.record, self._attempt)
            case Beat():
                if self._attempt is not None and frame.number == self.attempts:
                    self._attempt.context.pulse.beat(frame.checkpoint)
            case Gave() | Broke() | PutOff():
                if self._attempt is not None and frame.number == self.attempts:
                    self._finish(self._attempt, self._outcome(self._attempt, frame))
            case _:
                raise RuntimeError(f"a child never says {frame!r}")

    def _begin(self) -> None:
        """It is ready: run what it was started for, unless nobody wants that any more."""
        attempt = self._attempt
        if attempt is not None and self._stopped:
            self._finish(attempt, attempt.stopped(asyncio.CancelledError()))
        elif attempt is not None:
            self._order(attempt)

    def _order(self, attempt: Attempt) -> None:
        context = attempt.context
        waited_ms = attempt.elapsed_ms
        self._begun(attempt)
        order = Order(
            number=self.attempts,
            task=attempt.task.name,
            input=self._input,
            checkpoint=context.pulse.found,
            run_id=context.run_id,
            workflow_id=context.workflow_id,
            address=context.address,
            attempt=context.attempt,
            # The time in which the child started is not the attempt's.
            deadline_ms=None if context.deadline_ms is None else context.deadline_ms + waited_ms,
            completion_token=context.completion_token,
            traceparent=self._traceparent,
        )
        self._input = Payload(b"")
        self._say(order)

    def _outcome(self, attempt: Attempt, frame: Gave | Broke | PutOff) -> Outcome:
        match frame:
            case Gave():
                return Returned(frame.output, frame.duration_ms)
            case PutOff():
                return Deferred(frame.duration_ms)
            case Broke():
                error = error_of(frame.failure, frame.types, frame.retry_after_s)
                if isinstance(error, (AttemptCancelled, asyncio.CancelledError)):
                    return attempt.stopped(error)
                return Raised(error, frame.failure, frame.duration_ms)

    def _finish(self, attempt: Attempt, outcome: Outcome) -> None:
        self._attempt = None
        self._set_timer(None, self.kill)
        self._over(self, attempt, outcome)

    def _conclude_if_over(self) -> None:
        if self._silent and self._transport is not None and self._transport.get_returncode() is not None:
            self._conclude()

    def _conclude(self) -> None:
        """The process has ended, and what it said is read."""
        if self._told_end:
            return
        self._told_end = True
        self._set_timer(None, self.kill)
        status = None if self._transport is None else self._transport.get_returncode()
        if self._transport is not None:
            self._transport.close()
        self._gone(self)
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            died = died_of(attempt.task.name, status, self._unfit)
            self._over(self, attempt, attempt.stopped(died))

    def _too_slow(self) -> None:
        self._unfit = f"was not ready within {START_SECONDS_MAX:g} s"
        self.kill()

    def _say(self, frame: Frame) -> None:
        pipe = None if self._transport is None else self._transport.get_pipe_transport(0)
        if isinstance(pipe, asyncio.WriteTransport) and not pipe.is_closing():
            pipe.write(pack(frame))

    def _signal(self, number: int) -> None:
        if self._transport is not None:
            with suppress(ProcessLookupError):
                self._transport.send_signal(number)

    def _set_timer(self, seconds: float | None, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._loop.call_later(seconds, then)


def died_of(task: str, status: int | None, unfit: str) -> ProcessDied:
    """Why an attempt has no outcome, by the status of its process: negative for a signal."""
    if unfit:
        return ProcessDied(task, unfit, exit_code=status if status is None or status >= 0 else None)
    if status is not None and status < 0:
        name = _signal_name(-status)
        hint = " (by the kernel, if memory was short)" if name == "SIGKILL" else ""
        return ProcessDied(task, f"was ended by {name}{hint} before the attempt was over", signal_name=name)
    return ProcessDied(task, f"ended with status {status} before the attempt was over", exit_code=status)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _log(told: str, attempt: Attempt | None) -> None:
    values = json.loads(told)
    logger = logging.getLogger(values["name"])
    if logger.isEnabledFor(values["levelno"]):
        # As if the attempt's code had logged it here.
        within = contextvars.copy_context()
        if attempt is not None:
            within.run(enter, attempt.context)
        within.run(logger.handle, logging.makeLogRecord(values))
