"""Peers that lie, break the rules, flood or vanish; and a bystander that must notice nothing."""

import contextlib
import struct
import time

import pytest

from filament.base.errors import TransientError
from filament.base.net import format_ipv4
from filament.testing.lab import processes
from filament.testing.lab.intent import Intent
from filament.testing.lab.lab import CONTROL_NAME, Lab
from filament.testing.lab.plan import CONTROL_NAMESPACE
from filament.testing.peers import speaker as bgp
from filament.testing.peers.capture import Capture
from filament.testing.peers.exabgp import ExaBgp
from filament.testing.peers.frr import configure
from filament.testing.peers.gobgp import GoBgp
from filament.testing.peers.route import PeerRoute
from filament.testing.peers.settings import Neighbour, PeerSettings, Vrf
from filament.testing.peers.speaker import RawSpeaker

from .logs import shown

pytestmark = pytest.mark.interop

ASN = 64512
VPN = ("inet-vpn", "inet6-vpn", "e-vpn")
OPEN_ERROR, UPDATE_ERROR, HEADER_ERROR, CEASE = 2, 3, 1, 6


class World:
    """API and control node, a reflector; GoBGP the bystander; ExaBGP; raw speakers.

    A peer that fails often is held back for a while, so every test has raw peers of its own: names
    and addresses nobody has used, in one namespace.
    """

    def __init__(self, run, stack):
        self.raw_count = 0
        self.lab = Lab.build(run, host_count=1)
        stack.callback(self.lab.close)
        for program in self.lab.programs():
            if program.name in ("api", "control"):
                processes.spawn(self.lab.directories.pids, program)
        self.lab.wait_for("api")
        self.intent: Intent = self.lab.intent
        self.control = format_ipv4(self.lab.plan.control_address)
        names = ("gobgp", "exabgp", "raw")
        self.routers = {name: self.lab.add_router(name) for name in names}
        self.address = {name: format_ipv4(each.address) for name, each in self.routers.items()}
        self.gobgp = self.adapter(GoBgp, "gobgp", ASN)
        self.exabgp = self.adapter(ExaBgp, "exabgp", ASN)
        for peer in (self.gobgp, self.exabgp):
            stack.callback(peer.stop)
            peer.spawn()
        self.intent.create_bgp_router(
            CONTROL_NAME,
            self.lab.plan.control_address,
            ASN,
            ("route-target", *VPN, "erm-vpn"),
            router_type="control-node",
            cluster_id=1,
        )
        for name in ("gobgp", "exabgp"):
            families = (*VPN, "route-target") if name == "gobgp" else VPN
            self.intent.create_bgp_router(name, self.routers[name].address, ASN, families)
        self.lab.wait_for("control")
        for peer in (self.gobgp, self.exabgp):
            peer.wait_for(peer.is_ready, "takes commands")
            peer.wait_established()

    def adapter(self, kind, name, asn):
        families = (*VPN, "route-target") if name == "gobgp" else VPN
        neighbour = Neighbour(address=self.control, asn=ASN, families=families, hold_time_s=9)
        settings = PeerSettings(
            name=name,
            address=self.address[name],
            asn=asn,
            neighbours=(neighbour,),
            # What a bystander asks for: the routes of these tests.
            vrfs=(Vrf(name="all", rd="9:9", targets=(f"target:{ASN}:9",)),),
        )
        directory = self.lab.directories.run / name
        directory.mkdir()
        return kind(settings, self.lab.place(name), directory)

    def new_address(self):
        """Another address of the raw speakers' namespace."""
        self.raw_count += 1
        number = self.lab.plan.control_address + 90 + self.raw_count
        configure(self.lab.place("raw"), [f"addr add {format_ipv4(number)}/24 dev eth0"])
        return number


