"""The expected errors of defining and running tasks.

AikiError
├── DefinitionError           a task or workflow cannot be defined like this
│   ├── PlacementError        it cannot be placed like this: priority, slots, labels, queue
│   └── UnsupportedTypeError  a type hint has no encoding
├── DurationError             not a duration
├── PayloadError
│   ├── PayloadTypeError      a value does not fit its hint
│   └── PayloadTooLargeError  a value is over the limit
├── NotInRunError             a durable call outside a run
├── ResourceMissingError      a lifespan's resource is asked for where there is none
├── ProcessDied               the process that ran an attempt ended before the attempt did
├── RetryAfter                an attempt failed, and says when the next one is made
└── Failure                   what fails a run; authors subclass it
    └── TaskFailed            a task failed for good
        ├── OutcomeUnknown    … perhaps: it runs at most once, and its worker has gone
        └── TaskTimeoutError  … because its time was up

Control flow, which authors must not swallow, is `BaseException`: AttemptCancelled and DeferredOutcome.
"""

from __future__ import annotations

from datetime import timedelta


class AikiError(Exception):
    """Base of every error that Aiki raises on purpose."""


class DefinitionError(AikiError):
    """A task or workflow cannot be defined like this."""


class PlacementError(DefinitionError, ValueError):
    """A priority, a number of slots, a label or a queue that cannot be."""


class UnsupportedTypeError(DefinitionError):
    """A type hint has no encoding.

    Attributes:
        hint: the hint, as written.
        is_forward_reference: it names a type that is not defined, perhaps only not yet.
    """

    def __init__(self, where: str, hint: object, reason: str, *, is_forward_reference: bool = False) -> None:
        super().__init__(
            f"{where} has type {hint!r}, which cannot be encoded: {reason}. Use a dataclass or a builtin."
        )
        self.hint = hint
        self.is_forward_reference = is_forward_reference


class DurationError(AikiError, ValueError):
    """Not a duration."""

    def __init__(self, value: object, reason: str) -> None:
        super().__init__(
            f"{value!r} is not a duration: {reason}. Write a timedelta or text like '1d2h3m4s500ms'."
        )


class PayloadError(AikiError):
    """A value cannot be carried."""


class PayloadTypeError(PayloadError, TypeError):
    """A value does not fit its type hint.

    Attributes:
        where: which value, such as "argument 'amount' of task 'charge'".
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where} does not fit its type: {reason}")
        self.where = where


class PayloadTooLargeError(PayloadError, ValueError):
    """A value is over the limit.

    Attributes:
        size_bytes: its size once encoded.
        limit_bytes: the most there may be.
    """

    def __init__(self, where: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"{where}: {size_bytes:,} bytes are over the limit of {limit_bytes:,}. "
            "Keep large data in a store of its own and pass a reference."
        )
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class NotInRunError(AikiError, RuntimeError):
    """A durable call outside a run."""


class ResourceMissingError(AikiError, LookupError):
    """A lifespan's resource is asked for where there is none."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the resource {name!r} is not open here. Tasks have it in workers that serve its module; elsewhere use "
            f"`with {name}.supplied(value):` or `async with {name}.opened():` around the call. Workflows have none."
        )
        self.name = name


class ProcessDied(AikiError):
    """The process that ran an attempt ended before the attempt did: it crashed, was killed or called `os._exit`.

    Attributes:
        exit_code: its status; None when a signal ended it, or when it never was.
        signal_name: what ended it, such as "SIGSEGV"; empty for none.
    """

    def __init__(
        self, task: str, reason: str, *, exit_code: int | None = None, signal_name: str = ""
    ) -> None:
        super().__init__(f"the process of task {task!r} {reason}")
        self.exit_code = exit_code
        self.signal_name = signal_name


class Failure(AikiError):
    """What fails a run. Subclass it for the failures that callers should know."""


class TaskFailed(Failure):
    """A task failed for good.

    Attributes:
        task: the task's name.
        type_name: the name of the exception's type, where the task ran.
        message: its text.
        traceback_text: its traceback, for people.
        attempts: how many attempts were made.
    """

    def __init__(
        self, task: str, type_name: str, message: str, *, traceback_text: str = "", attempts: int = 1
    ) -> None:
        times = "once" if attempts == 1 else f"{attempts} times"
        super().__init__(f"task {task!r} failed ({times} tried): {type_name}: {message}")
        self.task = task
        self.type_name = type_name
        self.message = message
        self.traceback_text = traceback_text
        self.attempts = attempts


class OutcomeUnknown(TaskFailed):
    """A task that runs at most once had begun when its worker was lost: it may have taken effect or not."""


class TaskTimeoutError(TaskFailed, TimeoutError):
    """A task failed for good because its time was up."""


class RetryAfter(AikiError):
    """Raise it in a task: the next attempt waits so long, instead of what the retry policy says.

    The attempt counts; when it was the last one the task has failed. `raise RetryAfter("30s") from error` keeps
    why.

    Attributes:
        delay: how long.
    """

    def __init__(self, delay: str | timedelta, message: str = "") -> None:
        from aiki_task.durations import parse

        self.delay = parse(delay)
        super().__init__(message or f"to be tried again after {self.delay.total_seconds():g} s")


class AttemptCancelled(BaseException):
    """Raised by `heartbeat` in a sync task that is not wanted any more; clean up, and let it pass."""


class DeferredOutcome(BaseException):
    """Raised by `complete_later`; let it pass."""
