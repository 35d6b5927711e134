import os

import pytest


def pytest_collection_modifyitems(items):
    if os.environ.get("FILAMENT_PRIVATE"):
        return
    outside = pytest.mark.skip(reason="labs are tested in private: scripts/private pytest -m lab")
    for item in items:
        if item.get_closest_marker("lab"):
            item.add_marker(outside)
