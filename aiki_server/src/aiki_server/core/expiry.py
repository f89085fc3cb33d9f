"""Who is dead: a pure decision that no outage and no clock jump can make wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Expiry:
    """An incarnation is dead when its expiry has passed and it was seen unchanged for one TTL.

    Only time between successful reads counts, on the reader's own monotonic clock.
    """

    ttl_seconds: float
    _unchanged: dict[str, tuple[int, float]] = field(default_factory=dict[str, tuple[int, float]])
    _read_at: float | None = None

    def read_failed(self) -> None:
        """The store did not answer: the time until the next read does not count."""
        self._read_at = None

    def dead(self, snapshot: Mapping[str, int], now_ms: int, monotonic_seconds: float) -> list[str]:
        """The incarnations of *snapshot* (name to expiry in ms) that are dead."""
        passed = 0.0 if self._read_at is None else monotonic_seconds - self._read_at
        self._read_at = monotonic_seconds
        seen: dict[str, tuple[int, float]] = {}
        for name, expires_ms in snapshot.items():
            before = self._unchanged.get(name)
            same = before is not None and before[0] == expires_ms
            seen[name] = (expires_ms, before[1] + passed if same and before is not None else 0.0)
        self._unchanged = seen
        return [
            name
            for name, (expires_ms, unchanged) in seen.items()
            if expires_ms <= now_ms and unchanged >= self.ttl_seconds
        ]
