"""Packets through the programs without a trace: the same answers, and nothing left behind."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from filament.base.errors import PermanentError
from filament.dataplane import bpf
from filament.dataplane.load import PROGRAMS
from filament.dataplane.rehearse import Packet, rehearse
from filament.forward.ids import Ids
from filament.forward.layout import TABLES, Verdict
from filament.forward.plan import plan

from . import universe
from .twin import Twin

pytestmark = pytest.mark.bpf


def everything(pair: Twin) -> dict[str, object]:
    return {
        table.name: pair.maps.read_all(table.name) for table in TABLES if table.name != "decisions"
    }


@pytest.mark.parametrize("seed", range(10))
def test_it_says_what_the_programs_then_do_and_leaves_nothing(pair: Twin, seed: int) -> None:
    random = Random(seed)
    pair.reset()
    ids = Ids()
    pair.write(plan(universe.inputs(pair.ports, {}).make(random), ids))
    packets = []
    for _ in range(12):
        index = random.randint(0, 3)
        if random.random() < 0.6:
            frame = universe.port_frames(index).make(random)
            packets.append(Packet("from_port", pair.ports[index], frame))
        else:
            frame = universe.fabric_frames(ids.numbers("label")).make(random)
            packets.append(Packet("from_fabric", pair.underlay_ifindex, frame))
    packets = [packet for packet in packets if len(packet.frame) >= 14]
    before = everything(pair)
    found = rehearse(pair.maps.directory, packets)
    assert everything(pair) == before
    assert found.tags == {name: bpf.program(pair.programs[name]).tag for name in PROGRAMS}
    for packet, ruling in zip(packets, found.rulings, strict=True):
        run = pair.from_port if packet.program == "from_port" else None
        seen = run(packet.ifindex, packet.frame) if run else pair.from_fabric(packet.frame)
        assert (ruling.verdict, ruling.reason, ruling.next_hop, ruling.ifindex) == seen[:4]
        assert ruling.frame == (seen.frame if seen.verdict == Verdict.REDIRECT else b"")


def test_there_must_be_maps(bpffs: Path) -> None:
    with pytest.raises(PermanentError, match=r"no maps are pinned in .*; is its agent running"):
        rehearse(bpffs / "nowhere", [])
    assert not (bpffs / "nowhere").exists()


def test_a_device_that_is_not_there_is_refused(pair: Twin) -> None:
    with pytest.raises(bpf.KernelError):
        rehearse(pair.maps.directory, [Packet("from_port", 12345, bytes(60))])
