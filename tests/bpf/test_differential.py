"""The programs and the model say the same of any packet, in any tables, in any order.

Every case follows from its seed, which the failure names: `FILAMENT_SEED=N` runs that one alone.
Many more are run by `python -m tests.bpf.oracle`, which is the same on several processors.
"""

from __future__ import annotations

import os

import pytest

from .sequences import Tally, run_case
from .twin import Twin

pytestmark = pytest.mark.bpf
CASES = 1000


def test_any_packet_in_any_tables(pair: Twin) -> None:
    only = os.environ.get("FILAMENT_SEED")
    for seed in [int(only)] if only else range(CASES):
        run_case(pair, seed, Tally())
