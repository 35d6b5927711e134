"""The programs and the model say the same of any packet, in any tables, in any order."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filament.forward.ids import Ids
from filament.forward.layout import TABLES
from filament.forward.plan import plan
from filament.forward.tables import Change

from . import universe
from .twin import Twin

pytestmark = pytest.mark.bpf

RELAXED = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def send(data: st.DataObject, pair: Twin, ids: Ids) -> None:
    for _ in range(data.draw(st.integers(1, 10))):
        if data.draw(st.booleans()):
            index = data.draw(st.integers(0, 3))
            pair.from_port(pair.ports[index], data.draw(universe.port_frames(index)))
        else:
            pair.from_fabric(data.draw(universe.fabric_frames(ids.numbers("label"))))


@RELAXED
@given(data=st.data())
def test_any_packet_in_planned_tables(pair: Twin, data: st.DataObject) -> None:
    pair.reset()
    ids = Ids()
    for _ in range(data.draw(st.integers(1, 3))):
        found = data.draw(universe.inputs(pair.ports, ids.numbers("label")))
        pair.write(plan(found, ids))
        send(data, pair, ids)
    pair.compare_state()


@RELAXED
@given(data=st.data())
def test_any_packet_in_broken_tables(pair: Twin, data: st.DataObject) -> None:
    """Rows that point at nothing, or at something odd, as no plan has them."""
    pair.reset()
    ids = Ids()
    tables = plan(data.draw(universe.inputs(pair.ports, {})), ids)
    pair.write(tables)
    keys = [
        (table.name, key) for table in TABLES if table.planned for key in tables.rows[table.name]
    ]
    for name, key in data.draw(st.lists(st.sampled_from(keys), max_size=4, unique=True)):
        values = list(tables.rows[name][key].values)
        if data.draw(st.booleans()):
            column = data.draw(st.integers(0, len(values) - 1))
            values[column] = data.draw(st.sampled_from([0, 1, 2, 3, 4, 7]))
            pair.write_rows([Change(name, key, tuple(values))])
        else:
            pair.write_rows([Change(name, key, None)])
    send(data, pair, ids)
    pair.compare_state()
