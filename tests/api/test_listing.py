"""Large collections: rendered in portions, between which others have their turn."""

import asyncio

import msgspec
import pytest

from filament.api.listing import PORTION, answer_list, parse_query
from filament.api.render import Reader
from filament.model.kinds import KINDS

from .office import Office

MACHINE = KINDS["virtual-machine"]


def listing(office, **query):
    reader = Reader(office.view, office.engine.shown)
    return answer_list(reader, MACHINE, parse_query(reader, MACHINE, query), "http://api")


def names_in(answer):
    listed = msgspec.json.decode(answer["virtual-machines"])
    return [item.get("virtual-machine", item)["fq_name"][0] for item in listed]


async def test_others_have_their_turn_while_a_large_collection_is_rendered():
    office = Office()
    made = [office.create("virtual-machine", f"vm-{number:04}") for number in range(3 * PORTION)]
    names = [item.fq_name[0] for item in made]
    asking = asyncio.ensure_future(listing(office, detail="true"))
    await asyncio.sleep(0)  # the first portion is rendered
    office.delete(made[0])
    office.delete(made[-1])
    office.update(made[-2], display_name="changed")
    answer = await asking
    assert names_in(answer) == names[:-1]  # what was told is told, what is gone is left out
    last = msgspec.json.decode(answer["virtual-machines"])[-1]["virtual-machine"]
    assert last["display_name"] == "changed"


async def test_a_small_collection_is_of_one_moment():
    office = Office()
    for number in range(PORTION):
        office.create("virtual-machine", f"vm-{number}")
    asking = listing(office)
    with pytest.raises(StopIteration) as done:
        asking.send(None)
    assert len(names_in(done.value.value)) == PORTION
