import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from filament.base.errors import NotFoundError
from filament.base.net import Prefix
from filament.base.origin import Origin
from filament.rib.bestpath import compare, select
from filament.rib.keys import inet
from filament.rib.path import Path
from filament.rib.peer import PeerKind
from filament.rib.rib import Instance, Rib
from filament.rib.tables import RouteChanged

RED, BLUE, GREEN = "d:p:red:red", "d:p:blue:blue", "d:p:green:green"
KEY = inet(Prefix.parse("10.1.1.3/32"))
OTHER = inet(Prefix.parse("10.1.1.4/32"))


def instance(name, imports=(), exports=()):
    return Instance(name, name.rpartition(":")[0], frozenset(imports), frozenset(exports))


def path(peer="host1", source=RED, **changes):
    number = int(peer[-1])
    # An agent numbers its instances: the numbers tell its routes apart in BGP.
    changes = {"instance_id": [RED, BLUE, GREEN].index(source) + 1} | changes
    return msgspec.structs.replace(
        Path(peer, source, next_hop=0xAC1E0000 + number, label=16 + number), **changes
    )


@pytest.fixture
def rib():
    rib = Rib()
    rib.put_instance(instance(RED, {"target:1:1"}, {"target:1:1"}))
    rib.put_instance(instance(BLUE, {"target:1:2"}, {"target:1:2"}))
    return rib


def told(rib):
    changes = {(each.instance, each.key): each.selection for each in rib.take_changes()}
    rib.verify()
    return changes


def test_a_path_stays_in_its_instance_until_another_imports_its_target(rib):
    rib.publish(KEY, path())
    assert told(rib) == {(RED, KEY): select([path()])}
    rib.put_instance(instance(BLUE, {"target:1:2", "target:1:1"}, {"target:1:2"}))
    assert told(rib) == {(BLUE, KEY): select([path()])}
    rib.put_instance(instance(BLUE, {"target:1:2"}, {"target:1:2"}))
    assert told(rib) == {(BLUE, KEY): None}
    rib.withdraw("host1", RED, KEY)
    assert told(rib) == {(RED, KEY): None}


def test_exports_move_routes_too(rib):
    rib.publish(KEY, path())
    told(rib)
    rib.put_instance(instance(RED, {"target:1:1"}, {"target:1:1", "target:1:2"}))
    assert told(rib) == {(BLUE, KEY): select([path()])}
    rib.put_instance(instance(RED, {"target:1:1"}, {"target:1:9"}))
    assert told(rib) == {(BLUE, KEY): None}


def test_what_nobody_could_see_is_not_told(rib):
    rib.publish(KEY, path())
    rib.withdraw("host1", RED, KEY)
    assert told(rib) == {}
    rib.publish(KEY, path())
    told(rib)
    rib.publish(KEY, path())
    rib.publish(KEY, path(instance_id=9))
    rib.mark_stale("host1")
    rib.publish(KEY, path("host2", local_preference=100))
    assert told(rib) == {}


def test_equal_cost_paths_share_and_the_lowest_next_hop_leads(rib):
    rib.publish(KEY, path("host2"))
    rib.publish(KEY, path("host1"))
    assert told(rib) == {(RED, KEY): select([path("host1"), path("host2")])}
    assert [each.peer for each in rib.selection(RED, KEY).paths] == ["host1", "host2"]


def test_paths_of_an_unknown_instance_are_kept_unseen_until_it_is_configured(rib):
    rib.publish(KEY, path(source=GREEN))
    assert told(rib) == {}
    rib.put_instance(instance(GREEN, (), {"target:1:2"}))
    assert set(told(rib)) == {(GREEN, KEY), (BLUE, KEY)}
    rib.forget_instance(GREEN)
    assert told(rib) == {(GREEN, KEY): None, (BLUE, KEY): None}
    rib.withdraw("host1", GREEN, KEY)
    assert told(rib) == {}