class RawPeer:
    """A peer Filament knows, that we speak for byte by byte."""

    def __init__(self, world, **parameters):
        self.world = world
        number = world.new_address()
        self.address = format_ipv4(number)
        self.name = f"raw-{self.address}"
        world.intent.create_bgp_router(self.name, number, ASN, VPN, wait="control", **parameters)

    def speaker(self, **options):
        place = self.world.lab.place("raw")
        return RawSpeaker(place, self.address, self.world.control, **{"asn": ASN, **options})

    def established(self, **options):
        raw = self.speaker(**options)
        raw.connect()
        try:
            return raw.establish()
        except BaseException:
            raw.close()
            raise

    def vpn_update(self, prefix, *attributes, base=None, label=77):
        nlri = bgp.vpn_nlri(label, bgp.rd(self.address, 9), prefix)
        if base is None:
            base = bgp.base_attributes(bgp.target(ASN, 9), bgp.encapsulation(13))
        hop = bgp.vpn_next_hop(self.address)
        return bgp.update(base + b"".join(attributes) + bgp.reach(bgp.INET_VPN, hop, nlri))


@pytest.fixture(scope="module")
def world(run_directory):
    with shown(run_directory), contextlib.ExitStack() as stack:
        yield World(run_directory, stack)


@pytest.fixture(autouse=True)
def bystander(request):
    """GoBGP's session lives through every test, with a hold time of 9 s."""
    world = request.getfixturevalue("world")
    before = world.gobgp.flaps()
    yield
    assert set(world.gobgp.sessions().values()) == {"established"}
    assert world.gobgp.flaps() == before


@pytest.fixture
def peer(world):
    made = RawPeer(world)
    yield made
    world.intent.delete_bgp_router(made.name)


@pytest.fixture
def other(world):
    made = RawPeer(world)
    yield made
    world.intent.delete_bgp_router(made.name)


# opening -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lie", "expected"),
    [
        ({"version": 3}, (OPEN_ERROR, 1)),
        ({"asn": 65001}, (OPEN_ERROR, 2)),
        ({"hold_time_s": 1}, (OPEN_ERROR, 6)),
        ({"hold_time_s": 2}, (OPEN_ERROR, 6)),
    ],
)
def test_a_bad_open_is_answered_by_what_is_wrong_with_it(peer, lie, expected):
    with peer.speaker() as raw:
        raw.send(raw.open_message(**lie))
        assert raw.notification() == expected


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"\0" * 16 + struct.pack("!HB", 19, 4), (HEADER_ERROR, 1)),
        (bgp.MARKER + struct.pack("!HB", 18, 4), (HEADER_ERROR, 2)),
        (bgp.MARKER + struct.pack("!HB", 4097, 2), (HEADER_ERROR, 2)),
        (bgp.MARKER + struct.pack("!HB", 20, 4) + b"\0", (HEADER_ERROR, 2)),
        (bgp.MARKER + struct.pack("!HB", 19, 99), (HEADER_ERROR, 3)),
    ],
)
def test_a_broken_header_ends_the_session(peer, octets, expected):
    with peer.established() as raw:
        raw.send(octets)
        assert raw.notification() == expected


def test_an_update_before_the_session_is_up_is_an_fsm_error(peer):
    with peer.speaker() as raw:
        raw.send(raw.open_message())
        raw.wait(bgp.OPEN)
        raw.send(peer.vpn_update("10.50.0.0/24"))
        assert raw.notification()[0] == 5


def test_a_stranger_gets_no_session(world):
    address = format_ipv4(world.new_address())
    with RawSpeaker(world.lab.place("raw"), address, world.control, asn=ASN) as raw:
        with contextlib.suppress(OSError):
            raw.send(raw.open_message())
        heard = []
        with contextlib.suppress(EOFError, OSError, TimeoutError):
            while True:
                heard.append(raw.read(3.0).kind)
        assert bgp.OPEN not in heard


