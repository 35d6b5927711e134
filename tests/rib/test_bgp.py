import pytest

from filament.base.limits import MAX_PENDING_CHANGES, MAX_REJECTIONS_KEPT
from filament.rib.adjout import MAX_BATCH_ROUTES, OutKind
from filament.rib.peer import PeerKind, Speaker
from filament.rib.rtc import END_OF_RIB_TIMEOUT_S
from filament.wire.bgp.communities import (
    LLGR_STALE,
    NO_ADVERTISE,
    NO_EXPORT,
    NO_LLGR,
)
from filament.wire.bgp.family import AddressFamily as AF

from .bgp_world import (
    EVERYTHING,
    FAMILIES,
    US,
    WITH_TARGETS,
    World,
    as_path,
    attributes,
    client,
    mac,
    membership,
    target,
    vpn,
)

KEY, LABEL = vpn("10.1.1.3/32")
OTHER, _ = vpn("10.1.1.4/32")


@pytest.fixture
def world():
    world = World()
    for number in (1, 2, 3):
        world.up(client(number))
    return world.drain()


def announce(world, number, *targets, routes=((KEY, LABEL),), family=AF.INET_VPN, **fields):
    world.bgp.announce(f"peer{number}", family, attributes(*targets, **fields), list(routes))


def heard(world, number, family=AF.INET_VPN):
    return world.heard[f"peer{number}"][family]


def test_a_route_is_reflected_to_all_but_its_peer(world):
    announce(world, 1, 1)
    world.drain()
    assert heard(world, 1) == {}
    sent, label = heard(world, 2)[KEY]
    assert heard(world, 3) == heard(world, 2)
    assert label == LABEL
    assert (sent.originator_id, sent.cluster_list) == (client(1).identifier, (US.cluster_id,))
    world.bgp.withdraw("peer1", AF.INET_VPN, [KEY])
    world.drain()
    assert heard(world, 2) == heard(world, 3) == {}


def test_one_message_serves_all_of_a_group(world):
    world.messages.clear()
    announce(world, 1, 1, routes=[vpn(f"10.1.{n}.0/24") for n in range(50)])
    world.drain()
    [batch] = world.messages
    assert batch.members == ("peer2", "peer3")
    assert batch.route_count == 50


def test_a_better_path_from_another_peer_replaces_and_is_taken_back(world):
    announce(world, 1, 1)
    world.drain()
    announce(world, 2, 1, local_preference=200)
    world.drain()
    assert heard(world, 2) == {}
    assert heard(world, 1)[KEY][0].local_preference == 200
    world.bgp.withdraw("peer2", AF.INET_VPN, [KEY])
    world.drain()
    assert heard(world, 1) == {}
    assert heard(world, 2)[KEY][0].local_preference == 100


def test_what_changes_and_changes_back_is_not_told(world):
    announce(world, 1, 1)
    world.drain()
    world.messages.clear()
    announce(world, 1, 1)
    announce(world, 2, 1, local_preference=200)
    world.bgp.withdraw("peer2", AF.INET_VPN, [KEY])
    world.drain()
    assert world.messages == []


def test_a_new_label_alone_is_told(world):
    announce(world, 1, 1)
    world.drain()
    _, label = vpn("10.1.1.3/32", 99)
    announce(world, 1, 1, routes=[(KEY, label)])
    world.drain()
    assert heard(world, 2)[KEY][1] == label


def test_without_a_cluster_id_nothing_is_reflected():
    world = World(Speaker(64512, US.identifier, US.address))
    world.up(client(1, PeerKind.INTERNAL))
    world.up(client(2, PeerKind.INTERNAL))
    world.up(client(3, PeerKind.EXTERNAL, 65001))
    announce(world, 1, 1)
    world.drain()
    assert heard(world, 2) == {}
    sent, _ = heard(world, 3)[KEY]
    assert sent.as_path == as_path(64512)
    assert (sent.local_preference, sent.originator_id, sent.cluster_list) == (None, None, ())
    tellings = {each.peer: each.reason for each in world.bgp.why(AF.INET_VPN, KEY).tellings}
    assert tellings == {
        "peer1": "split horizon: it came from this peer",
        "peer2": "split horizon: it came from a peer of our AS, and we do not reflect",
        "peer3": "",
    }


