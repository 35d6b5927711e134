"""Claims of addresses that one of several ports holds at a time, by the programs and the model."""

from __future__ import annotations

import time

import msgspec
import pytest

from filament.base.net import MPLS_OVER_UDP_PORT, ROUTER_MAC, Prefix
from filament.forward.holders import claim_name
from filament.forward.ids import Ids
from filament.forward.inputs import AddressPair, Host, Inputs, Port, Standby, Subnet, Vrf
from filament.forward.layout import DropReason, Verdict
from filament.forward.plan import plan
from filament.wire.packet.arp import REPLY
from filament.wire.packet.frames import (
    arp_request_frame,
    gratuitous_arp_frame,
    ipv4_frame,
    ipv6_frame,
    solicitation_frame,
    udp6_packet,
    udp_packet,
    unsolicited_advertisement_frame,
)
from filament.wire.packet.mpls import LabelEntry, encode_label

from .twin import HOST, NEAR, NEAR_MAC, UNDERLAY_MAC, Twin
from .universe import ADDRESSES, ADDRESSES6, MACS, OTHER_MAC, RED, STRANGER_MAC, UUIDS, route

pytestmark = pytest.mark.bpf

GATEWAY, OWN, FAR = ADDRESSES[0], ADDRESSES[2], ADDRESSES[5]
GATEWAY6, OWN6, FAR6 = ADDRESSES6[0], ADDRESSES6[2], ADDRESSES6[5]
SHARED, SHARED6 = ADDRESSES[9], ADDRESSES6[9]
LINK_LOCAL6 = ADDRESSES6[19]
PLACE, PLACE6 = Prefix.host(SHARED), Prefix.host(SHARED6, 6)
PORTS = (40000, 53)


class Room:
    """Port 0 of red stands by for an address that another host holds."""

    def __init__(self, pair: Twin) -> None:
        pair.reset()
        self.pair = pair
        self.ids = Ids()
        self.port = Port(
            uuid=UUIDS[0],
            name="red 0",
            device="p0",
            ifindex=pair.ports[0],
            is_veth=True,
            mac=MACS[0],
            addresses=(OWN,),
            addresses6=(OWN6,),
            vrf=RED,
            network=RED,
            acl=None,
            pairs=(
                AddressPair(PLACE, is_standby=True),
                AddressPair(PLACE, OTHER_MAC, is_standby=True),
                AddressPair(PLACE6, is_standby=True),
            ),
            standbys=(Standby(PLACE, 100, 1), Standby(PLACE6, 100, 1)),
        )
        self.write()

    def write(self) -> None:
        held = [(f"{prefix}", 31) for prefix in (PLACE, PLACE6)]
        routes = [
            msgspec.structs.replace(route(RED, text, NEAR, label, RED), preference=200, sequence=7)
            for text, label in held
        ]
        routes += [route(RED, f"{Prefix.host(FAR)}", NEAR, 30, RED)]
        routes += [route(RED, f"{Prefix.host(FAR6, 6)}", NEAR, 30, RED)]
        subnets = (
            Subnet(RED, RED, Prefix.parse("10.1.1.0/24"), GATEWAY),
            Subnet(RED, RED, Prefix.parse("2001:db8:1::/64"), GATEWAY6),
        )
        inputs = Inputs(
            Host("h", HOST),
            1,
            (self.port,),
            subnets,
            tuple(routes),
            vrfs=(Vrf(RED, RED),),
        )
        self.pair.write(plan(inputs, self.ids))

    def send(self, frame: bytes):
        """Send a frame from the port; returns what became of it, and what it claimed."""
        self.pair.maps.clear("claims")
        self.pair.model.claims.clear()
        before_ns = time.monotonic_ns()
        seen = self.pair.from_port(self.pair.ports[0], frame)
        after_ns = time.monotonic_ns()
        self.pair.compare_state()
        names = {number: name for name, number in self.ids.numbers("claim").items()}
        found = self.pair.maps.read_all("claims")
        assert all(before_ns <= claimed_ns <= after_ns for (claimed_ns,) in found.values())
        return seen, [names[number] for (number,) in found]


@pytest.fixture
def room(pair):
    return Room(pair)


CLAIM, CLAIM6 = ([claim_name(UUIDS[0], prefix)] for prefix in (PLACE, PLACE6))
ARP_UNANSWERED = (Verdict.SHOT, DropReason.ARP_UNANSWERED)


@pytest.mark.parametrize("mac", [MACS[0], OTHER_MAC])
@pytest.mark.parametrize("operation", [1, REPLY])
def test_gratuitous_arp_claims_and_is_not_answered(room, mac, operation):
    seen, claimed = room.send(gratuitous_arp_frame(mac, SHARED, operation=operation))
    assert (seen.verdict, seen.reason) == ARP_UNANSWERED
    assert claimed == CLAIM


def test_a_request_from_the_address_claims_and_is_answered(room):
    seen, claimed = room.send(arp_request_frame(MACS[0], SHARED, GATEWAY))
    assert (seen.verdict, claimed) == (Verdict.REDIRECT, CLAIM)


