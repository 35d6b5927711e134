"""Labs of other shapes than the README's, for test modules that need one."""

from contextlib import contextmanager
from pathlib import Path

from filament.testing.lab.leftovers import picture, settled_picture
from filament.testing.lab.scenario import build_scenario
from filament.testing.lab.teardown import tear_down

RUN = Path("/run/filament-test")


@contextmanager
def lab_of(build=build_scenario, **shape):
    """A lab with real processes; nothing may be left of it, and its logs are shown."""
    before = picture()
    steps = []
    try:
        built = build(RUN, steps.append, **shape)
        yield built
        built.close()
    except BaseException:
        print("\n".join(steps))
        raise
    finally:
        for log in sorted((RUN / "log").glob("*.log")):
            print(f"--- {log.stem}", *log.read_text().splitlines()[-10:], sep="\n")
        tear_down(RUN, print)
    assert settled_picture(before) == before
