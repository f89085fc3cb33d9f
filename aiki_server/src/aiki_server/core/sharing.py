"""Which coordinator sweeps which partition: a pure decision that all make alike, without talking.

Rendezvous hashing after Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates"
(IEEE/ACM Transactions on Networking, 1998): when a coordinator comes or goes, only its share moves.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b


def share_of(coordinator_id: str, alive: Collection[str], partitions: int) -> list[int]:
    """The partitions that *coordinator_id* sweeps, itself counted as alive whatever the others think."""
    everybody = {*alive, coordinator_id}
    return [
        partition
        for partition in range(partitions)
        if max(everybody, key=lambda name: _weight(name, partition)) == coordinator_id
    ]


def _weight(name: str, partition: int) -> bytes:
    return blake2b(f"{name}\0{partition}".encode(), digest_size=8).digest()
