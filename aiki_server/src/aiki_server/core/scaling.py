"""How many workers a queue keeps busy, as KEDA and the autoscalers of Kubernetes ask for it.

The figure is what waits plus what is under way, so that scaling in never goes below what runs: with a target of
T a worker, there are never fewer than (in flight / T) workers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiki_server.core.ids import DEFAULT_NAMESPACE, DEFAULT_QUEUE

TARGET: Final = 10.0
KEYS: Final = ("queue", "namespace", "target")
# What KEDA reads itself, and passes on as well.
OF_KEDA: Final = frozenset(
    {"scalerAddress", "enableTLS", "unsafeSsl", "caCert", "tlsClientCert", "tlsClientKey"}
)


class TriggerError(ValueError):
    """The metadata of a trigger makes no sense; one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What is scaled by: a queue, and how much of it one worker takes."""

    namespace: str
    queue: str
    target: float

    @property
    def metric(self) -> str:
        """The figure's name; KEDA wants no colons or slashes in it."""
        return "".join(c if c.isalnum() else "-" for c in f"aiki-{self.namespace}-{self.queue}")

    @classmethod
    def parse(cls, metadata: Mapping[str, str]) -> Trigger:
        """Read a trigger's metadata: `queue`, `namespace` and `target`, each with a default.

        Raises:
            TriggerError: a key nobody knows, or a target that is no positive number.
        """
        unknown = [key for key in metadata if key not in OF_KEDA.union(KEYS)]
        if unknown:
            raise TriggerError(f"{unknown[0]!r} is not known: a trigger has {', '.join(KEYS)}")
        text = metadata.get("target", str(TARGET))
        try:
            target = float(text)
        except ValueError:
            target = math.nan
        if not 0 < target < math.inf:
            raise TriggerError(f"target {text!r} is not a positive number of runs and tasks for each worker")
        return cls(
            namespace=metadata.get("namespace") or DEFAULT_NAMESPACE,
            queue=metadata.get("queue") or DEFAULT_QUEUE,
            target=target,
        )
