"""Traps for what replays differently: they name what to use instead. Best effort; `aiki lint` finds more.

Two kinds. What the interpreter audits (files, sockets, processes, threads) is trapped by an audit
hook, when an author's module asks for it itself or through the standard library's wrappers. What it does not (clocks,
`time.sleep`, random numbers, uuids) is trapped by stand-ins in the namespaces of modules that define workflows: there the names
`time`, `random`, `uuid` and `secrets`, and functions imported from them, ask first whether a run calls. Elsewhere
nothing is replaced. A class, such as `datetime`, is never replaced: hints and `isinstance` need the real one.
"""

from __future__ import annotations

import asyncio
import functools
import random
import secrets
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any, Final

from aiki_workflow.errors import NonDeterministicCallError
from aiki_workflow.loop import RunLoop

REPLACEMENTS: Final[dict[str, dict[str, str]]] = {
    "time": {
        "sleep": "await sleep(duration)",
        **dict.fromkeys(
            ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "localtime", "gmtime"), "now()"
        ),
    },
    "random": {
        name: f"random().{name}()"
        for name in (
            *(
                "random",
                "randint",
                "randrange",
                "randbytes",
                "getrandbits",
                "choice",
                "choices",
                "sample",
                "shuffle",
            ),
            *("uniform", "triangular", "gauss", "normalvariate", "expovariate", "betavariate"),
        )
    },
    "uuid": {"uuid1": "uuid4() of aiki_sdk", "uuid4": "uuid4() of aiki_sdk"},
    "secrets": dict.fromkeys(("token_hex", "token_bytes", "token_urlsafe", "choice", "randbelow"), "a task"),
}
AUDITED: Final = {
    **dict.fromkeys(
        (
            *("open", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir"),
            *("os.exec", "os.fork", "os.posix_spawn", "os.system", "subprocess.Popen"),
            *("socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"),
        ),
        "a task",
    ),
    "_thread.start_new_thread": "asyncio, or a task",
}
WRAPPERS: Final = frozenset(
    {
        *(
            "concurrent.futures.process",
            "concurrent.futures.thread",
            "glob",
            "http.client",
            "io",
            "multiprocessing",
        ),
        *(
            "os",
            "pathlib",
            "shutil",
            "socket",
            "subprocess",
            "tempfile",
            "threading",
            "urllib.request",
            __name__,
        ),
    }
)
"""Modules of the standard library that do it for whoever called them; others, such as logging, may."""

_MODULES: Final = {"time": time, "random": random, "uuid": uuid, "secrets": secrets}
_guarded: set[str] = set()
_open: list[bool] = []


class _StandIn(ModuleType):
    """A module whose trapped functions ask first."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(module.__name__, module.__doc__)
        self.__dict__["_aiki_module"] = module
        for name, instead in REPLACEMENTS[module.__name__].items():
            self.__dict__[name] = _trapped(getattr(module, name), f"{module.__name__}.{name}", instead)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_aiki_module"], name)


@contextmanager
def untrapped() -> Generator[None]:
    """Set no traps within a `with` block, such as one that writes a debug file.

    What comes of it must not change what the run does, and it happens again on every replay. Do not await in it.
    """
    _open.append(True)
    try:
        yield
    finally:
        _open.pop()


def _in_run() -> bool:
    return not _open and isinstance(asyncio._get_running_loop(), RunLoop)


def guard(module_name: str) -> None:
    """Trap what the workflows of this module call themselves."""
    if module_name in _guarded or module_name not in sys.modules:
        return
    if not _guarded:
        if sys.version_info < (3, 12):
            _audit_threads()
        sys.addaudithook(_audit)
    _guarded.add(module_name)
    namespace = vars(sys.modules[module_name])
    for name, value in list(namespace.items()):
        stand_in = _stand_in(value)
        if stand_in is not None:
            namespace[name] = stand_in


def _stand_in(value: object) -> object | None:
    for name, module in _MODULES.items():
        if value is module:
            return _module_stand_in(name)
        for function, instead in REPLACEMENTS[name].items():
            if value == getattr(module, function):
                return _trapped(getattr(module, function), f"{name}.{function}", instead)
    return None


@functools.cache
def _module_stand_in(name: str) -> _StandIn:
    return _StandIn(_MODULES[name])


def _trapped(function: Callable[..., Any], name: str, instead: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def ask_first(*args: Any, **kwargs: Any) -> Any:
        if _in_run():
            raise NonDeterministicCallError(name, instead)
        return function(*args, **kwargs)

    return ask_first


def _audit_threads() -> None:
    """What newer interpreters do themselves: tell of each thread before it starts."""
    start: Callable[..., int] = vars(threading)["_start_new_thread"]

    def told(function: Callable[..., object], args: tuple[Any, ...], *kwargs: dict[str, Any]) -> int:
        sys.audit("_thread.start_new_thread", function, args, kwargs[0] if kwargs else {})
        return start(function, args, *kwargs)

    setattr(threading, "_start_new_thread", told)  # noqa: B010  it has no public name


def _audit(event: str, _: tuple[Any, ...]) -> None:
    instead = AUDITED.get(event)
    if instead is None or not _in_run():
        return
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]  inspect costs more
    while frame is not None and _is_wrapper(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    if frame is not None and frame.f_globals.get("__name__") in _guarded:
        raise NonDeterministicCallError(event, instead)


def _is_wrapper(module: str) -> bool:
    return module in WRAPPERS or module.partition(".")[0] in WRAPPERS
