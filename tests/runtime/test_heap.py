"""What has settled is walked by no collection, however it grows."""

import gc
import weakref

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


def test_by_hand_cycles_go_when_the_heap_is_settled():
    class Link:
        pass

    gone = []
    try:
        heap.by_hand()
        before = gc.get_count()[0]
        for _ in range(2000):  # more than Python would let lie
            link = Link()
            link.next = link
            weakref.finalize(link, gone.append, None)
        assert gc.get_count()[0] - before >= 2000
        assert not gone
        del link
        heap.settle()
        assert len(gone) == 2000
    finally:
        gc.enable()
        gc.unfreeze()