def test_an_instance_forgotten_and_put_again_tells_only_the_difference(rib):
    rib.publish(KEY, path())
    rib.publish(OTHER, path(source=BLUE))
    rib.put_instance(instance(RED, {"target:1:1", "target:1:2"}, {"target:1:1"}))
    told(rib)
    rib.forget_instance(RED)
    rib.put_instance(instance(RED, {"target:1:1"}, {"target:1:1"}))
    assert told(rib) == {(RED, OTHER): None}


def test_a_stale_path_yields_to_a_fresh_one_but_not_to_a_standby(rib):
    rib.publish(KEY, path("host1"))
    told(rib)
    rib.mark_stale("host1")
    rib.publish(KEY, path("host2", local_preference=100))
    assert told(rib) == {}
    rib.publish(KEY, path("host2"))
    assert told(rib) == {(RED, KEY): select([path("host2")])}


def test_ways_with_a_sequence_share_no_load_and_the_lowest_host_has_it(rib):
    """Standbys before anybody claimed, or claims made at once: all control nodes choose alike."""
    for preference in (100, 200):
        far = path("host1", kind=PeerKind.INTERNAL, sequence=1, local_preference=preference)
        near = path("host2", sequence=1, local_preference=preference)
        assert select([near, far]) == select([far, near]) == select([far])
        assert compare(near, far) == (
            "next hop: 172.30.0.2, best has 172.30.0.1 (with a sequence it is in one place)"
        )
    claimed = path("host2", sequence=2)
    assert select([path("host1", sequence=1), claimed]) == select([claimed])


def test_sweeping_removes_only_what_was_not_published_again(rib):
    for key in (KEY, OTHER):
        rib.publish(key, path())
    told(rib)
    rib.mark_stale("host1")
    rib.publish(KEY, path())
    assert rib.sweep_stale("host1") == 1
    assert told(rib) == {(RED, OTHER): None}
    assert rib.sweep_stale("host1") == 0


def test_leaving_an_instance_and_leaving_altogether(rib):
    rib.publish(KEY, path())
    rib.publish(KEY, path(source=BLUE))
    told(rib)
    rib.withdraw_instance("host1", BLUE)
    assert told(rib) == {(BLUE, KEY): None}
    rib.withdraw_peer("host1")
    assert told(rib) == {(RED, KEY): None}
    assert not rib.withdraw("host1", RED, KEY)


def test_imports_of_one_instance_touch_only_the_routes_it_gains(rib):
    touched = []
    rib.put_instance(instance(GREEN, (), {"target:1:3"}))
    rib.publish(KEY, path(source=GREEN))
    rib.publish(OTHER, path(source=RED))
    told(rib)
    put = rib._tables.put
    rib._tables.put = lambda *args: touched.append(args) or put(*args)
    rib.put_instance(instance(BLUE, {"target:1:2", "target:1:3"}, {"target:1:2"}))
    assert [(importer, key) for importer, key, _ in touched] == [(BLUE, KEY)]


@pytest.mark.parametrize(
    ("worse", "reason"),
    [
        ({"local_preference": 100}, "local preference: 100, best has 200"),
        ({"sequence": 0}, "mobility sequence: 0, best has 1"),
        ({"stale": True}, "freshness: host1 is away, best has host2 is connected"),
        ({"label": 0}, "not usable: it has no label"),
        (
            {"encapsulations": ("l2tp",)},
            "not usable: none of its encapsulations is known: l2tp",
        ),
    ],
)
def test_why_names_the_criterion(rib, worse, reason):
    rib.publish(KEY, path("host1", **({"sequence": 1} | worse)))
    rib.publish(KEY, path("host2", sequence=1))
    told(rib)
    best, loser = rib.why(RED, KEY).candidates
    assert (best.path.peer, best.chosen, best.reason) == ("host2", True, "best")
    assert (loser.path.peer, loser.chosen, loser.reason) == ("host1", False, reason)