def test_non_clients_hear_of_clients_only():
    world = World()
    world.up(client(1, PeerKind.INTERNAL))
    world.up(client(2, PeerKind.INTERNAL))
    world.up(client(3))
    announce(world, 1, 1)
    announce(world, 3, 1, routes=[(OTHER, LABEL)])
    world.drain()
    assert set(heard(world, 2)) == {OTHER}
    assert set(heard(world, 3)) == {KEY}


def test_external_routes_get_a_preference_and_our_as_is_put_before_theirs():
    world = World(Speaker(64512, US.identifier, US.address))
    world.up(client(1, PeerKind.EXTERNAL, 65001))
    world.up(client(2, PeerKind.INTERNAL))
    world.up(client(3, PeerKind.EXTERNAL, 65003))
    world.up(client(4, PeerKind.EXTERNAL, 65009))
    announce(world, 1, 1, as_path=as_path(65001, 65009), local_preference=None, med=5)
    world.drain()
    assert heard(world, 2)[KEY][0].local_preference == 100
    sent, _ = heard(world, 3)[KEY]
    assert (sent.as_path, sent.med) == (as_path(64512, 65001, 65009), None)
    assert heard(world, 4) == {}
    [telling] = [e for e in world.bgp.why(AF.INET_VPN, KEY).tellings if e.peer == "peer4"]
    assert telling.reason == "AS path loop: the peer's AS 65009 is in its AS path"


@pytest.mark.parametrize(
    ("kind", "fields", "reason"),
    [
        (
            PeerKind.CLIENT,
            {"as_path": as_path(65001, 64512)},
            "AS path loop: our AS 64512 is in its AS path",
        ),
        (
            PeerKind.CLIENT,
            {"originator_id": US.identifier},
            "originator loop: we originated it",
        ),
        (
            PeerKind.CLIENT,
            {"cluster_list": (7, US.cluster_id)},
            "cluster list loop: we reflected it before",
        ),
        (
            PeerKind.EXTERNAL,
            {"as_path": as_path(65002)},
            "the first AS of its path is 65002, not the peer's, 65001",
        ),
    ],
)
def test_loops_are_kept_unused_and_say_why(kind, fields, reason):
    world = World()
    world.up(client(1, kind, 65001 if kind is PeerKind.EXTERNAL else 64512))
    world.up(client(2))
    announce(world, 1, 1, **fields)
    world.drain()
    assert heard(world, 2) == {}
    [candidate] = world.bgp.why(AF.INET_VPN, KEY).candidates
    assert candidate.reason == f"not usable: {reason}"
    [rejection] = world.bgp.rejections
    assert (rejection.peer, rejection.table, rejection.count) == ("peer1", "bgp.l3vpn.0", 1)
    assert rejection.first == "10.255.0.9:1:10.1.1.3/32"
    assert rejection.reason == reason
    announce(world, 2, 1)
    world.drain()
    assert KEY in heard(world, 1)


def test_rejections_are_kept_up_to_a_limit():
    world = World()
    world.up(client(1))
    for number in range(MAX_REJECTIONS_KEPT + 5):
        announce(world, 1, number, originator_id=US.identifier)
    assert len(world.bgp.rejections) == MAX_REJECTIONS_KEPT


def test_well_known_communities_are_honoured():
    world = World(Speaker(64512, US.identifier, US.address))
    world.up(client(1, PeerKind.EXTERNAL, 65001))
    world.up(client(2, PeerKind.INTERNAL))
    world.up(client(3, PeerKind.EXTERNAL, 65003))
    path = as_path(65001)
    announce(world, 1, 1, as_path=path, communities=(NO_ADVERTISE,))
    announce(world, 1, 1, as_path=path, communities=(NO_EXPORT,), routes=[(OTHER, LABEL)])
    world.drain()
    assert set(heard(world, 2)) == {OTHER}
    assert heard(world, 3) == {}