def test_a_peer_without_the_password_is_not_heard(world):
    """TCP MD5: the kernel drops what is not signed by the key, so the other side hears nothing."""
    key = {"key_type": "md5", "key_items": [{"key_id": 0, "key": "of-the-test"}]}
    peer = RawPeer(world, auth_data=key)
    try:
        for password in ("", "another"):
            with pytest.raises(OSError), peer.speaker(password=password, patience_s=0.5) as raw:
                raw.send(raw.open_message())
        peer.established(password="of-the-test").close()
    finally:
        world.intent.delete_bgp_router(peer.name)


def test_exabgp_with_the_wrong_as_is_told_so(world):
    """The same by somebody else's hand: a whole daemon that believes it is in AS 65009."""
    world.exabgp.stop()
    honest = world.exabgp.settings
    liar = ExaBgp(
        PeerSettings(
            name="exabgp", address=honest.address, asn=65009, neighbours=honest.neighbours
        ),
        world.exabgp.place,
        world.exabgp.directory,
    )
    with liar:
        found = liar.wait_for(liar.notifications, "hears a notification")
        assert found[0] == (OPEN_ERROR, 2)
    world.exabgp.start()
    world.exabgp.wait_established()


# updating ------------------------------------------------------------------------------------

GOOD = bgp.attribute(0x40, 1, b"\0") + bgp.attribute(0x40, 2, b"")
PREFERENCE = bgp.attribute(0x40, 5, struct.pack("!I", 100))
TARGETS = bgp.attribute(0xC0, 16, bgp.target(ASN, 9))


@pytest.mark.parametrize(
    "base",
    [
        bgp.attribute(0x40, 1, b"\x07") + bgp.attribute(0x40, 2, b"") + PREFERENCE + TARGETS,
        bgp.attribute(0x40, 1, b"\0\0") + bgp.attribute(0x40, 2, b"") + PREFERENCE + TARGETS,
        bgp.attribute(0x40, 1, b"\0") + bgp.attribute(0x40, 2, b"\x02\x09") + PREFERENCE + TARGETS,
        GOOD + bgp.attribute(0x40, 5, b"\0\0\0") + TARGETS,
        GOOD + PREFERENCE + bgp.attribute(0xC0, 16, b"\0" * 7),
        GOOD + PREFERENCE + TARGETS + bgp.attribute(0xC0, 8, b"\0" * 5),
        bgp.attribute(0x40, 2, b"") + PREFERENCE + TARGETS,  # no ORIGIN
        GOOD + PREFERENCE + TARGETS + bgp.attribute(0x80, 9, b"\0"),
        GOOD + PREFERENCE + TARGETS + bgp.attribute(0x80, 10, b"\0"),
    ],
    ids=[
        "origin-7",
        "origin-of-2-octets",
        "as-path-overrun",
        "local-pref-of-3-octets",
        "extended-communities-of-7",
        "communities-of-5",
        "no-origin",
        "originator-of-1",
        "cluster-list-of-1",
    ],
)
def test_a_malformed_update_takes_its_routes_away_and_nothing_else(world, peer, base):
    """RFC 7606: treat-as-withdraw. The session goes on, other routes stay."""
    with peer.established() as raw:
        raw.send(peer.vpn_update("10.51.0.0/24"))
        raw.send(peer.vpn_update("10.52.0.0/24"))
        for prefix in ("10.51.0.0/24", "10.52.0.0/24"):
            world.gobgp.wait_received("inet-vpn", prefix=prefix)
        raw.send(peer.vpn_update("10.51.0.0/24", base=base))
        world.gobgp.wait_gone("inet-vpn", prefix="10.51.0.0/24")
        assert world.gobgp.find("inet-vpn", prefix="10.52.0.0/24")
        raw.send(peer.vpn_update("10.51.0.0/24"))
        world.gobgp.wait_received("inet-vpn", prefix="10.51.0.0/24")
    world.gobgp.wait_gone("inet-vpn", prefix="10.52.0.0/24")


