"""What can go wrong with the store, and what each of its error replies means.

    StoreError
    ├── StoreUnavailableError   not reachable, or not answering for now; the call may have taken effect
    ├── StoreUnsafeError        would lose acknowledged work, is another cluster's, or refuses us
    ├── StoreFullError          out of memory; nothing new is taken, what runs goes on
    └── StoreScriptError        a bug: a script failed, or was called wrongly

The table is closed: an error reply that is not in it is a bug.
"""

from __future__ import annotations

from enum import Enum, unique
from typing import Final


class StoreError(Exception):
    """Anything that is wrong with the store."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached now. Every call is idempotent: ask again."""


class StoreUnsafeError(StoreError):
    """The store would lose acknowledged work, or is not this cluster's; `problems` has a sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


class StoreFullError(StoreError):
    """The store is out of memory: give it more, or let it purge closed runs."""


class StoreScriptError(StoreError):
    """A script failed; nothing was written unless the message says so. This is a bug in Aiki."""


@unique
class Verdict(Enum):
    """What to do about an error reply."""

    RELOAD = "load the scripts and send the call again"
    RETRY = "send the call again a little later"
    REDIRECT = "the node that has the keys is another: send the call there"
    RECONNECT = "the node is not the one it was: connect again, then send the call again"
    FAIL = "tell the caller"


VERDICTS: Final = {
    "NOSCRIPT": Verdict.RELOAD,
    "LOADING": Verdict.RETRY,
    "MOVED": Verdict.REDIRECT,
    "ASK": Verdict.REDIRECT,
    "TRYAGAIN": Verdict.RETRY,
    "UNBLOCKED": Verdict.RETRY,
    "BUSY": Verdict.RETRY,
    "CLUSTERDOWN": Verdict.RETRY,
    "MISCONF": Verdict.RETRY,
    "MASTERDOWN": Verdict.RETRY,
    "NOREPLICAS": Verdict.RETRY,
    "READONLY": Verdict.RECONNECT,
    "UNKILLABLE": Verdict.RECONNECT,
}

_REFUSALS: Final = {
    "NOAUTH": "The store wants a password: put it into its URL.",
    "WRONGPASS": "The store refuses the user name or password.",
    "NOPERM": "The store's ACL forbids this user what Aiki needs.",
}

_WRONG_URL: Final = {
    "ERR AUTH <password> called without any password": "The store has no password: take the one given away.",
    "ERR Client sent AUTH, but no password is set": "The store has no password: take the one given away.",
    "ERR DB index is out of range": "The store has no such database: change the number in its URL.",
    "ERR SELECT is not allowed in cluster mode": "A Cluster has no databases: write redis+cluster://HOST:PORT.",
    "ERR This instance has cluster support disabled": "The store is no Cluster: write redis://HOST:PORT.",
}


def verdict_of(message: str) -> Verdict:
    """What to do about an error reply."""
    return VERDICTS.get(message.partition(" ")[0], Verdict.FAIL)


def error_of(message: str) -> StoreError:
    """The error that tells a caller of an error reply."""
    code = message.partition(" ")[0]
    if code in _REFUSALS:
        return StoreUnsafeError([f"{_REFUSALS[code]} ({message})"])
    for start, sentence in _WRONG_URL.items():
        if message.startswith(start):
            return StoreUnsafeError([f"{sentence} ({message})"])
    if code == "OOM":
        return StoreFullError(f"The store is out of memory: give it more, or purge closed runs. ({message})")
    if code in VERDICTS:
        return StoreUnavailableError(f"The store does not answer for now: {message}")
    return StoreScriptError(message)
