"""The long campaign runs only when it is asked for: AIKI_CAMPAIGN=1."""

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Know the marker."""
    config.addinivalue_line("markers", "campaign: explores for minutes; set AIKI_CAMPAIGN=1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the campaign out."""
    if os.environ.get("AIKI_CAMPAIGN") == "1":
        return
    for item in items:
        if item.get_closest_marker("campaign") is not None:
            item.add_marker(pytest.mark.skip(reason="AIKI_CAMPAIGN=1 runs it"))
