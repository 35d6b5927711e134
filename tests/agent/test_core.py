import msgspec
import pytest

from filament.agent.core import AgentCore
from filament.base.errors import ProtocolError
from filament.base.net import Prefix, parse_ipv4
from filament.base.origin import NOWHERE, Origin
from filament.forward.inputs import Route
from filament.wire.xmpp.stanza import (
    ConfigRefused,
    ConfigSent,
    ConfigSubscribed,
    ConfigUnsubscribed,
    EndOfRib,
    InstanceSubscribed,
    InstanceUnsubscribed,
    NextHop,
    Node,
    RoutePublished,
    RouteRetracted,
    Sync,
    Synced,
)

ROUTER = ConfigSubscribed("virtual-router", "default-global-system-config:host1", takes_edits=True)


def without_origin(stanzas):
    return [
        RoutePublished(one.instance, one.destination, one.next_hop)
        if isinstance(one, RoutePublished)
        else one
        for one in stanzas
    ]


def published(script, number=3, address="10.1.1.3", label=16, network="red"):
    hop = NextHop(script.host, label, script.network_name(network), mac=0x020000000000 + number)
    return RoutePublished(script.vrf(network), Prefix.parse(f"{address}/32"), hop)


def machine(script, number=3):
    return script.plug(number).machine


def test_a_port_goes_from_plug_to_published_in_one_batch(talk, script):
    assert talk.connect() == [ROUTER]
    talk.core.plug(script.plug())
    talk.core.device_found(script.device())
    assert talk.core.take_outbox() == [
        ("ctl1", ConfigSubscribed("virtual-machine", machine(script)))
    ]
    assert talk.core.ports()[0].state == "waiting for its configuration"
    answers = talk.say(script.network(), script.port(), revision=5)
    assert without_origin(answers) == [
        InstanceSubscribed(script.vrf("red"), 1),
        published(script),
        EndOfRib(),
        Synced(1, 5),
    ]
    assert answers[1].origin.object.endswith("port-3")
    assert talk.core.ports()[0].state == "active"
    inputs = talk.core.inputs()
    assert inputs.revision == 5
    assert [(one.uuid, one.ifindex, one.addresses) for one in inputs.ports] == [
        (script.uuid(3), 103, (parse_ipv4("10.1.1.3"),))
    ]
    assert [str(one.prefix) for one in inputs.subnets] == ["10.1.1.0/24"]


def test_nothing_of_a_batch_counts_before_its_sync(running, script):
    before = running.core.inputs()
    assert (
        running.say(script.port(4, address="10.1.1.9"), script.routes(retracted=["10.1.1.4/32"]))
        == []
    )
    assert running.core.inputs() is before
    running.say(revision=6)
    assert running.core.inputs().routes == ()


def test_routes_lead_to_the_other_host(running, script):
    assert running.core.inputs().routes == (
        Route(
            script.vrf("red"),
            Prefix.parse("10.1.1.4/32"),
            script.other,
            17,
            script.network_name("red"),
        ),
    )


def test_of_several_next_hops_this_host_comes_first_then_the_lowest(running, script):
    far, own = script.route("10.1.1.7/32", label=9), script.route("10.1.1.7/32", next_hop=1)
    both = msgspec.structs.replace(far, next_hops=(*far.next_hops, *own.next_hops))
    running.say(script.routes(both), revision=6)
    assert running.core.inputs().routes[-1].next_hop == 1
    here = script.route("10.1.1.7/32", next_hop=script.host, label=16)
    three = msgspec.structs.replace(both, next_hops=(*both.next_hops, *here.next_hops))
    running.say(script.routes(three), revision=6)
    assert running.core.inputs().routes[-1].next_hop == script.host


def test_routes_without_a_usable_encapsulation_are_reported(running, script):
    running.say(script.routes(script.route("10.1.1.7/32", encapsulations=("gre",))), revision=6)
    assert len(running.core.inputs().routes) == 1
    assert [one.text for one in running.core.problems()] == [
        "no next hop accepts MPLS over UDP or VXLAN (offered: gre)"
    ]


def test_unplugging_withdraws_the_route_then_leaves_the_instance(running, script):
    running.core.unplug(script.uuid(3))
    assert running.apply() == [
        ConfigUnsubscribed("virtual-machine", machine(script)),
        RouteRetracted(script.vrf("red"), Prefix.parse("10.1.1.3/32")),
        InstanceUnsubscribed(script.vrf("red")),
    ]
    inputs = running.core.inputs()
    assert (inputs.ports, inputs.subnets, inputs.routes) == ((), (), ())
    running.core.unplug(script.uuid(3))  # unknown by now: nothing to do
    assert running.apply() == []


def test_a_machine_with_two_ports_stays_until_the_second_is_unplugged(running, script):
    second = script.plug(4)
    both = second.__class__(second.uuid, machine(script), second.device, second.posted)
    running.core.plug(both)
    running.core.unplug(script.uuid(3))
    assert not [one for one in running.apply() if isinstance(one, ConfigUnsubscribed)]
    running.core.unplug(both.uuid)
    assert running.apply() == [ConfigUnsubscribed("virtual-machine", machine(script))]


