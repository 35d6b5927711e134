"""Peers among themselves: what one says another hears, through our adapters. No Filament here.

Were an adapter to lie, tests of Filament against it would prove nothing.
"""

import contextlib
import itertools

import pytest

from filament.base.net import format_ipv4
from filament.testing.lab import namespaces
from filament.testing.lab.lab import Lab
from filament.testing.peers.capture import Capture
from filament.testing.peers.exabgp import ExaBgp
from filament.testing.peers.frr import Frr
from filament.testing.peers.gobgp import GoBgp
from filament.testing.peers.route import PeerRoute
from filament.testing.peers.router import Router, give_addresses, hang_host
from filament.testing.peers.settings import Neighbour, PeerSettings, Segment, Vrf
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.message import Framer, Kind, decode_open
from filament.wire.bgp.nlri import join
from filament.wire.bgp.update import UpdateDecoder, encode_updates

from .logs import shown
from .packets import ping

pytestmark = pytest.mark.interop

VPN = ("inet-vpn", "inet6-vpn")
FRR_MAC, GO_MAC = "02:00:00:00:0f:06", "02:00:00:00:0f:07"
RED, BLUE, LAN = "target:64512:5", "target:64512:6", "target:64512:4000"
PASSWORD = "of-the-test"


class World:
    """GoBGP and FRR in AS 64512, ExaBGP in AS 65001, everybody with everybody."""

    ASNS = {"gobgp": 64512, "frr": 64512, "exabgp": 65001}

    def __init__(self, lab):
        self.lab = lab
        self.address = {name: format_ipv4(lab.add_router(name).address) for name in self.ASNS}
        frr, go = self.address["frr"], self.address["gobgp"]
        self.frr = self.adapter(
            Frr,
            "frr",
            vrfs=(
                Vrf(name="red", rd=f"{frr}:5", targets=(RED,), label=105),
                Vrf(name="blue", rd=f"{frr}:6", targets=(BLUE,), vni=6000, router_mac=FRR_MAC),
            ),
            segments=(Segment(vni=4000, rd=f"{frr}:4000", targets=(LAN,)),),
        )
        self.gobgp = self.adapter(
            GoBgp,
            "gobgp",
            vrfs=(
                Vrf(name="red", rd=f"{go}:5", targets=(RED,), label=205),
                Vrf(name="blue", rd=f"{go}:6", targets=(BLUE,), vni=6000),
            ),
            segments=(Segment(vni=4000, rd=f"{go}:4000", targets=(LAN,)),),
        )
        self.exabgp = self.adapter(ExaBgp, "exabgp")
        self.all = {"gobgp": self.gobgp, "frr": self.frr, "exabgp": self.exabgp}

    def adapter(self, kind, name, **more):
        neighbours = tuple(
            Neighbour(
                address=self.address[other],
                asn=self.ASNS[other],
                families=("inet-vpn", "inet6-vpn", "e-vpn"),
                password=PASSWORD if "exabgp" not in (name, other) else "",
                is_passive=name == "gobgp",
            )
            for other in self.ASNS
            if other != name
        )
        settings = PeerSettings(
            name=name,
            address=self.address[name],
            asn=self.ASNS[name],
            neighbours=neighbours,
            **more,
        )
        directory = self.lab.directories.run / name
        directory.mkdir()
        return kind(settings, self.lab.place(name), directory)

    def start(self, stack):
        for peer in self.all.values():
            stack.callback(peer.stop)
            peer.spawn()
        for peer in self.all.values():
            peer.wait_for(peer.is_ready, "takes commands")
        for peer in self.all.values():
            peer.wait_established()


@pytest.fixture(scope="module")
def world(run_directory):
    lab = Lab.build(run_directory, host_count=1)
    with shown(run_directory), contextlib.ExitStack() as stack:
        world = World(lab)
        world.captures = [
            stack.enter_context(Capture(lab.place(name), "eth0", run_directory / f"{name}.pcap"))
            for name in ("gobgp", "frr")
        ]
        world.start(stack)
        yield world


