"""An exception of a child, as the worker's retry policy has to see it."""

from __future__ import annotations

import sys
from datetime import timedelta

from aiki_task.errors import RetryAfter
from aiki_task.failures import FailureInfo, rebuild

MAIN_IN_CHILD = "__mp_main__"
"""What the program's own module is called in a child: the name that guards of `multiprocessing` know."""


def types_of(error: BaseException) -> list[str]:
    """The type of *error* and its bases, as MODULE:NAME."""
    return [f"{kind.__module__}:{kind.__qualname__}" for kind in type(error).__mro__ if kind is not object]


def error_of(failure: FailureInfo, types: list[str], retry_after_s: float | None) -> BaseException:
    """An exception of the nearest type that this process knows, with the message and attributes it had."""
    if retry_after_s is not None:
        return RetryAfter(timedelta(seconds=retry_after_s), failure.message)
    for name in types:
        kind = _type_of(name)
        if kind is not None:
            return rebuild(failure, kind)
    return RuntimeError(failure.message)


def _type_of(name: str) -> type[BaseException] | None:
    module, _, path = name.partition(":")
    found: object = sys.modules.get("__main__" if module == MAIN_IN_CHILD else module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None