def test_a_lost_address_or_device_withdraws_only_that(running, script):
    running.core.device_gone("tap3")
    gone = [RouteRetracted(script.vrf("red"), Prefix.parse("10.1.1.3/32"))]
    assert running.apply() == gone
    assert running.core.ports()[0].state == "waiting for the device tap3"
    running.core.device_found(script.device(ifindex=230))
    assert without_origin(running.apply()) == [published(script)]
    assert running.core.inputs().ports[0].ifindex == 230
    answers = running.say(ConfigSent(deleted_nodes=(("instance-ip", "ip-3"),)), revision=6)
    assert answers[0] == gone[0]
    assert running.core.ports()[0].state == "waiting for an instance-ip with an address"


def test_a_port_whose_rows_failed_is_not_published(running, script):
    running.core.plug(script.plug(4))
    running.core.device_found(script.device(4))
    answers = running.say(script.port(4, address="10.1.1.9"), revision=6)
    assert without_origin(answers)[1:] == [published(script, 4, "10.1.1.9", 17), Synced(3, 6)]
    assert running.apply(failed=frozenset({script.uuid(4)})) == [
        RouteRetracted(script.vrf("red"), Prefix.parse("10.1.1.9/32"))
    ]
    assert [one.state for one in running.core.ports()] == ["active", "waiting for the data plane"]


def test_headless_keeps_everything_and_reconnecting_tells_everything_again(running, script):
    before = running.core.inputs()
    running.core.control_lost("ctl1")
    assert running.core.inputs() == before
    assert running.apply() == []
    assert without_origin(running.connect()) == [
        ROUTER,
        ConfigSubscribed("virtual-machine", machine(script)),
        InstanceSubscribed(script.vrf("red"), 1),
        published(script),
    ]
    assert running.core.inputs() == before
    # A first batch that does not tell everything yet takes nothing away ...
    assert running.say(script.network(revision=7), revision=7) == [EndOfRib(), Synced(3, 7)]
    assert running.core.inputs().ports == before.ports
    assert running.core.inputs().routes == before.routes
    # ... the whole does.
    running.say(script.port(), revision=7, whole=True)
    assert running.core.inputs().ports == before.ports
    assert running.core.inputs().routes == ()


def test_devices_come_and_go_while_headless_without_losing_routes(running, script):
    running.core.control_lost("ctl1")
    running.core.unplug(script.uuid(3))
    running.apply()
    running.core.plug(script.plug())
    running.apply()
    assert len(running.core.inputs().routes) == 1


def test_rows_may_be_deleted_only_after_everything_was_told(talk, script):
    talk.core.plug(script.plug())
    talk.core.device_found(script.device())
    talk.connect()
    # whole before our EndOfRib cannot know what we will subscribe to
    talk.say(script.network(), script.port(), revision=5, whole=True)
    assert not talk.core.may_delete
    talk.say(revision=5, whole=True)
    assert talk.core.may_delete
    talk.core.control_lost("ctl1")
    assert talk.core.may_delete


def test_a_restarted_agent_serves_from_memory_before_any_control(running, restarted, script):
    again = restarted(running)
    again.core.plug(script.plug())
    again.core.device_found(script.device())
    assert again.apply() == []
    assert again.core.inputs() == running.core.inputs()
    assert not again.core.may_delete
    assert without_origin(again.connect()) == [
        ROUTER,
        ConfigSubscribed("virtual-machine", machine(script)),
        InstanceSubscribed(script.vrf("red"), 1),
        published(script),
    ]


def test_an_older_offer_says_nothing_new(running, script):
    old = running.core.inputs()
    running.core.receive("ctl1", Sync(9, 9))
    running.core.inputs()
    running.core.applied(old, running.vrf_ids, running.labels)
    assert running.core.take_outbox() == []
    assert running.apply() == [Synced(9, 9)]


def test_a_sync_of_an_earlier_session_is_not_answered_in_the_next(running):
    running.core.receive("ctl1", Sync(9, 9))
    running.core.inputs()
    running.core.control_lost("ctl1")
    running.connect()
    assert running.apply() == []


def test_two_controls_tell_routes_once(running, script):
    running.connect("ctl2")
    running.say(script.network(), script.port(), revision=5, control="ctl2")
    running.say(
        script.routes(script.route("10.1.1.4/32"), script.route("10.1.1.8/32")),
        revision=5,
        whole=True,
        control="ctl2",
    )
    prefixes = sorted(str(one.prefix) for one in running.core.inputs().routes)
    assert prefixes == ["10.1.1.4/32", "10.1.1.8/32"]
    # One withdraws it, the other still has it; then the other too.
    running.say(script.routes(retracted=["10.1.1.4/32"]), revision=5)
    assert sorted(str(one.prefix) for one in running.core.inputs().routes) == prefixes
    running.say(script.routes(retracted=["10.1.1.4/32"]), revision=5, control="ctl2")
    assert [str(one.prefix) for one in running.core.inputs().routes] == ["10.1.1.8/32"]
    # The only one who knew it is lost: the other knows better.
    running.core.control_lost("ctl2")
    assert running.core.inputs().routes == ()
    # The last one is lost: everything remembered counts again.
    running.core.control_lost("ctl1")
    assert [str(one.prefix) for one in running.core.inputs().routes] == ["10.1.1.8/32"]