def test_why_names_source_and_target(rib):
    rib.publish(KEY, path("host1", origin=Origin("virtual-machine-interface a", "port", 4)))
    rib.publish(KEY, path("host2", source=BLUE))
    rib.put_instance(instance(BLUE, {"target:1:2", "target:1:1"}, {"target:1:2"}))
    told(rib)
    assert [
        (each.path.source, each.via, each.reason) for each in rib.why(BLUE, KEY).candidates
    ] == [
        (RED, "target:1:1", "one of 2 paths of equal cost"),
        (BLUE, "", "one of 2 paths of equal cost"),
    ]
    assert rib.why(BLUE, OTHER).candidates == ()


def test_why_of_an_unusable_route_and_of_an_unknown_instance(rib):
    rib.publish(KEY, path(label=0))
    assert told(rib) == {}
    [candidate] = rib.why(RED, KEY).candidates
    assert candidate.reason == "not usable: it has no label"
    with pytest.raises(NotFoundError, match="no routing instance is called 'nope'"):
        rib.why("nope", KEY)


def test_names_for_people(rib):
    published = path(instance_id=3, network="said")
    rib.publish(KEY, published)
    assert str(published.distinguisher) == "172.30.0.1:3"
    assert rib.network_of(published) == "d:p:red"
    assert rib.network_of(path(source=GREEN, network="said")) == "said"
    assert list(rib.paths_of_peer("host1")) == [(KEY, published)]


peers = st.sampled_from(["host1", "host2", "host3"])
names = st.sampled_from([RED, BLUE, GREEN])
targets = st.frozensets(st.sampled_from(["target:1:1", "target:1:2", "target:1:3"]))
keys = st.sampled_from([KEY, OTHER])


class Changes(RuleBasedStateMachine):
    """Any order of changes: tables equal a recompute, and listeners' copies equal the tables."""

    def __init__(self):
        super().__init__()
        self.rib = Rib()
        self.heard = {}

    @rule(name=names, imports=targets, exports=targets)
    def put(self, name, imports, exports):
        self.rib.put_instance(instance(name, imports, exports))

    @rule(name=names)
    def forget(self, name):
        self.rib.forget_instance(name)

    @rule(
        peer=peers,
        name=names,
        key=keys,
        preference=st.sampled_from([100, 200]),
        label=st.sampled_from([0, 17]),
    )
    def publish(self, peer, name, key, preference, label):
        self.rib.publish(key, path(peer, name, local_preference=preference, label=label))

    @rule(peer=peers, name=names, key=keys)
    def withdraw(self, peer, name, key):
        self.rib.withdraw(peer, name, key)

    @rule(peer=peers, name=names)
    def leave(self, peer, name):
        self.rib.withdraw_instance(peer, name)

    @rule(peer=peers)
    def lose(self, peer):
        self.rib.mark_stale(peer)

    @rule(peer=peers)
    def sweep(self, peer):
        self.rib.sweep_stale(peer)

    @precondition(lambda self: self.rib.has_changes)
    @rule()
    def listen(self):
        for change in self.rib.take_changes():
            assert isinstance(change, RouteChanged)
            before = self.heard.get((change.instance, change.key))
            assert before is not change.selection
            if change.selection is None:
                del self.heard[change.instance, change.key]
            else:
                self.heard[change.instance, change.key] = change.selection
        self.rib.verify()
        now = {
            (name, key): selection
            for name in self.rib.instances
            for key, selection in self.rib.selections(name).items()
        }
        assert set(now) == set(self.heard)
        assert all(selection.forwards_as(self.heard[each]) for each, selection in now.items())

    @invariant()
    def nothing_idle_is_kept(self):
        assert all(each.sources or each.bundles for each in self.rib.target_sets)


TestChanges = Changes.TestCase
TestChanges.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


@given(st.lists(st.tuples(peers, st.sampled_from([100, 200]), st.booleans()), max_size=5))
def test_selection_does_not_depend_on_order(drawn):
    paths = list(
        {
            peer: path(peer, local_preference=preference, stale=stale)
            for peer, preference, stale in drawn
        }.values()
    )
    assert select(paths) == select(paths[::-1])
