import os
from pathlib import Path

import pytest

from filament.testing.lab.leftovers import picture, settled_picture
from filament.testing.lab.scenario import build_scenario
from filament.testing.lab.teardown import tear_down


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
    run = Path("/run/filament-test")
    before = picture()
    steps = []
    try:
        built = build_scenario(run, steps.append)
        yield built
        built.close()
    except BaseException:
        print("\n".join(steps))
        raise
    finally:
        for name in ("api", "control", "agent-host1", "agent-host2"):
            log = run / "log" / f"{name}.log"
            print(f"--- {name}", *log.read_text().splitlines()[-10:], sep="\n")
        tear_down(run, print)
    assert settled_picture(before) == before