def test_the_more_preferred_of_two_controls_routes_wins(running, script):
    running.connect("ctl2")
    running.say(script.network(), script.port(), revision=5, control="ctl2")
    better = script.route("10.1.1.4/32", next_hop=script.other + 1, preference=300)
    running.say(script.routes(better), revision=5, whole=True, control="ctl2")
    assert [one.next_hop for one in running.core.inputs().routes] == [script.other + 1]


def test_the_control_that_knows_more_is_believed_also_when_lost(running, script):
    running.connect("ctl2")
    running.say(script.network(), script.port(), revision=5, control="ctl2")
    running.say(revision=5, whole=True, control="ctl2")
    running.say(script.port(address="10.1.1.30"), revision=6)
    assert running.core.inputs().revision == 6
    running.core.control_lost("ctl1")
    assert running.core.inputs().ports[0].addresses == (parse_ipv4("10.1.1.30"),)
    running.say(script.port(address="10.1.1.31"), revision=7, control="ctl2")
    assert running.core.inputs().ports[0].addresses == (parse_ipv4("10.1.1.31"),)


def test_a_fresh_control_is_not_believed_before_it_told_everything(running, script):
    running.connect("ctl2")
    running.say(script.network(revision=9), revision=9, control="ctl2")
    running.core.control_lost("ctl1")
    assert len(running.core.inputs().ports) == 1


def test_a_store_that_went_back_in_time_ends_memories_of_its_future(running, script):
    running.connect("ctl2")
    running.say(script.network(), script.port(), revision=5, control="ctl2")
    running.say(revision=5, whole=True, control="ctl2")
    running.core.control_lost("ctl1")
    running.say(script.port(address="10.1.1.30"), revision=2, control="ctl2")
    assert running.core.inputs().revision == 2
    assert running.core.inputs().ports[0].addresses == (parse_ipv4("10.1.1.30"),)


def test_refusals_are_shown_until_served(running, script):
    refused = ConfigRefused(
        "virtual-router", "default-global-system-config:host1", "no virtual-router has this name"
    )
    running.say(refused, revision=5)
    assert [(one.object, one.text) for one in running.core.problems()] == [
        (
            "virtual-router default-global-system-config:host1",
            "refused by ctl1: no virtual-router has this name",
        )
    ]


def test_a_control_that_never_syncs_is_refused(talk, script, monkeypatch):
    monkeypatch.setattr("filament.agent.view.MAX_PENDING_STANZAS", 3)
    talk.connect()
    talk.say(script.network(), script.network(), script.network())
    with pytest.raises(ProtocolError, match="3 stanzas came without a sync"):
        talk.core.receive("ctl1", script.network())


def test_a_changed_vrf_number_subscribes_again(running, script):
    running.vrf_ids[script.vrf("red")] = 7
    assert without_origin(running.apply()) == [
        InstanceUnsubscribed(script.vrf("red")),
        InstanceSubscribed(script.vrf("red"), 7),
        published(script),
    ]


def test_an_agent_without_ports_answers_the_barrier():
    core = AgentCore("host1", 1)
    core.control_connected("ctl1")
    core.receive("ctl1", Sync(1, 12))
    core.applied(core.inputs(), {}, {})
    assert core.take_outbox() == [("ctl1", ROUTER), ("ctl1", EndOfRib()), ("ctl1", Synced(1, 12))]


def test_the_hosts_row_comes_from_the_virtual_router_that_was_received(running):
    assert running.core.inputs().host.origin == NOWHERE
    name = "default-global-system-config:host1"
    running.say(ConfigSent(nodes=(Node("virtual-router", name, {}, 4),), links=()), revision=6)
    assert running.core.inputs().host.origin == Origin(f"virtual-router {name}", "host", 4)


@pytest.mark.parametrize(
    ("of_any", "of_port", "limit"),
    [(0, 0, 0), (100, 0, 100), (0, 70, 70), (100, 70, 70), (100, 200, 100)],
)
def test_the_lower_limit_of_flows_counts(talk, script, of_any, of_port, limit):
    talk = type(talk)(AgentCore("host1", script.host, ["ctl1"], flow_limit=of_any))
    talk.core.plug(script.plug())
    talk.core.device_found(script.device())
    talk.connect()
    properties = {"virtual_machine_interface_properties": {"max_flows": of_port}}
    talk.say(script.network(), script.port(**properties), revision=5)
    assert [port.flow_limit for port in talk.core.inputs().ports] == [limit]


def test_half_a_batch_of_a_session_that_ended_never_happened(running, script):
    running.core.receive("ctl1", script.port(address="10.1.1.30"))
    running.core.control_connected("ctl1")  # again, before the loss was noticed
    running.core.take_outbox()
    running.say(revision=6)
    assert running.core.inputs().ports[0].addresses == (parse_ipv4("10.1.1.3"),)
