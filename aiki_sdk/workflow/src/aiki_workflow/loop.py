"""The event loop of one run: deterministic, without a clock, a socket or a thread.

Callbacks run first in, first out. Timers are commands of the run; time stands still within a turn.
Tasks and futures hash by the order of their creation, so that sets of them iterate alike in every
process. The loop is driven from plain code or a callback of another loop, never inside a task.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

from aiki_workflow.errors import NotDurableError

if TYPE_CHECKING:
    from aiki_task.task import Task
    from aiki_workflow.engine import RunEngine

T = TypeVar("T")


class RunFuture(asyncio.Future[T]):
    """A future that hashes by its number in the run."""

    def __init__(self, *, loop: RunLoop) -> None:
        self.number = loop.next_number()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class CallFuture(RunFuture[Any]):
    """The outcome of a task or child; cancelling it cancels that."""

    def __init__(self, *, loop: RunLoop, address: str) -> None:
        super().__init__(loop=loop)
        self._calls = loop.engine.calls
        self._address = address
        self._reason: Any | None = None

    def cancel(self, msg: Any | None = None) -> bool:
        """As any future; the run says that the outcome is not wanted.

        A child cleans up first, so its future stays pending until `end_cancelled`; a second call does not wait for it.
        """
        if not self.done() and self._calls.ask_to_stop(self._address):
            self._reason = msg
            return True
        was_pending = super().cancel(msg)
        if was_pending:
            self._calls.cancel(self._address)
        return was_pending

    def end_cancelled(self) -> None:
        """What was asked to stop has ended: whoever awaits it gets the cancellation now."""
        super().cancel(self._reason)

    def quiet(self) -> None:
        """Nobody is to be told that nobody has looked at it."""
        setattr(self, "_log_traceback", False)  # noqa: B010  asyncio has no public way to say so


class RunTask(asyncio.Task[T]):
    """A task that hashes by its number in the run."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        loop: RunLoop,
        name: str | None,
        context: Context | None,
    ) -> None:
        # Before the base's own initializer, which already puts the task into a set.
        self.number = loop.next_number()
        super().__init__(coroutine, loop=loop, name=name or f"run-task-{self.number}", context=context)
        # Tasks of an evicted run are dropped while pending, on purpose.
        setattr(self, "_log_destroy_pending", False)  # noqa: B010  asyncio has no public way to say so

    def __hash__(self) -> int:
        return self.number


class RunLoop(asyncio.AbstractEventLoop):
    """See the module."""

    def __init__(self, engine: RunEngine) -> None:
        self.engine = engine
        self.replaying = False
        self._now_ms = 0
        self._number = 0
        self._ready: deque[asyncio.Handle] = deque()
        self._generators: list[AsyncGenerator[Any, Any]] = []
        self._closed = False

    def next_number(self) -> int:
        """The number of the next task or future of the run."""
        self._number += 1
        return self._number

    def advance_to(self, now_ms: int) -> None:
        """Time never goes back."""
        self._now_ms = max(self._now_ms, now_ms)

    def run_until_idle(self) -> None:
        """Run callbacks until none is ready."""
        previous = asyncio._get_running_loop()
        hooks = sys.get_asyncgen_hooks()
        asyncio._set_running_loop(self)
        sys.set_asyncgen_hooks(firstiter=self._generators.append, finalizer=self._finalize_generator)
        ready = self._ready
        try:
            while ready:
                handle = ready.popleft()
                if not handle._cancelled:  # the method is half of the cost
                    handle._run()
        finally:
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(previous)

    def make_ready(self, handle: asyncio.Handle) -> None:
        """Run *handle* in this turn."""
        self._ready.append(handle)

    def time(self) -> float:
        """Seconds since the Unix epoch: the greatest time of any input so far."""
        return self._now_ms / 1000

    @property
    def now_ms(self) -> int:
        """The same in milliseconds."""
        return self._now_ms

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run *callback* in this turn."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Start a durable timer of *delay* seconds."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Start a durable timer that fires at *when*; one whose time has come fires in this turn."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if round(when * 1000) <= self._now_ms:
            self._ready.append(handle)
        else:
            handle._scheduled = True  # type: ignore[attr-defined]
            self.engine.timers.start(handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self.engine.timers.cancel(handle)

    def create_future(self) -> RunFuture[Any]:
        """A future of this run."""
        return RunFuture(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        **_: Any,
    ) -> RunTask[T]:
        """A task of this run."""
        return RunTask(coro, loop=self, name=name, context=context)

    def schedule_task(
        self, task: Task[..., Any], args: Sequence[object], kwargs: Mapping[str, object]
    ) -> Awaitable[Any]:
        """Issue a call of *task*."""
        return self.engine.calls.schedule_task(task, args, kwargs)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log what nobody awaits."""
        self.engine.unhandled(context)

    def get_debug(self) -> bool:
        """Debug mode does not exist here."""
        return False

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001  the base's signature
        """Debug mode does not exist here."""

    def is_running(self) -> bool:
        """Whether a turn is under way."""
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        """Whether the run was evicted or has ended."""
        return self._closed

    def close(self) -> None:
        """Throw GeneratorExit into what still runs, and let its clean-up do nothing durable."""
        self._closed = True
        self._ready.clear()
        generators, self._generators = self._generators, []
        for generator in generators:
            step = generator.aclose()
            try:
                step.send(None)
            except (StopIteration, StopAsyncIteration, RuntimeError, GeneratorExit, Exception):  # noqa: S112, BLE001  the run is gone: nobody is told
                continue

    def _finalize_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        if not self._closed:
            self.create_task(generator.aclose())


def _refusing(name: str) -> Callable[..., Any]:
    def refuse(self: RunLoop, *args: object, **kwargs: object) -> Any:  # noqa: ARG001  whatever it was called with
        raise NotDurableError(f"loop.{name}()")

    return refuse


for _name in (
    *(
        "run_in_executor",
        "run_forever",
        "run_until_complete",
        "call_soon_threadsafe",
        "getaddrinfo",
        "getnameinfo",
    ),
    *(
        "create_connection",
        "create_server",
        "create_unix_connection",
        "create_unix_server",
        "sendfile",
        "start_tls",
    ),
    *("create_datagram_endpoint", "connect_accepted_socket", "connect_read_pipe", "connect_write_pipe"),
    *("subprocess_exec", "subprocess_shell", "add_reader", "remove_reader", "add_writer", "remove_writer"),
    *(
        "sock_recv",
        "sock_recv_into",
        "sock_recvfrom",
        "sock_sendall",
        "sock_sendto",
        "sock_connect",
        "sock_accept",
    ),
    *("sock_sendfile", "add_signal_handler", "remove_signal_handler"),
):
    setattr(RunLoop, _name, _refusing(_name))


_as_completed = asyncio.as_completed


def _ordered_as_completed(fs: Any, *, timeout: float | None = None) -> Any:
    """`asyncio.as_completed`, which would make tasks of coroutines in the order of their addresses in memory."""
    loop = asyncio._get_running_loop()
    if isinstance(loop, RunLoop):
        fs = [asyncio.ensure_future(item, loop=loop) for item in fs]
    return _as_completed(fs, timeout=timeout)


asyncio.as_completed = _ordered_as_completed
