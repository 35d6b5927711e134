"""The garbage collector, kept from walking what lives for ever.

A configuration is millions of small immutable objects that reference counts alone take care of.
A full collection looks at each of them again: seconds during which nobody is answered. So what has
come to stay is moved out of the collector's sight now and then; a collection just before keeps
cycles that are garbage already from moving along. Cycles alive at that moment (those of the
requests in flight) may never be collected: a few kilobytes per `SETTLE_EVERY` changes at most.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

# Young objects before the youngest generation is collected: at Python's 700 one request in
# three pays for a collection that finds nothing.
_YOUNG = 20_000
SETTLE_EVERY = 250  # changes of the configuration: a collection of a few milliseconds


@contextlib.contextmanager
def growing() -> Iterator[None]:
    """Do not collect while something large that stays is built; then keep it out of sight."""
    gc.disable()
    try:
        yield
    finally:
        gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
        gc.enable()
        gc.freeze()


def by_hand() -> None:
    """Collect when `settle` is called and at no other time: where one change makes containers of
    many thousand entries, a collection takes longer than the change, however young it is.
    """
    gc.disable()


def settle() -> None:
    """Collect what is young and move the rest out of the collector's sight.

    Not a full collection: that stops looking at a dict of texts, whose next key (a tuple, a name)
    makes it young again, so that a dict of all names would be walked each time.
    """
    gc.collect(1)
    gc.freeze()
