"""What is measured of calls of the store."""

from __future__ import annotations

from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING

from aiki_server.store.scripts import all_scripts
from aiki_server.telemetry.metrics import STORE_ERRORS, STORE_LATENCY

if TYPE_CHECKING:
    from aiki_server.store.connection import Argument


def name_of(command: tuple[Argument, ...]) -> str:
    """The script that is called, or the command."""
    if command[0] == "EVALSHA":
        return _names().get(str(command[1]), "unknown")
    return str(command[0]).lower()


def answered(name: str, asked_at: float) -> None:
    """The store has answered a call that was made at *asked_at*, on `perf_counter`."""
    STORE_LATENCY.record(perf_counter() - asked_at, (name,))


def refused(message: str) -> None:
    """The answer was an error."""
    STORE_ERRORS.add((message.partition(" ")[0],))


@cache
def _names() -> dict[str, str]:
    return {script.sha: script.name for script in all_scripts()}
