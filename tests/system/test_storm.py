"""Many workers lose their coordinator at the same time and come back."""

import os
from pathlib import Path

import pytest

from benchmarks.storm import storm

SESSIONS = 1000 if os.environ.get("AIKI_CAMPAIGN") else 300
MEMORY_MIB_MAX = 400


@pytest.mark.timeout(240 if os.environ.get("AIKI_CAMPAIGN") else 60)
async def test_a_storm_of_sessions_is_weathered(tmp_path: Path) -> None:
    """All are back, as the same sessions, and the coordinator stays small."""
    weathered = await storm(tmp_path, SESSIONS, idle_seconds=0.5)

    assert weathered.lost == 0
    assert weathered.memory_mib < MEMORY_MIB_MAX
