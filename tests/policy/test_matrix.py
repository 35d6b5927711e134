"""Any policy: what the simulated cluster forwards is what a naive reading of the intent says.

Every world follows from its seed, which a failure names: `FILAMENT_SEED=N` runs that one alone,
`FILAMENT_WORLDS=N` so many.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from filament.testing.intended import ICMP, SCTP, TCP, UDP
from filament.testing.sim.check import verify

from .simulated import Simulated
from .worlds import PORTLESS, Round

WORLDS = int(os.environ.get("FILAMENT_WORLDS", "4"))
ONLY = os.environ.get("FILAMENT_SEED")
ROUNDS = 3
PROTOCOLS = (TCP, TCP, UDP, UDP, ICMP, SCTP, PORTLESS[0])


@pytest.mark.parametrize("seed", [int(ONLY)] if ONLY else range(WORLDS))
def test_what_is_forwarded_is_what_was_meant(seed: int) -> None:
    random = Random(seed)
    simulated = Simulated(seed)
    before: list = []
    verdicts = []
    for number in range(ROUNDS):
        now = Round(random, seed * ROUNDS + number)
        for request in (*now.creates, *now.updates, *before):
            simulated.ask(request)
        before = now.deletes
        simulated.cluster.settle()
        intended = simulated.intended()
        for probe in now.probes(per_pair=2, protocols=PROTOCOLS):
            meant = intended.judge(probe.source.port, probe.destination.port, probe.flow)
            connects, fate = simulated.connects(probe)
            verdicts.append(connects)
            assert connects == meant.allowed, (
                f"FILAMENT_SEED={seed} round {number}: {probe.source.machine} to"
                f" {probe.destination.machine} {probe.flow}: {meant}, but {fate}"
            )
    assert set(verdicts) == {True, False}
    verify(simulated.cluster)
