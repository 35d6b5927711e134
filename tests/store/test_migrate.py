import pytest

from filament.base.errors import PermanentError
from filament.store.migrate import migrate


def test_steps_are_taken_in_order():
    taken = []
    steps = {number: lambda number=number: taken.append(number) for number in (1, 2, 3)}
    assert migrate("it", 2, 4, steps)
    assert taken == [2, 3]
    assert not migrate("it", 4, 4, steps)
    assert taken == [2, 3]


def test_versions_out_of_reach_are_refused():
    with pytest.raises(PermanentError, match="it has schema version 5, this program reads up to 4"):
        migrate("it", 5, 4, {})
    with pytest.raises(PermanentError, match="upgrades from 3 on; upgrade with an older version"):
        migrate("it", 1, 4, {3: lambda: None})