def test_a_peer_that_comes_later_gets_the_whole_table_and_end_of_rib(world):
    routes = [vpn(f"10.{n >> 8}.{n & 255}.0/24") for n in range(MAX_BATCH_ROUTES + 10)]
    announce(world, 1, 1, routes=routes)
    announce(world, 2, 2, routes=[mac(5)], family=AF.E_VPN)
    world.drain()
    world.up(client(4))
    world.take(limit=10)
    assert 0 < len(heard(world, 4)) < len(routes), "a step must not do everything"
    assert world.ended["peer4"] == set()
    world.drain()
    assert world.ended["peer4"] == FAMILIES
    assert len(heard(world, 4)) == len(routes)
    assert set(heard(world, 4, AF.E_VPN)) == {mac(5)[0]}


def test_changes_on_the_way_of_a_first_copy_end_right(world):
    routes = [vpn(f"10.{n >> 8}.{n & 255}.0/24") for n in range(3 * MAX_BATCH_ROUTES)]
    announce(world, 1, 1, routes=routes)
    world.drain()
    world.up(client(4))
    world.take(limit=10)
    keys = [key for key, _ in routes]
    world.bgp.withdraw("peer1", AF.INET_VPN, keys[:50] + keys[-50:])
    announce(world, 2, 2, routes=[(key, LABEL) for key in keys[100:120]], local_preference=300)
    world.drain()
    assert len(heard(world, 4)) == len(routes) - 100


def test_one_that_cannot_be_written_to_waits_alone(world):
    announce(world, 1, 1)
    world.drain()
    world.up(client(4))
    world.up(client(5))
    world.take(can_write=lambda name: name != "peer4")
    assert heard(world, 4) == {}
    assert KEY in heard(world, 5)
    world.drain()


def test_refresh_sends_all_again(world):
    announce(world, 1, 1)
    world.drain()
    world.heard["peer2"][AF.INET_VPN].clear()
    world.messages.clear()
    world.bgp.refresh("peer2", AF.INET_VPN, is_enhanced=True)
    world.drain()
    assert [each.kind for each in world.messages] == [
        OutKind.REFRESH_BEGINS,
        OutKind.ANNOUNCE,
        OutKind.REFRESH_ENDS,
    ]


def test_routes_of_a_peer_that_goes_are_swept_in_steps(world):
    announce(world, 1, 1, routes=[vpn(f"10.1.{n}.0/24") for n in range(100)])
    world.drain()
    world.down("peer1")
    world.take(limit=30)
    assert world.bgp.stale_count("peer1", AF.INET_VPN) == 70
    assert world.bgp.is_busy
    world.drain()
    assert heard(world, 2) == {}


def test_graceful_restart_keeps_routes_and_tells_nobody_when_they_come_again(world):
    announce(world, 1, 1, routes=[(KEY, LABEL), (OTHER, LABEL)])
    world.drain()
    world.messages.clear()
    world.down("peer1", keep=FAMILIES)
    world.drain()
    assert world.messages == []
    assert world.bgp.stale_count("peer1", AF.INET_VPN) == 2
    world.up(client(1))
    announce(world, 1, 1)
    world.drain()
    assert {name for each in world.messages for name in each.members} == {"peer1"}
    world.bgp.end_of_rib("peer1", AF.INET_VPN)
    world.drain()
    assert set(heard(world, 2)) == {KEY}


def test_long_lived_stale_routes_are_marked_and_less_preferred(world):
    announce(world, 1, 1)
    announce(world, 1, 1, communities=(NO_LLGR,), routes=[(OTHER, LABEL)])
    world.up(client(4), has_llgr=True)
    world.drain()
    world.down("peer1", keep=FAMILIES)
    world.bgp.make_long_lived("peer1", AF.INET_VPN)
    world.drain()
    assert heard(world, 2) == {}, "it does not know what long-lived stale means"
    assert heard(world, 4)[KEY][0].communities == (LLGR_STALE,)
    assert OTHER not in heard(world, 4)
    announce(world, 3, 1)
    world.drain()
    assert heard(world, 4)[KEY][0].communities == ()
    world.bgp.sweep("peer1", AF.INET_VPN)
    world.drain()
    assert world.bgp.stale_count("peer1", AF.INET_VPN) == 0