@pytest.mark.parametrize(
    "octets",
    [
        bgp.message(bgp.UPDATE, b"\0\x09\0\0"),
        bgp.message(bgp.UPDATE, b"\0\0\0\x09"),
        bgp.update(GOOD + PREFERENCE + bgp.attribute(0x80, 14, b"\0\x01")),
        bgp.update(GOOD + PREFERENCE + bgp.attribute(0x80, 14, b"\0\x01\x80\xff\0")),
    ],
    ids=["withdrawn-overrun", "attributes-overrun", "mp-reach-of-2", "next-hop-overrun"],
)
def test_what_cannot_be_understood_at_all_ends_the_session(peer, octets):
    with peer.established() as raw:
        raw.send(octets)
        assert raw.notification()[0] == UPDATE_ERROR


def test_a_family_that_was_not_agreed_on_is_left_out(world, peer):
    with peer.established(families=(bgp.INET_VPN,)) as raw:
        hop = bytes([10, 0, 0, 1])
        raw.send(bgp.update(GOOD + PREFERENCE + bgp.reach(bgp.EVPN, hop, b"\x03\x02\0\0")))
        raw.send(peer.vpn_update("10.53.0.0/24"))
        world.gobgp.wait_received("inet-vpn", prefix="10.53.0.0/24")
    world.gobgp.wait_gone("inet-vpn", prefix="10.53.0.0/24")


# passing on ----------------------------------------------------------------------------------


def reflected(raw, code):
    """Attributes by code of the first update that has the attribute."""
    while True:
        body = raw.wait(bgp.UPDATE)
        found = {each.code: each for each in bgp.split_attributes(body)}
        if code in found:
            return found


def test_a_reflector_passes_on_what_it_does_not_know(peer, other):
    """Unknown optional transitive attributes, and EVPN routes of types nobody has written up."""
    secret = bytes(range(40))
    with peer.established() as left, other.established() as right:
        right.updates_until_quiet()
        nlri = bytes([42, len(secret)]) + secret
        hop = bytes(map(int, peer.address.split(".")))
        unknown = bgp.attribute(0xC0, 99, b"who knows")
        local = bgp.attribute(0x80, 98, b"between us")
        base = bgp.base_attributes(bgp.target(ASN, 9))
        left.send(bgp.update(base + unknown + local + bgp.reach(bgp.EVPN, hop, nlri)))
        found = reflected(right, 99)
        assert found[99].value == b"who knows"
        assert found[99].flags & 0xC0 == 0xC0
        assert found[99].flags & 0x20  # partial: RFC 4271 section 5
        assert 98 not in found
        assert found[14].value.endswith(nlri)
        assert hop in found[14].value
        assert found[16].value == bgp.target(ASN, 9)
        left.send(bgp.update(bgp.unreach(bgp.EVPN, nlri)))
        assert reflected(right, 15)[15].value.endswith(nlri)


def test_exabgps_unknown_attribute_arrives_as_it_was(world, other):
    """From a daemon, through Filament, to a speaker that shows the bytes."""
    with other.established() as right:
        right.updates_until_quiet()
        route = PeerRoute(
            family="inet-vpn",
            prefix="10.54.0.0/24",
            rd="1:54",
            label=54,
            targets=frozenset({f"target:{ASN}:9"}),
            others=frozenset({"0x8071fc0000000005"}),
            raw_attributes=frozenset({"0x63 0xc0 0xdeadbeef"}),
        )
        world.exabgp.announce(route)
        found = reflected(right, 0x63)
        assert found[0x63].value == bytes.fromhex("deadbeef")
        assert bytes.fromhex("8071fc0000000005") in found[16].value
        heard = world.gobgp.wait_received("inet-vpn", prefix=route.prefix)
        assert heard.others == route.others
        world.exabgp.withdraw(route)
        world.gobgp.wait_gone("inet-vpn", prefix=route.prefix)


# floods --------------------------------------------------------------------------------------


