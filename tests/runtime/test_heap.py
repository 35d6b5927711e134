"""What has settled is walked by no collection, however it grows."""

import gc

from filament.runtime import heap


def test_a_dict_of_names_that_grows_stays_out_of_sight():
    fq_names = [(str(number),) for number in range(13)]
    try:
        gc.collect()  # sees that these tuples hold texts only: looks at them no more
        names = {("kind", fq_name): "uuid" for fq_name in fq_names[:10]}
        for fq_name in fq_names[10:]:
            heap.settle()
            names["kind", fq_name] = "uuid"
            assert not any(each is names for each in gc.get_objects())
    finally:
        gc.unfreeze()
