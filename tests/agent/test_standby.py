"""An agent whose port shares an address: what it publishes, plans, and keeps."""

from __future__ import annotations

import msgspec
import pytest

from filament.agent.preference import SECOND_NS, Contender, Place
from filament.base.net import Prefix
from filament.forward.inputs import Standby
from filament.wire.xmpp.stanza import RoutePublished

from .looked_at import LookedAt

PAIRS = "virtual_machine_interface_allowed_address_pairs"
SHARED = Prefix.parse("10.1.1.50/32")
NOW_NS = 1000 * SECOND_NS


def shared_port(script, number=3, **changes):
    pair = {"ip": {"ip_prefix": "10.1.1.50", "ip_prefix_len": 32}, **changes}
    return script.port(number, **{PAIRS: {"allowed_address_pair": [pair]}})


@pytest.fixture
def sharing(running, script):
    """Port 3 shares an address, by TF's default for one."""
    running.say(shared_port(script), revision=6)
    return running


def contender(script, number=3):
    return Contender(script.uuid(number), Place(script.vrf("red"), SHARED))


def claim(talk, script, at_s=0.0, number=3):
    """A workload claims the address; returns what is published of it then."""
    at_ns = NOW_NS + int(at_s * SECOND_NS)
    talk.core.settle({contender(script, number): at_ns}, at_ns)
    return [
        (stanza.local_preference, stanza.sequence)
        for stanza in talk.apply()
        if isinstance(stanza, RoutePublished) and stanza.destination == SHARED
    ]


def told(script, sequence, next_hop=None, preference=200):
    item = script.route(str(SHARED), next_hop=next_hop, label=40, preference=preference)
    return msgspec.structs.replace(item, sequence=sequence)


def hear(talk, script, *items, at_s=0.0):
    """A control node tells of routes; returns whether anything moved."""
    talk.say(script.routes(*items), revision=6)
    return talk.core.settle({}, NOW_NS + int(at_s * SECOND_NS))


def standbys(talk):
    return [port.standbys for port in talk.core.inputs().ports]


def test_it_is_published_as_a_standbys_until_it_is_claimed(sharing, script):
    published = {one.destination: one for one in sharing.core.published}
    waiting = published[SHARED]
    assert (waiting.local_preference, waiting.sequence) == (100, 1)
    assert claim(sharing, script) == [(200, 2)]
    assert standbys(sharing) == [(Standby(SHARED, 200, 2),)]
    assert claim(sharing, script, 1.0) == [], "it has it already"


def test_an_active_active_pair_is_nobodys_alone(running, script):
    running.say(shared_port(script, address_mode="active-active"), revision=6)
    published = {one.destination: one for one in running.core.published}
    assert (published[SHARED].local_preference, published[SHARED].sequence) == (200, 0)
    assert claim(running, script) == []


def test_a_newer_claim_of_another_host_is_yielded_to(sharing, script):
    claim(sharing, script)
    assert not hear(sharing, script, told(script, 2, next_hop=script.host), at_s=1)
    assert hear(sharing, script, told(script, 3), at_s=2)
    assert standbys(sharing) == [(Standby(SHARED, 100, 2),)]
    (route,) = [one for one in sharing.core.inputs().routes if one.prefix == SHARED]
    assert (route.preference, route.sequence) == (200, 3)
    assert claim(sharing, script, 3.0) == [(200, 4)]


def test_the_best_of_what_two_control_nodes_tell_counts(sharing, script):
    sharing.connect("ctl2")
    sharing.say(script.network(), shared_port(script), revision=6, control="ctl2")
    claim(sharing, script)
    sharing.say(script.routes(told(script, 2, next_hop=script.host)), revision=6)
    sharing.say(script.routes(told(script, 7)), revision=6, whole=True, control="ctl2")
    assert sharing.core.settle({}, NOW_NS + 1)
    (route,) = [one for one in sharing.core.inputs().routes if one.prefix == SHARED]
    assert route.sequence == 7


def test_a_port_whose_device_went_away_stands_by_when_it_is_back(sharing, script):
    claim(sharing, script)
    sharing.core.device_gone("tap3")
    assert standbys(sharing) == []
    sharing.core.device_found(script.device())
    assert standbys(sharing) == [(Standby(SHARED, 100, 1),)]


def test_an_instance_ip_may_be_of_that_mode(running, script):
    port = script.port()
    nodes = tuple(
        msgspec.structs.replace(one, props={**one.props, "instance_ip_mode": "active-standby"})
        if one.kind == "instance-ip"
        else one
        for one in port.nodes
    )
    running.say(msgspec.structs.replace(port, nodes=nodes), revision=6)
    own = Prefix.parse("10.1.1.3/32")
    assert standbys(running) == [(Standby(own, 100, 1),)]
    running.core.settle({Contender(script.uuid(3), Place(script.vrf("red"), own)): NOW_NS}, NOW_NS)
    assert standbys(running) == [(Standby(own, 200, 2),)]


def test_a_pair_for_the_ports_own_address_with_another_mac_is_nobody_elses(running, script):
    own = {"ip": {"ip_prefix": "10.1.1.3", "ip_prefix_len": 32}, "mac": "00:00:5e:00:01:07"}
    running.say(script.port(**{PAIRS: {"allowed_address_pair": [own]}}), revision=6)
    assert standbys(running) == [()]


def test_introspect_has_tfs_path_preference(sharing, script):
    path = ".//RouteUcSandeshData/path_list/list/PathSandeshData"

    def preferences():
        root = LookedAt(sharing).ask("Inet4UcRouteReq?vrf_index=1&src_ip=10.1.1.50&prefix_len=32")
        return {
            found.find("peer").text: [
                found.find(f"path_preference_data/PathPreferenceSandeshData/{name}").text
                for name in ("preference", "sequence", "ecmp", "wait_for_traffic")
            ]
            for found in root.iterfind(path)
            if found.find("peer").text == "LocalVmPort"
        }

    assert preferences() == {"LocalVmPort": ["100", "1", "false", "true"]}
    claim(sharing, script)
    assert preferences() == {"LocalVmPort": ["200", "2", "false", "false"]}


def test_the_next_process_goes_on_where_this_one_ended(sharing, script, restarted):
    claim(sharing, script)
    later = restarted(sharing)
    saved = sharing.core.preferences.save()
    later.core.preferences.restore(saved, {contender(script): NOW_NS}, NOW_NS + 5)
    later.core.plug(script.plug())
    assert standbys(later) == []  # the device is not known yet
    later.core.device_found(script.device())
    assert standbys(later) == [(Standby(SHARED, 200, 2),)]
