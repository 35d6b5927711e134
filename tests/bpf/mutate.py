"""Is the oracle any good? Breaks the BPF sources, one line at a time, and sees whether it notices.

    scripts/private .venv/bin/python -m tests.bpf.mutate [--cases 4000] [--processes 2] [WORD...]

Runs, on each of `mutants.MUTANTS` (those with all WORDs in their description), cases until one does
not agree. Ends with status 1 if a mutant survives so many cases.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from filament.base.errors import PermanentError
from filament.dataplane import build

from .kernel import kernel_of_ones_own
from .mutants import MUTANTS, Mutant
from .sequences import Tally, run_case
from .twin import twin


class Fate(NamedTuple):
    """What became of a mutant: after how many cases, and seconds, and why not more."""

    mutant: Mutant
    word: str
    cases: int
    seconds: float
    why: str = ""

    @property
    def text(self) -> str:
        how = f" after {self.cases} cases, {self.seconds:.1f} s"
        return f"{self.word:9}{how:28}{self.mutant}" + (f"\n    {self.why}" if self.why else "")


def try_mutant(mutant: Mutant, most_cases: int) -> Fate:
    """Let it live until a case does not agree."""
    began = time.monotonic()

    def ended(word: str, cases: int, why: str = "") -> Fate:
        return Fate(mutant, word, cases, time.monotonic() - began, why)

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "mutant.bpf.o")
        try:
            # What is wrong may well be unused.
            build.compile_object(path, source=mutant.write(Path(directory)), warnings=("-w",))
        except PermanentError as problem:
            return ended("REFUSED", 0, str(problem)[:2000])
        with kernel_of_ones_own() as bpffs:
            try:
                return ended(*_live(bpffs, path, most_cases))
            except PermanentError as problem:  # the verifier's words
                return ended("REFUSED", 0, str(problem)[-2000:])


def _live(bpffs: Path, path: Path, most_cases: int) -> tuple[str, int, str]:
    with twin(bpffs, path) as pair:
        for seed in range(most_cases):
            try:
                run_case(pair, seed, Tally())
            except AssertionError:
                return "killed", seed + 1, ""
    return "SURVIVED", most_cases, ""


def try_all(mutants: list[Mutant], most_cases: int, processes: int) -> Iterator[Fate]:
    """Try mutants, each in a process and a kernel of its own."""
    with ProcessPoolExecutor(processes, max_tasks_per_child=1) as pool:
        yield from pool.map(try_mutant, mutants, [most_cases] * len(mutants))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bpf.mutate")
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--cases", type=int, default=4000)
    parser.add_argument("--processes", type=int, default=1)
    asked = parser.parse_args()
    build.build()
    mutants = [one for one in MUTANTS if all(word in str(one) for word in asked.words)]
    bad = []
    for fate in try_all(mutants, asked.cases, asked.processes):
        print(fate.text, flush=True)
        if fate.word != "killed":
            bad.append(fate)
    print(f"{len(mutants) - len(bad)} of {len(mutants)} mutants killed")
    for fate in bad:
        print(f"{fate.word}: {fate.mutant}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
