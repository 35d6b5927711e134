"""Numbers stay, come back lowest first, and never change their meaning too early."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.errors import PermanentError
from filament.forward.ids import SPACES, Ids, IdsState


def test_numbers_start_where_their_space_does_and_stay() -> None:
    ids = Ids()
    assert [ids.get("vrf", "red"), ids.get("vrf", "blue"), ids.get("vrf", "red")] == [1, 2, 1]
    assert ids.get("label", "port") == 16
    assert ids.numbers("vrf") == {"red": 1, "blue": 2}


def test_a_released_number_rests_for_a_step_and_the_lowest_goes_first() -> None:
    ids = Ids()
    for key in "abc":
        ids.get("vif", key)
    ids.release_unused({"vif": {"c"}})
    assert ids.get("vif", "d") == 4  # 1 and 2 may still be in the kernel
    ids.release_unused({"vif": {"c", "d"}})
    assert [ids.get("vif", key) for key in "efg"] == [1, 2, 5]


def test_other_spaces_are_left_alone() -> None:
    ids = Ids()
    ids.get("vif", "a")
    ids.get("list", "a")
    ids.release_unused({"list": set()})
    assert (ids.numbers("vif"), ids.numbers("list")) == ({"a": 1}, {})


def test_a_full_space_says_so() -> None:
    ids = Ids()
    _, count = SPACES["label"]
    for number in range(count):
        ids.get("label", str(number))
    with pytest.raises(PermanentError, match="no label number for one more: all 16368 are in use"):
        ids.get("label", "one more")


def test_generations_follow_fingerprints() -> None:
    ids = Ids()
    assert [ids.generation(text) for text in ("a", "a", "b", "a")] == [1, 1, 2, 3]
    ids.skip_generation(9)
    assert ids.generation("a") == 10
    ids.skip_generation(4)
    assert ids.generation("a") == 10


def test_the_last_generation_is_followed_by_the_first() -> None:
    ids = Ids(IdsState(generation=0xFFFFFFFF, fingerprint="a"))
    assert ids.generation("b") == 1


def test_changes_say_when_to_write() -> None:
    ids = Ids()
    ids.get("vif", "a")
    before = ids.changes
    ids.get("vif", "a")
    ids.release_unused({"vif": {"a"}})
    assert ids.changes == before
    ids.release_unused({"vif": set()})
    assert ids.changes > before


@given(
    st.lists(st.tuples(st.sampled_from(sorted(SPACES)), st.sets(st.sampled_from("abcdefgh")))),
    st.integers(0, 20),
)
def test_no_two_keys_share_a_number_also_after_a_restart(steps, restart_at) -> None:
    ids = Ids()
    last: dict[str, dict[str, int]] = {}
    for index, (space, wanted) in enumerate(steps):
        if index == restart_at:
            raw = msgspec.json.encode(ids.export())
            restarted = Ids(msgspec.json.decode(raw, type=IdsState))
            assert restarted.export() == ids.export()
            ids = restarted
        numbers = {key: ids.get(space, key) for key in sorted(wanted)}
        assert len(set(numbers.values())) == len(numbers)
        former = last.get(space, {})
        for key, number in numbers.items():
            # Kept, or not what another key had in the step before.
            assert former.get(key, number) == number
            assert all(number != other for one, other in former.items() if one != key)
        ids.release_unused({space: wanted})
        last[space] = numbers
