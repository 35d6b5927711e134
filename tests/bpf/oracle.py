"""The bpf oracle: any number of cases in which the programs and the model must say the same.

    scripts/private .venv/bin/python -m tests.bpf.oracle --cases 100000 --first-seed 1000000

Prints which seeds agree, and at the end how often everything happened. Ends at the first case that
does not: its seed is told, and `--first-seed N --cases 1` runs it again.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

from filament.dataplane import build

from .kernel import kernel_of_ones_own
from .sequences import Tally, run_case, told
from .twin import Twin, twin

_PORTION = 1000


_own = contextlib.ExitStack()
_pairs: list[Twin] = []


def run_seeds(first: int, count: int) -> Tally:
    """Run the cases of some seeds, in a kernel of this process's own. Raises AssertionError of the
    first that does not agree.
    """
    tally = Tally()
    if not _pairs:
        gc.set_threshold(
            50_000
        )  # nearly nothing here is a cycle: looking takes a tenth of the time
        _pairs.append(_own.enter_context(twin(_own.enter_context(kernel_of_ones_own()))))
    for seed in range(first, first + count):
        run_case(_pairs[0], seed, tally)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bpf.oracle")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    asked = parser.parse_args()
    build.build()
    began, tally, done = time.monotonic(), Tally(), 0
    portions = {}
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ProcessPoolExecutor(asked.processes))
        for at in range(0, asked.cases, _PORTION):
            first, count = asked.first_seed + at, min(_PORTION, asked.cases - at)
            portions[pool.submit(run_seeds, first, count)] = first, count
        for portion in as_completed(portions):
            first, count = portions[portion]
            try:
                tally += portion.result()
            except AssertionError as found:
                print(found, file=sys.stderr)
                pool.shutdown(wait=False, cancel_futures=True)
                return 1
            done += count
            rate = done / (time.monotonic() - began)
            print(f"seeds {first} to {first + count - 1} agree ({done} cases, {rate:.0f}/s)")
    print(told(tally))
    return 0


if __name__ == "__main__":
    sys.exit(main())