def test_a_new_identity_is_looked_at_anew(world):
    announce(world, 1, 1, originator_id=77)
    world.drain()
    assert KEY in heard(world, 2)
    for number in (1, 2, 3):
        world.down(f"peer{number}", keep=FAMILIES)
    world.rib.configure(Speaker(64512, 77, US.address, 77))
    world.drain()
    assert world.bgp.tables[AF.INET_VPN].best(KEY) is None


# route target membership --------------------------------------------------------------------


@pytest.fixture
def constrained():
    """peer1 announces, peer2 asks by membership, peer3 gets everything."""
    world = World()
    world.up(client(1))
    world.up(client(2), WITH_TARGETS)
    world.up(client(3))
    announce(world, 1, 1)
    announce(world, 1, 2, routes=[(OTHER, LABEL)])
    announce(world, 1, 1, routes=[mac(5)], family=AF.E_VPN)
    return world.drain()


def ask(world, number, *memberships):
    world.bgp.announce(f"peer{number}", AF.ROUTE_TARGET, attributes(), list(memberships))


def unask(world, number, *memberships):
    keys = [key for key, _ in memberships]
    world.bgp.withdraw(f"peer{number}", AF.ROUTE_TARGET, keys)


def test_routes_wait_for_the_end_of_memberships(constrained):
    assert constrained.ended["peer2"] == {AF.ROUTE_TARGET}
    assert set(heard(constrained, 3)) == {KEY, OTHER}
    [telling] = [e for e in constrained.bgp.why(AF.INET_VPN, KEY).tellings if e.peer == "peer2"]
    assert telling.reason == "the peer has not said yet which targets it wants"
    ask(constrained, 2, membership(1))
    constrained.drain()
    assert heard(constrained, 2) == {}
    constrained.bgp.end_of_rib("peer2", AF.ROUTE_TARGET)
    constrained.drain()
    assert set(heard(constrained, 2)) == {KEY}
    assert set(heard(constrained, 2, AF.E_VPN)) == {mac(5)[0]}
    assert constrained.ended["peer2"] == WITH_TARGETS


def test_or_for_half_a_minute(constrained):
    ask(constrained, 2, membership(2))
    assert constrained.bgp.timer_at() == END_OF_RIB_TIMEOUT_S
    constrained.bgp.handle_timer(END_OF_RIB_TIMEOUT_S - 1)
    constrained.drain()
    assert heard(constrained, 2) == {}
    constrained.bgp.handle_timer(END_OF_RIB_TIMEOUT_S)
    constrained.drain()
    assert set(heard(constrained, 2)) == {OTHER}
    assert constrained.bgp.timer_at() is None


def test_or_not_at_all_when_the_peer_never_says_that_it_has_told_all(constrained):
    """GoBGP without graceful restart sends no End-of-RIB: each membership counts as it comes."""
    constrained.up(client(4), WITH_TARGETS, ends_rib=False)
    constrained.drain()
    assert heard(constrained, 4) == {}
    ask(constrained, 4, membership(1))
    constrained.drain()
    assert set(heard(constrained, 4)) == {KEY}


def test_membership_gained_and_withdrawn_moves_routes(constrained):
    constrained.bgp.end_of_rib("peer2", AF.ROUTE_TARGET)
    constrained.drain()
    assert heard(constrained, 2) == {}
    [telling] = [e for e in constrained.bgp.why(AF.INET_VPN, KEY).tellings if e.peer == "peer2"]
    assert telling.reason == "the peer did not ask for target:64512:1"
    ask(constrained, 2, membership(1), membership(2))
    constrained.drain()
    assert set(heard(constrained, 2)) == {KEY, OTHER}
    unask(constrained, 2, membership(1))
    constrained.drain()
    assert set(heard(constrained, 2)) == {OTHER}
    assert heard(constrained, 2, AF.E_VPN) == {}


