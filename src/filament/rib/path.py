"""Routes as the RIB holds them: paths, and what came of choosing among them."""

from __future__ import annotations

import msgspec

from filament.base.net import RouteDistinguisher
from filament.base.origin import NOWHERE, Origin
from filament.rib.peer import PeerKind
from filament.wire.bgp.attributes import AsPath
from filament.wire.bgp.communities import LLGR_STALE

_TYPED = frozenset({"bgp.evpn.0", "bgp.ermvpn.0"})  # tables whose keys begin with type and size
KNOWN_ENCAPSULATIONS = frozenset({"udp", "gre", "vxlan", "mpls", "native"})


class Path(msgspec.Struct, frozen=True):
    """One way to a key: published by an agent in the instance `source`, or learnt by BGP.

    `instance_id` is the agent's own number for that instance; with its next hop it makes the route
    distinguisher. `network` is the fq name of the network the destination is in. A `stale` path
    is of a peer that is away and expected back. With `vxlan` among the encapsulations `label` is
    a VNI in EVPN routes; `vni` is that of a prefix. `l3_label` is an EVPN type 2's second label,
    `mac` the port's, or the router's of a type 5. `med` 0 is one to be derived from the
    preference; `load_balance` None means all five fields.

    A path learnt by BGP has a `vpn_key`, the NLRI key it has in the table `source` (TF's name,
    `bgp.l3vpn.0`), and `targets`, its route targets as communities.
    """

    peer: str
    source: str
    next_hop: int
    label: int
    network: str = ""
    encapsulations: tuple[str, ...] = ("udp",)
    mac: int = 0
    local_preference: int = 200
    sequence: int = 0
    sub_protocol: str = "interface"
    instance_id: int = 0
    origin: Origin = NOWHERE
    stale: bool = False
    med: int = 0
    is_sticky: bool = False
    security_groups: tuple[int, ...] = ()
    tags: tuple[int, ...] = ()
    communities: tuple[int, ...] = ()
    load_balance: tuple[str, ...] | None = None
    vni: int = 0
    l3_label: int = 0
    kind: PeerKind = PeerKind.AGENT
    vpn_key: bytes = b""
    targets: frozenset[bytes] = frozenset()
    as_path: AsPath = ()
    origin_code: int = 0
    origin_network: int = 0
    router_id: int = 0
    problem: str = ""

    @property
    def distinguisher(self) -> RouteDistinguisher:
        """The route distinguisher: the agent's address and its number, or what BGP said."""
        if not self.vpn_key:
            return RouteDistinguisher.of_address(self.next_hop, self.instance_id)
        start = 2 if self.source in _TYPED else 1
        return RouteDistinguisher.decode(self.vpn_key[start : start + 8])

    @property
    def place(self) -> tuple[str, str, bytes]:
        """What tells it from other paths to the same key of an instance."""
        return self.source, self.peer, self.vpn_key

    @property
    def is_llgr_stale(self) -> bool:
        """Whether its peer has been away for long (RFC 9494)."""
        return LLGR_STALE in self.communities

    def forwards_as(self, other: Path) -> bool:
        """Say whether a listener could not tell the two apart."""
        return (
            self == other
            or msgspec.structs.replace(self, stale=other.stale, instance_id=other.instance_id)
            == other
        )


class Selection(msgspec.Struct, frozen=True):
    """The chosen paths to a key, the best first: those after it are of equal cost."""

    paths: tuple[Path, ...]

    @property
    def best(self) -> Path:
        """The path whose attributes stand for the route."""
        return self.paths[0]

    def forwards_as(self, other: Selection) -> bool:
        """Say whether a listener could not tell the two apart."""
        return len(self.paths) == len(other.paths) and all(
            ours.forwards_as(theirs) for ours, theirs in zip(self.paths, other.paths, strict=True)
        )
