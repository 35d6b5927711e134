"""The programs and the model say the same of any packet, in any tables, in any order.

Every case follows from its seed, which the failure names: `FILAMENT_SEED=N` runs that one alone.
`FILAMENT_CASES=N` runs so many (with `-o faulthandler_timeout=0`, which ends long tests), from seed
`FILAMENT_FIRST_SEED` on, so that a long run can be cut into several.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

import pytest

from filament.forward.flows import Flow
from filament.forward.ids import Ids
from filament.forward.layout import FLOW_INBOUND, TABLES
from filament.forward.plan import plan
from filament.forward.tables import Change

from . import universe
from .twin import Twin

pytestmark = pytest.mark.bpf
CASES = int(os.environ.get("FILAMENT_CASES", "300"))
FIRST_SEED = int(os.environ.get("FILAMENT_FIRST_SEED", "0"))


def seeds(count: int) -> Iterator[int]:
    """The same every time, so that what is found once is found again."""
    only = os.environ.get("FILAMENT_SEED")
    yield from [int(only)] if only else range(FIRST_SEED, FIRST_SEED + count)


def send(random: Random, pair: Twin, ids: Ids) -> None:
    for _ in range(random.randint(1, 10)):
        chance = random.random()
        if chance < 0.3 and send_in_a_flow(random, pair, ids):
            continue
        if chance < 0.65:
            index = random.randint(0, 3)
            pair.from_port(pair.ports[index], universe.port_frames(index).make(random))
        else:
            labels = ids.numbers("label")
            pair.from_fabric(universe.fabric_frames(labels).make(random))


def send_in_a_flow(random: Random, pair: Twin, ids: Ids) -> bool:
    """Send another packet of a flow that is known, mostly against the way it began: chance alone
    hardly ever does. False when there is none.
    """
    ifindex_by_vif = {
        row.values[0]: key[0] for key, row in pair.model.rows.by_table["interfaces"].items()
    }
    flows = [
        (key, values)
        for key, values in sorted(pair.model.flows().items())
        if ifindex_by_vif.get(key.vif) in pair.ports
    ]
    if not flows:
        return False
    key, values = random.choice(flows)
    index = pair.ports.index(ifindex_by_vif[key.vif])
    is_inbound = bool(Flow(*values).flags & FLOW_INBOUND)
    label = ids.numbers("label").get(universe.UUIDS[index], 0)
    if (random.random() < 0.75) == is_inbound or not label:
        frame = universe.flow_frame_from_port(key, index).make(random)
        pair.from_port(pair.ports[index], universe.accepted(frame))
    else:
        pair.from_fabric(universe.flow_frame_from_fabric(key, index, label).make(random))
    return True


def in_planned_tables(pair: Twin, random: Random) -> None:
    pair.reset()
    ids = Ids()
    for _ in range(random.randint(1, 3)):
        found = universe.inputs(pair.ports, ids.numbers("label")).make(random)
        pair.write(plan(found, ids))
        send(random, pair, ids)
    pair.take_state()


def in_broken_tables(pair: Twin, random: Random) -> None:
    """Rows that point at nothing, or at something odd, as no plan has them."""
    pair.reset()
    ids = Ids()
    tables = plan(universe.inputs(pair.ports, {}).make(random), ids)
    pair.write(tables)
    keys = [
        (table.name, key) for table in TABLES if table.planned for key in tables.rows[table.name]
    ]
    for name, key in random.sample(keys, random.randint(0, 4)):
        values = list(tables.rows[name][key].values)
        if random.random() < 0.5:
            values[random.randrange(len(values))] = random.choice([0, 1, 2, 3, 4, 7])
            pair.write_rows([Change(name, key, tuple(values))])
        else:
            pair.write_rows([Change(name, key, None)])
    send(random, pair, ids)
    pair.take_state()


def compare(pair: Twin, case, count: int) -> None:
    for seed in seeds(count):
        try:
            case(pair, Random(seed))
        except AssertionError as found:
            raise AssertionError(f"FILAMENT_SEED={seed}\n{found}") from found


@pytest.mark.parametrize("case", [in_planned_tables, in_broken_tables])
def test_any_packet_in_any_tables(pair: Twin, case) -> None:
    compare(pair, case, CASES)