def test_the_default_membership_asks_for_everything(constrained):
    constrained.bgp.end_of_rib("peer2", AF.ROUTE_TARGET)
    ask(constrained, 2, EVERYTHING)
    announce(constrained, 1, routes=[vpn("10.9.0.0/16")])
    constrained.drain()
    assert len(heard(constrained, 2)) == 3
    unask(constrained, 2, EVERYTHING)
    constrained.drain()
    assert heard(constrained, 2) == {}


def test_a_membership_cut_short_asks_for_what_begins_like_it(constrained):
    constrained.bgp.end_of_rib("peer2", AF.ROUTE_TARGET)
    key = bytes((95,)) + (64512).to_bytes(4, "big") + target(2)  # targets 2 and 3
    ask(constrained, 2, (key, b""))
    constrained.drain()
    assert set(heard(constrained, 2)) == {OTHER}


def test_the_same_target_asked_for_by_two_ases_counts_twice(constrained):
    constrained.bgp.end_of_rib("peer2", AF.ROUTE_TARGET)
    ask(constrained, 2, membership(1), membership(1, asn=65001))
    unask(constrained, 2, membership(1))
    constrained.drain()
    assert set(heard(constrained, 2)) == {KEY}


def test_memberships_are_reflected_and_two_that_share_one_hear_of_each_other():
    world = World()
    for number in (1, 2, 3):
        world.up(client(number), WITH_TARGETS)
    ask(world, 1, membership(1))
    world.drain()
    key = membership(1)[0]
    assert key not in heard(world, 1, AF.ROUTE_TARGET)
    assert key in heard(world, 2, AF.ROUTE_TARGET)
    ask(world, 2, membership(1))
    world.drain()
    assert heard(world, 1, AF.ROUTE_TARGET)[key][0].originator_id == client(2).identifier
    assert heard(world, 3, AF.ROUTE_TARGET)[key][0].originator_id == client(1).identifier
    unask(world, 1, membership(1))
    world.drain()
    assert heard(world, 1, AF.ROUTE_TARGET)[key][0].originator_id == client(2).identifier
    assert key not in heard(world, 2, AF.ROUTE_TARGET)


def test_interest_that_changes_while_changes_wait_leaves_nothing_behind(constrained):
    constrained.bgp.end_of_rib("peer2", AF.ROUTE_TARGET)
    ask(constrained, 2, membership(1), membership(2))
    constrained.drain()
    announce(constrained, 1, 3)  # from a target that is wanted no more to one that never was
    unask(constrained, 2, membership(1))
    constrained.drain()
    assert set(heard(constrained, 2)) == {OTHER}


def test_what_is_wanted_no_more_is_not_withdrawn_once_it_is_wanted_again(constrained):
    constrained.bgp.end_of_rib("peer2", AF.ROUTE_TARGET)
    ask(constrained, 2, membership(1), membership(2))
    constrained.drain()
    unask(constrained, 2, membership(1))
    constrained.take(can_write=lambda _: False)  # the withdrawal waits for peer2 to read
    announce(constrained, 1, 2)
    constrained.drain()
    assert set(heard(constrained, 2)) == {KEY, OTHER}


def test_peers_are_heard_no_further_while_too_much_waits_or_somebody_waits_for_it(world):
    assert not world.bgp.is_behind
    announce(world, 1, 1)
    assert not world.bgp.is_behind  # what is little may wait for more
    world.up(client(4))
    world.bgp.refresh("peer2", AF.INET_VPN)
    announce(world, 1, 2)
    assert world.bgp.is_behind  # peers wait for their copies
    world.drain()
    keys = [vpn(f"10.{n >> 8 & 255}.{n & 255}.{n >> 16}/32") for n in range(MAX_PENDING_CHANGES)]
    announce(world, 1, 1, routes=keys)
    assert not world.bgp.is_behind
    announce(world, 1, 1, routes=[(OTHER, LABEL)])
    assert world.bgp.is_behind
    world.take(limit=5_000)
    assert world.bgp.out.pending_count == MAX_PENDING_CHANGES + 1 - 5_000
    world.drain()
    assert not world.bgp.is_behind