def route_of(world, speaker, family, **more):
    """A route that `speaker` can announce, with everything a listener should see of it."""
    address = world.address[speaker]
    fields = {
        ("inet-vpn", 0): {"prefix": "10.9.0.0/24", "rd": f"{address}:5", "targets": {RED}},
        ("inet6-vpn", 0): {"prefix": "fd00:9::/64", "rd": f"{address}:5", "targets": {RED}},
        ("e-vpn", 2): {
            "mac": "02:00:00:00:00:11",
            "prefix": "10.1.0.9/32",
            "rd": f"{address}:4000",
            "targets": {LAN},
            "label": 4000,
            "encapsulations": {"vxlan"},
        },
        ("e-vpn", 5): {
            "prefix": "10.8.0.0/24",
            "rd": f"{address}:6",
            "targets": {BLUE},
            "label": 6000,
            "encapsulations": {"vxlan"},
            "router_mac": {"frr": FRR_MAC, "gobgp": GO_MAC}.get(speaker),
        },
    }[family, more.get("evpn_type", 0)]
    if family != "e-vpn":
        fields["label"] = {"gobgp": 205, "frr": 105, "exabgp": 305}[speaker]
    for name in ("targets", "encapsulations"):
        if name in fields:
            fields[name] = frozenset(fields[name])
    return PeerRoute(family=family, **fields, **more)


CASES = [
    *((name, family, {}) for name in ("gobgp", "frr", "exabgp") for family in VPN),
    *((name, "e-vpn", {"evpn_type": kind}) for name in ("gobgp", "frr") for kind in (2, 5)),
]


@pytest.mark.parametrize(("speaker", "family", "more"), CASES)
def test_what_one_announces_others_hear_and_forget(world, speaker, family, more):
    route = route_of(world, speaker, family, **more)
    world.all[speaker].announce(route)
    fields = {
        name: getattr(route, name)
        for name in ("prefix", "rd", "evpn_type", "mac", "label", "targets", "router_mac")
    }
    if route.encapsulations:
        fields["encapsulations"] = route.encapsulations
    own_asn = world.ASNS[speaker]
    for name, listener in world.all.items():
        if name == speaker:
            continue
        is_internal = world.ASNS[name] == own_asn
        heard = listener.wait_received(family, **fields, next_hop=world.address[speaker])
        assert heard.as_path == (() if is_internal else (own_asn,))
        if is_internal:
            assert heard.local_pref == 100
    world.all[speaker].withdraw(route)
    for name, listener in world.all.items():
        if name != speaker:
            listener.wait_gone(family, **fields)


def test_inclusive_multicast_is_heard(world):
    """FRR announces type 3 by itself; GoBGP is told to."""
    go = world.address["gobgp"]
    vxlan = frozenset({"vxlan"})
    route = PeerRoute(
        family="e-vpn",
        evpn_type=3,
        rd=f"{go}:4000",
        prefix=f"{go}/32",
        label=4000,
        targets=frozenset({LAN}),
        encapsulations=vxlan,
    )
    world.gobgp.announce(route)
    for listener, speaker in (("frr", "gobgp"), ("exabgp", "gobgp"), ("gobgp", "frr")):
        heard = world.all[listener].wait_received(
            "e-vpn", evpn_type=3, rd=f"{world.address[speaker]}:4000"
        )
        assert heard.prefix == f"{world.address[speaker]}/32"
        assert (heard.label, heard.targets) == (4000, frozenset({LAN}))
        assert heard.encapsulations == vxlan
    world.gobgp.withdraw(route)
    world.frr.wait_gone("e-vpn", evpn_type=3, rd=f"{go}:4000")


def test_exabgp_says_what_nobody_knows(world):
    route = PeerRoute(
        family="inet-vpn",
        prefix="10.7.0.0/24",
        rd="65001:7",
        label=7,
        targets=frozenset({"target:65001:7"}),
        encapsulations=frozenset({"udp"}),
        others=frozenset({"0x8071fde900000005"}),
        raw_attributes=frozenset({"0x63 0xc0 0xdeadbeef"}),
    )
    world.exabgp.announce(route)
    heard = world.gobgp.wait_received("inet-vpn", prefix="10.7.0.0/24")
    assert heard.others == route.others
    assert heard.encapsulations == route.encapsulations
    world.exabgp.withdraw(route)
    world.gobgp.wait_gone("inet-vpn", prefix="10.7.0.0/24")