def test_nobody_claims_what_it_may_not_send_from(room):
    for frame in (
        gratuitous_arp_frame(STRANGER_MAC, SHARED),
        gratuitous_arp_frame(MACS[0], FAR),
        gratuitous_arp_frame(MACS[0], OWN),
        unsolicited_advertisement_frame(STRANGER_MAC, LINK_LOCAL6, SHARED6),
        unsolicited_advertisement_frame(MACS[0], FAR6, SHARED6),
        unsolicited_advertisement_frame(MACS[0], LINK_LOCAL6, FAR6),
    ):
        seen, claimed = room.send(frame)
        assert (seen.verdict, claimed) == (Verdict.SHOT, [])


def test_one_who_asks_before_taking_the_address_is_told_of_no_conflict_and_claims_nothing(room):
    """The holder may just have died: a standby takes the address as if nobody had it."""
    for frame in (
        arp_request_frame(MACS[0], 0, SHARED),
        solicitation_frame(MACS[0], 0, SHARED6),
    ):
        seen, claimed = room.send(frame)
        assert ((seen.verdict, seen.reason), claimed) == (ARP_UNANSWERED, [])
    # Of other addresses it is, and a standby that speaks to the holder finds it.
    for frame in (
        arp_request_frame(MACS[0], 0, FAR),
        solicitation_frame(MACS[0], 0, FAR6),
        arp_request_frame(MACS[0], OWN, SHARED),
        solicitation_frame(MACS[0], OWN6, SHARED6),
    ):
        seen, claimed = room.send(frame)
        assert (seen.verdict, claimed) == (Verdict.REDIRECT, [])


@pytest.mark.parametrize("source", [SHARED6, LINK_LOCAL6, OWN6])
def test_an_advertisement_claims_what_it_is_about(room, source):
    seen, claimed = room.send(unsolicited_advertisement_frame(MACS[0], source, SHARED6))
    assert (seen.verdict, seen.reason) == (Verdict.SHOT, DropReason.NOT_UNICAST)
    assert claimed == CLAIM6


def test_a_solicitation_from_the_address_claims(room):
    seen, claimed = room.send(solicitation_frame(MACS[0], SHARED6, GATEWAY6))
    assert (seen.verdict, claimed) == (Verdict.REDIRECT, CLAIM6)


def test_an_advertisement_that_was_forwarded_or_cut_claims_nothing(room):
    whole = unsolicited_advertisement_frame(MACS[0], SHARED6, SHARED6)
    for broken in (whole[:21] + b"\x40" + whole[22:], whole[:55] + b"\x01" + whole[56:]):
        _, claimed = room.send(broken)
        assert claimed == []


@pytest.mark.parametrize(
    ("frame", "claim"),
    [
        (ipv4_frame(MACS[0], ROUTER_MAC, udp_packet(SHARED, FAR, PORTS)), CLAIM),
        (ipv6_frame(MACS[0], ROUTER_MAC, udp6_packet(SHARED6, FAR6, PORTS)), CLAIM6),
    ],
)
def test_the_first_packet_of_a_flow_claims_and_those_that_follow_do_not(room, frame, claim):
    seen, claimed = room.send(frame)
    assert (seen.verdict, claimed) == (Verdict.REDIRECT, claim)
    seen, claimed = room.send(frame)
    assert (seen.verdict, claimed) == (Verdict.REDIRECT, [])


def test_a_port_without_policy_claims_by_arp_only(room):
    room.port = msgspec.structs.replace(room.port, has_policy=False)
    room.write()
    _, claimed = room.send(ipv4_frame(MACS[0], ROUTER_MAC, udp_packet(SHARED, FAR, PORTS)))
    assert claimed == []
    _, claimed = room.send(gratuitous_arp_frame(MACS[0], SHARED))
    assert claimed == CLAIM


def test_an_allocated_address_may_be_such_a_one(room):
    own = Prefix.host(OWN)
    room.port = msgspec.structs.replace(room.port, standbys=(Standby(own, 100, 1),))
    room.write()
    seen, claimed = room.send(gratuitous_arp_frame(MACS[0], OWN))
    assert ((seen.verdict, seen.reason), claimed) == (
        ARP_UNANSWERED,
        [claim_name(UUIDS[0], own)],
    )


def test_answers_to_who_speaks_to_the_address_are_no_claim(room):
    """Whoever spoke first was led to a holder; an answer says nothing new."""
    inner = encode_label(LabelEntry(room.ids.numbers("label")[UUIDS[0]]))
    inner += udp_packet(FAR, SHARED, PORTS)
    outer = udp_packet(NEAR, HOST, (50000, MPLS_OVER_UDP_PORT), inner)
    seen = room.pair.from_fabric(ipv4_frame(NEAR_MAC, UNDERLAY_MAC, outer))
    assert seen.verdict == Verdict.REDIRECT
    _, claimed = room.send(
        ipv4_frame(MACS[0], ROUTER_MAC, udp_packet(SHARED, FAR, (PORTS[1], PORTS[0])))
    )
    assert claimed == []


def test_only_claims_that_are_new_are_read(room):
    """The agent looks often: what it has seen must cost it nothing more."""
    known = {}
    room.send(gratuitous_arp_frame(MACS[0], SHARED))
    assert len(room.pair.maps.read_changed("claims", known)) == 1
    assert room.pair.maps.read_changed("claims", known) == {}
    room.pair.from_port(room.pair.ports[0], gratuitous_arp_frame(MACS[0], SHARED))
    room.pair.from_port(
        room.pair.ports[0], unsolicited_advertisement_frame(MACS[0], SHARED6, SHARED6)
    )
    assert len(room.pair.maps.read_changed("claims", known)) == 2
