import pytest

from .office import Office
from .served import ServedApi


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with ServedApi(tmp_path_factory.mktemp("api")) as served:
        yield served


@pytest.fixture
def client(api):
    with api.client() as made:
        yield made


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
