"""What a peer is to be, before it is written in any daemon's language."""

from __future__ import annotations

import msgspec

from filament.testing.peers.route import Family


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """A session a peer wants. `is_client` makes the peer reflect to it (RFC 4456).

    `restart_time_s` is the graceful restart the peer offers; 0 offers none of its own.
    `long_lived_time_s` is for how long after that it would have its routes kept (RFC 9494).
    """

    address: str
    asn: int
    families: tuple[Family, ...]
    password: str = ""
    hold_time_s: int = 90
    is_passive: bool = False
    is_client: bool = False
    restart_time_s: int = 0
    long_lived_time_s: int = 0


class Vrf(msgspec.Struct, frozen=True, kw_only=True):
    """A VRF of a peer: MPLS label it hands out, layer-3 VNI and router MAC where it has EVPN."""

    name: str
    rd: str
    targets: tuple[str, ...]
    label: int = 0
    vni: int = 0
    router_mac: str = ""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A layer-2 segment of a peer: a VNI with hosts behind it."""

    vni: int
    rd: str
    targets: tuple[str, ...]


class PeerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A peer: who it is, whom it talks to, what it holds.

    `encapsulations` are put on every VPN route it announces that names none itself.
    """

    name: str
    address: str
    asn: int
    neighbours: tuple[Neighbour, ...]
    vrfs: tuple[Vrf, ...] = ()
    segments: tuple[Segment, ...] = ()
    encapsulations: tuple[str, ...] = ()
    cluster_id: str = ""
