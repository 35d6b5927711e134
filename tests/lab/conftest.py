import os

import pytest
from tests.lab.kit import lab_of


def pytest_collection_modifyitems(items):
    if os.environ.get("FILAMENT_PRIVATE"):
        return
    outside = pytest.mark.skip(reason="labs are tested in private: scripts/private pytest -m lab")
    for item in items:
        if item.get_closest_marker("lab"):
            item.add_marker(outside)


@pytest.fixture(scope="module")
def lab():
    """The README's lab with real processes, one per module; nothing may be left of it."""
    with lab_of() as built:
        yield built