def test_half_open_connections_keep_nobody_waiting(world, peer, other):
    """Three hundred connections that say nothing, from a peer and from a stranger.

    Each would be waited for 240 s.
    """
    stranger = format_ipv4(world.new_address())
    held = []
    try:
        for address in (peer.address, stranger) * 150:
            raw = RawSpeaker(world.lab.place("raw"), address, world.control, asn=ASN)
            with contextlib.suppress(OSError):
                raw.connect(0.0)
                held.append(raw)
        assert len(held) > 100
        began = time.monotonic()
        other.established().close()
        assert time.monotonic() - began < 20.0
    finally:
        for raw in held:
            raw.close()


def test_a_flapping_peer_is_held_back_and_disturbs_nobody(world, peer, other):
    held = 0
    for _ in range(20):
        try:
            with peer.speaker() as raw:
                raw.establish()
                raw.send(peer.vpn_update("10.55.0.0/24"))
        except (OSError, EOFError, TransientError):
            held += 1
    assert held, "twenty flaps, and let in every time"
    other.established().close()
    world.gobgp.wait_gone("inet-vpn", prefix="10.55.0.0/24")


def test_every_peers_routes_are_bounded(world, peer):
    """A peer over its prefix limit is let go with Cease 1, and its routes with it."""
    world.intent.peer(
        peer.name,
        [CONTROL_NAME],
        family_attributes=[{"address_family": "inet-vpn", "prefix_limit": {"maximum": 100}}],
    )
    with peer.established() as raw:
        for number in range(101):
            raw.send(peer.vpn_update(f"10.56.{number}.0/24"))
        assert raw.notification() == (CEASE, 1)
    world.gobgp.wait_gone("inet-vpn", prefix="10.56.0.0/24")


def test_captures_decode_where_they_should(world, peer):
    """What Filament sends is clean even while others are not."""
    path = world.lab.directories.run / "clean.pcap"
    with Capture(world.lab.place(CONTROL_NAMESPACE), "eth0", path) as capture:
        with peer.established() as raw:
            raw.send(peer.vpn_update("10.57.0.0/24"))
            world.gobgp.wait_received("inet-vpn", prefix="10.57.0.0/24")
        world.gobgp.wait_gone("inet-vpn", prefix="10.57.0.0/24")
    capture.require_clean()


MILLION = 1_000_000
PER_UPDATE = 250


def million_updates(peer):
    """UPDATEs that announce a million VPN routes, and one, with a target nobody asked for."""
    head = bgp.base_attributes(bgp.target(ASN, 1), bgp.encapsulation(13))
    hop = bgp.vpn_next_hop(peer.address)
    rd = bgp.rd(peer.address, 10)
    prefix = bytes([88 + 32]) + (77 << 4 | 1).to_bytes(3) + rd
    for first in range(0, MILLION, PER_UPDATE):
        addresses = range(0x0A000000 + first, 0x0A000000 + first + PER_UPDATE)
        nlri = b"".join([prefix + address.to_bytes(4) for address in addresses])
        yield bgp.update(head + bgp.reach(bgp.INET_VPN, hop, nlri))
    yield bgp.update(head + bgp.reach(bgp.INET_VPN, hop, prefix + b"\x0b\0\0\0"))


def test_a_million_routes_are_taken_and_one_more_is_not(world, peer):
    """The limit of a peer without a limit. The bystander's hold time of 9 s does not run out."""
    world.exabgp.stop()  # it would be sent them all, and is not what is tested
    messages = list(million_updates(peer))
    began = time.monotonic()
    with peer.established() as raw:
        raw.settle(240.0)
        for message in messages:
            raw.send(message)
        assert raw.notification(240.0) == (CEASE, 1)
    print(f"a million routes in {time.monotonic() - began:.1f} s")
    with peer.established() as raw:  # it may come back, with fewer
        raw.send(peer.vpn_update("10.58.0.0/24"))
        world.gobgp.wait_received("inet-vpn", prefix="10.58.0.0/24")
    world.exabgp.start()
    world.exabgp.wait_established()
