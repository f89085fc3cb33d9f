"""Attempts of tasks: what they run in, the slots they take, the limits they have."""

from aiki_worker.executors.attempt import Attempt
from aiki_worker.executors.executors import Executors
from aiki_worker.executors.outcomes import Deferred, Outcome, Raised, Returned, is_final

__all__ = ["Attempt", "Deferred", "Executors", "Outcome", "Raised", "Returned", "is_final"]
