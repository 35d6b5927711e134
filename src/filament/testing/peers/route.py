"""A route as a peer tells of it, whichever daemon that is."""

from __future__ import annotations

import ipaddress
from typing import Literal, get_args

import msgspec

Family = Literal["inet", "inet6", "inet-vpn", "inet6-vpn", "e-vpn", "route-target"]
FAMILIES: tuple[Family, ...] = get_args(Family)

# RFC 9012 and IANA's registry of tunnel types -> the names of TF's configuration.
ENCAPSULATION_NAMES = {2: "gre", 8: "vxlan", 9: "nvgre", 10: "mpls", 11: "mpls-o-gre", 13: "udp"}
ENCAPSULATION_NUMBERS = {name: number for number, name in ENCAPSULATION_NAMES.items()}


class PeerRoute(msgspec.Struct, frozen=True, kw_only=True):
    """One path of one route, in text as people write it.

    `prefix` is address/length; of an EVPN type 2 route the host's address or "", of a type 3 route
    the originator, of a route-target route `ASN:target:A:B`. `label` is the MPLS label, of an EVPN
    route the whole 24-bit field (a VNI; of type 3 the field of its PMSI attribute). `targets` are
    `target:A:B`, `encapsulations` TF's names, `others` every other extended community in hex,
    `raw_attributes` (`0xCODE 0xFLAGS 0xVALUE`) what the daemon does not understand and shows.
    """

    family: Family
    prefix: str = ""
    rd: str = ""
    evpn_type: int = 0
    mac: str = ""
    tag: int = 0
    label: int | None = None
    targets: frozenset[str] = frozenset()
    encapsulations: frozenset[str] = frozenset()
    router_mac: str = ""
    others: frozenset[str] = frozenset()
    next_hop: str = ""
    local_pref: int | None = None
    med: int | None = None
    as_path: tuple[int, ...] = ()
    originator_id: str = ""
    cluster_list: tuple[str, ...] = ()
    communities: frozenset[str] = frozenset()
    raw_attributes: frozenset[str] = frozenset()
    is_stale: bool = False

    @property
    def key(self) -> tuple[str, str, int, str, str]:
        """What makes it this route and not another."""
        return (self.family, self.rd, self.evpn_type, self.mac, self.prefix)


class Communities(msgspec.Struct, frozen=True, kw_only=True):
    """Extended communities sorted by what a `PeerRoute` says of them."""

    targets: frozenset[str] = frozenset()
    encapsulations: frozenset[str] = frozenset()
    router_mac: str = ""
    others: frozenset[str] = frozenset()


def sort_communities(values: list[bytes]) -> Communities:
    """Read extended communities, 8 bytes each (RFC 4360, RFC 5668, RFC 9012, RFC 9135)."""
    targets, encapsulations, others, router_mac = set(), set(), set(), ""
    for value in values:
        if value[0] in (0, 1, 2) and value[1] == 2:
            targets.add(format_target(value))
        elif value[:2] == b"\x03\x0c":
            number = int.from_bytes(value[6:])
            encapsulations.add(ENCAPSULATION_NAMES.get(number, str(number)))
        elif value[:2] == b"\x06\x03":
            router_mac = format_mac(value[2:])
        else:
            others.add(f"0x{value.hex()}")
    return Communities(
        targets=frozenset(targets),
        encapsulations=frozenset(encapsulations),
        router_mac=router_mac,
        others=frozenset(others),
    )


def format_target(value: bytes) -> str:
    """Write a route target of 8 bytes as `target:A:B`."""
    if value[0] == 0:
        return f"target:{int.from_bytes(value[2:4])}:{int.from_bytes(value[4:])}"
    if value[0] == 1:
        return f"target:{ipaddress.IPv4Address(value[2:6])}:{int.from_bytes(value[6:])}"
    return f"target:{int.from_bytes(value[2:6])}:{int.from_bytes(value[6:])}"


def format_mac(value: bytes) -> str:
    """Write 6 bytes with colons."""
    return value.hex(":")


def bare(target: str) -> str:
    """The target without the word, as daemons want it."""
    return target.removeprefix("target:")


def normal_prefix(text: str) -> str:
    """Write an address or a prefix as address/length in its shortest form."""
    return str(ipaddress.ip_interface(text).network) if text else ""


def normal_address(text: str) -> str:
    """Write an address in its shortest form, an IPv4-mapped IPv6 address as IPv4."""
    if not text:
        return ""
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
