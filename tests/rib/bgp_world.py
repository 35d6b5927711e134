"""BGP peers around a RIB, for tests: what each was sent, and what it should have been sent."""

from filament.base.net import Address, Prefix, RouteDistinguisher, RouteTarget
from filament.rib.adjout import OutKind
from filament.rib.peer import Peer, PeerKind, Speaker
from filament.rib.policy import OutPolicy
from filament.rib.rib import Rib
from filament.rib.rtc import CONSTRAINED, membership_key
from filament.wire.bgp.attributes import Attributes, Segment, SegmentKind
from filament.wire.bgp.communities import encode_encapsulation
from filament.wire.bgp.family import AddressFamily as AF
from filament.wire.bgp.nlri import Alike, join, split, split_in_bulk
from filament.wire.bgp.routes import MacRoute, PrefixRoute, encode_route

US = Speaker(asn=64512, identifier=0x0AFF0001, address=0x0AFF0001, cluster_id=0x0AFF0001)
FAMILIES = frozenset({AF.INET_VPN, AF.E_VPN})
WITH_TARGETS = FAMILIES | {AF.ROUTE_TARGET}
GRE, UDP, VXLAN = 2, 13, 8


def target(number):
    return RouteTarget(64512, number).encode()


def client(number, kind=PeerKind.CLIENT, asn=64512):
    return Peer(f"peer{number}", kind, asn, 0x0AFF0000 + number)


def attributes(*targets, hop=0x0AFF0009, encapsulation=UDP, **fields):
    extended = (*map(target, targets), encode_encapsulation(encapsulation))
    return Attributes(
        next_hop=Address(hop, 4),
        extended_communities=tuple(sorted(extended)),
        **({"local_preference": 100} | fields),
    )


def as_path(*ases):
    return (Segment(SegmentKind.SEQUENCE, ases),) if ases else ()


def vpn(text, label=17, rd="10.255.0.9:1"):
    route = PrefixRoute(Prefix.parse(text), RouteDistinguisher.parse(rd), label << 4 | 1)
    return encode_route(AF.INET_VPN, route)


def mac(number, vni=7, rd="10.255.0.9:1", address=None):
    route = MacRoute(RouteDistinguisher.parse(rd), 0, number, address, vni)
    return encode_route(AF.E_VPN, route)


def membership(number, asn=64512):
    return membership_key(asn, target(number)), b""


EVERYTHING = (b"\x00", b"")


def arriving(family, routes):
    """What the decoder makes of the NLRI that these routes come in: routes and field."""
    field = b"".join(join(family, *route) for route in routes)
    found = split_in_bulk(family, field)
    assert list(found) == list(routes)
    return found, field if isinstance(found, Alike) and len(found) > 1 else b""


class World:
    """One RIB and what its peers have heard: by family, key -> (attributes, label)."""

    def __init__(self, us=US):
        self.rib = Rib()
        self.rib.configure(us)
        self.bgp = self.rib.bgp
        self.heard = {}
        self.ended = {}
        self.messages = []
        self.now = 0.0

    def up(self, peer, families=FAMILIES, **options):
        self.heard[peer.name] = {family: {} for family in families}
        self.ended[peer.name] = set()
        self.bgp.peer_up(peer, families, self.now, **options)

    def down(self, name, keep=()):
        del self.heard[name], self.ended[name]
        self.bgp.peer_down(name, keep)

    def take(self, limit=10_000, can_write=lambda _: True):
        for batch in self.bgp.take(limit, can_write):
            self.messages.append(batch)
            for name in batch.members:
                self._hear(name, batch)

    def _hear(self, name, batch):
        heard = self.heard[name][batch.family]
        assert not (batch.kind is OutKind.ANNOUNCE) ^ isinstance(batch.attributes, Attributes)
        told = [each for routes in batch.routes for each in split(batch.family, routes)]
        assert len(told) == batch.route_count
        for key, label in told:
            if batch.kind is OutKind.ANNOUNCE:
                heard[key] = batch.attributes, label
            else:
                heard.pop(key, None)
        if batch.kind is OutKind.END_OF_RIB:
            self.ended[name].add(batch.family)

    def drain(self):
        """Take everything, then compare with what follows from the tables alone."""
        self.rib.take_changes()
        while self.bgp.has_work or self.rib.has_changes:
            self.take()
            self.rib.take_changes()
        self.rib.verify()
        for name in self.heard:
            for family in self.heard[name]:
                assert self.heard[name][family] == self.expected(name, family), (name, family)
        return self

    def expected(self, name, family):
        member = self.bgp.out.members[name]
        table = self.bgp.tables[family]
        if family not in member.ready:
            return {}
        peer = self.bgp.peers[name]
        policy = OutPolicy(
            self.bgp.us, peer.kind, peer.asn if peer.kind is PeerKind.EXTERNAL else 0,
            member.group.policy.has_llgr, peer.rules,
        )  # fmt: skip
        wanted = self.memberships(name)
        found = {}
        for key in table.routes:
            for bundle in table.paths(key):
                sent = policy.export(bundle)
                is_first = bundle is table.best(key)
                if family is AF.ROUTE_TARGET:
                    if bundle.peer.name == name or bundle.problem or isinstance(sent, str):
                        continue
                elif not is_first or bundle.peer.name == name or isinstance(sent, str):
                    break
                elif wanted is not None and family in CONSTRAINED:
                    targets = bundle.target_set.targets
                    if not any(self.asks(each, targets) for each in wanted):
                        break
                found[key] = sent, bundle.routes[key]
                break
        return found

    def memberships(self, name):
        if AF.ROUTE_TARGET not in self.heard[name]:
            return None
        table = self.bgp.tables[AF.ROUTE_TARGET]
        return [
            key for bundle in table.bundles_of(name) if not bundle.is_stale for key in bundle.routes
        ]

    @staticmethod
    def asks(key, targets):
        """RFC 4684 by the bit, written otherwise than the code under test."""
        bits = max(key[0] - 32, 0)
        if bits == 0:
            return True
        wanted = "".join(f"{octet:08b}" for octet in key[5:])[:bits]
        return any("".join(f"{octet:08b}" for octet in each).startswith(wanted) for each in targets)