def test_packets_by_evpn_between_frr_and_the_stand_in(world):
    """EVPN type 5: FRR's kernel on one side, ours on the other."""
    frr, go = world.frr, world.gobgp
    blue = go.settings.vrfs[1]
    router = Router(go, vrfs=(blue,), mac=GO_MAC)
    router.make_vrfs()
    outside = router.add_outside("blue", "10.21.0.1/24", "10.21.0.9/24")
    router.start()
    frr_host = world.lab.directories.run / "frr-blue-host"
    namespaces.create_namespace(frr_host)
    hang_host(frr.vrf_place("blue"), frr_host)
    give_addresses(frr.vrf_place("blue"), frr_host, "10.20.0.1/24", "10.20.0.9/24")
    try:
        assert not ping(outside, "10.20.0.9")
        go.announce(
            PeerRoute(
                family="e-vpn",
                evpn_type=5,
                prefix="10.21.0.0/24",
                rd=blue.rd,
                label=6000,
                targets=frozenset({BLUE}),
                encapsulations=frozenset({"vxlan"}),
                router_mac=GO_MAC,
            )
        )
        go.wait_received("e-vpn", evpn_type=5, prefix="10.20.0.0/24", router_mac=FRR_MAC)
        frr.wait_received("e-vpn", evpn_type=5, prefix="10.21.0.0/24", router_mac=GO_MAC)
        router.follow()
        assert ping(outside, "10.20.0.9")
        assert ping(frr_host, "10.21.0.9")
        assert router.refresh_counts()["vxlan in"] >= 6
    finally:
        router.stop()


def test_packets_by_mpls_between_two_stand_ins(world):
    """VPN routes in both versions: MPLS over GRE, for want of a word, between two of ours."""
    frr, go = world.frr, world.gobgp
    sides = {}
    for peer, number in ((frr, 30), (go, 31)):
        red = peer.settings.vrfs[0]
        router = Router(peer, vrfs=(red,))
        router.make_vrfs()
        host = router.add_outside("red", f"10.{number}.0.1/24", f"10.{number}.0.9/24")
        router.add_addresses("red", f"fd00:{number}::1/64", f"fd00:{number}::9/64")
        router.start()
        sides[peer] = (router, host)
    try:
        for family, prefix in (("inet-vpn", "10.31.0.0/24"), ("inet6-vpn", "fd00:31::/64")):
            red = go.settings.vrfs[0]
            route = PeerRoute(
                family=family, prefix=prefix, rd=red.rd, label=red.label, targets={RED}
            )
            go.announce(route)
            frr.wait_received(family, prefix=prefix)
            go.wait_received(family, prefix=prefix.replace("31", "30"))
        for router, _ in sides.values():
            router.follow()
        assert ping(sides[frr][1], "10.31.0.9")
        assert ping(sides[go][1], "fd00:30::9")
        assert sides[go][0].refresh_counts()["gre in"] >= 6
        sides[go][0].program([])
        assert not ping(sides[go][1], "fd00:30::9")
        assert sides[go][0].refresh_counts()["no route"] >= 3
    finally:
        for router, _ in sides.values():
            router.stop()


def test_our_codec_reads_all_that_daemons_say(world):
    """And says it again in bytes that mean the same."""
    for capture in world.captures:
        capture.stop()
    updates = opens = 0
    kinds = set()
    for octets in itertools.chain.from_iterable(each.streams() for each in world.captures):
        for kind, body in Framer().feed(octets):
            if kind is Kind.OPEN:
                opens += 1
                decode_open(body)
            if kind is not Kind.UPDATE:
                continue
            updates += 1
            update = UpdateDecoder(frozenset(AddressFamily)).decode(body)
            assert not update.faults, body.hex()
            for family, attributes, routes, _ in update.announced:
                kinds |= {
                    (family, key[0] if family is AddressFamily.E_VPN else 0) for key, _ in routes
                }
                wire = [join(family, key, label) for key, label in routes]
                (again,) = encode_updates(family, attributes, wire)
                assert UpdateDecoder(frozenset(AddressFamily)).decode(again[19:]) == update
    assert opens >= 4
    assert updates > 50
    assert {(AddressFamily.INET_VPN, 0), (AddressFamily.INET6_VPN, 0)} < kinds
    assert {(AddressFamily.E_VPN, kind) for kind in (2, 3, 5)} < kinds


def test_everything_decodes(world):
    for capture in world.captures:
        assert capture.count("vxlan") > 10
        assert capture.count("mpls", "gre") > 10
        capture.require_clean()
