"""What has settled is walked by no collection, however it grows."""

import gc

from filament.runtime import heap


def test_a_dict_of_names_that_grows_stays_out_of_sight():
    names = {("kind", (str(number),)): str(number) for number in range(10)}
    try:
        for number in range(10, 13):
            heap.settle()
            names["kind", (str(number),)] = str(number)
            assert not any(each is names for each in gc.get_objects())
    finally:
        gc.unfreeze()
