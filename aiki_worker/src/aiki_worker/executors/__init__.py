"""Attempts of tasks: what they run in, the slots they take, the limits they have."""

from aiki_worker.executors.attempt import Attempt
from aiki_worker.executors.child_process import ChildSettings
from aiki_worker.executors.executors import Executors
from aiki_worker.executors.outcomes import Deferred, Outcome, Raised, Returned, is_final

__all__ = ["Attempt", "ChildSettings", "Deferred", "Executors", "Outcome", "Raised", "Returned", "is_final"]
