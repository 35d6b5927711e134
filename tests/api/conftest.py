import pytest

from .office import Office


@pytest.fixture
def office():
    made = Office()
    yield made
    # Whatever a test did: what is in memory is what is stored, and the plan is a fresh one's.
    revision, objects, allocations = made.store.load()
    view = made.engine.snapshot
    assert (revision, list(objects)) == (view.revision, list(view.objects()))
    assert set(allocations) == set(view.allocations())
    made.engine.shown.verify(view)
