"""Which numbers a change needs: one target per default instance, asked once."""

from __future__ import annotations

from filament.compiler.plan import Slot
from filament.compiler.slots import slot_owners, slots

from .universe import Universe

RED = "default-domain:demo:red:red"


def test_a_new_network_needs_one_target_and_an_old_one_none():
    universe = Universe()
    red = universe.network("red")
    policy = universe.policy("talk")
    assert slots(universe.snapshot, [policy, red]) == [Slot("route-target/64512", RED)]
    universe.commit()
    assert slots(universe.snapshot, [red]) == []


def test_boot_instances_without_a_target_need_none():
    universe = Universe()
    project = ("default-domain", "default-project")
    fabric = universe.network("ip-fabric", project=project)
    link_local = universe.network("__link_local__", project=project)
    assert slots(universe.snapshot, [fabric, link_local]) == [
        Slot("route-target/64512", "default-domain:default-project:ip-fabric:ip-fabric")
    ]


def test_a_new_as_number_asks_for_every_network():
    universe = Universe()
    universe.network("red")
    universe.network("blue")
    universe.commit()
    config = universe.global_system_config(65000)
    assert slots(universe.snapshot, [config]) == []  # not in the view yet
    universe.commit()
    owned = [each.pool for each in universe.snapshot.allocations_of(RED)]
    assert owned == ["route-target/64512", "route-target/65000"]
    assert slots(universe.snapshot, [config]) == []


def test_what_a_deleted_network_gives_back():
    assert slot_owners(Universe().network("red")) == [RED]
