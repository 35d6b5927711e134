import os
import shutil
from pathlib import Path

import pytest

from filament.testing.lab.leftovers import picture, settled_picture
from filament.testing.lab.teardown import tear_down


def pytest_collection_modifyitems(items):
    if os.environ.get("FILAMENT_PRIVATE"):
        return
    outside = pytest.mark.skip(
        reason="peers are tested in private: scripts/private pytest -m interop"
    )
    for item in items:
        if item.get_closest_marker("interop"):
            item.add_marker(outside)


@pytest.fixture(scope="module")
def run_directory():
    """Where a module's lab lives; nothing may be left of it."""
    run = Path("/run/filament-interop")
    # FRR's package makes it at boot, and its daemons when they find none.
    Path("/run/frr").mkdir(exist_ok=True)
    shutil.chown("/run/frr", "frr", "frr")
    before = picture()
    try:
        yield run
    finally:
        tear_down(run, print)
    assert settled_picture(before, 5.0) == before
