"""FRR's two configurations, written from `PeerSettings`: one per daemon, never one for both."""

from __future__ import annotations

from collections.abc import Iterable

from filament.testing.peers.route import Family, bare
from filament.testing.peers.settings import Neighbour, PeerSettings, Segment, Vrf

_FAMILIES: dict[Family, str] = {
    "inet": "ipv4 unicast",
    "inet6": "ipv6 unicast",
    "inet-vpn": "ipv4 vpn",
    "inet6-vpn": "ipv6 vpn",
    "e-vpn": "l2vpn evpn",
}


def zebra(settings: PeerSettings) -> str:
    """Return zebra.conf: which VRF has which layer-3 VNI."""
    lines = [f"hostname {settings.name}"]
    for vrf in settings.vrfs:
        if vrf.vni:
            lines += [f"vrf {vrf.name}", f" vni {vrf.vni}", "exit-vrf"]
    return "\n".join(lines) + "\n"


def bgpd(settings: PeerSettings) -> str:
    """Return bgpd.conf."""
    lines = [
        f"hostname {settings.name}",
        f"router bgp {settings.asn}",
        f" bgp router-id {settings.address}",
        " no bgp default ipv4-unicast",
        " no bgp ebgp-requires-policy",
        # Half a second between tries is right in a lab and nowhere else.
        " timers bgp 3 9" if _is_impatient(settings) else " timers bgp 30 90",
    ]
    if settings.cluster_id:
        lines.append(f" bgp cluster-id {settings.cluster_id}")
    if times := [peer.restart_time_s for peer in settings.neighbours if peer.restart_time_s]:
        lines += [" bgp graceful-restart", f" bgp graceful-restart restart-time {max(times)}"]
        # Else a helper forgets its routes once it is back: nothing says they are still forwarded.
        lines.append(" bgp graceful-restart preserve-fw-state")
    for neighbour in settings.neighbours:
        lines += _neighbour(neighbour, settings)
    for family, name in _FAMILIES.items():
        lines += _family(family, name, settings)
    lines.append("exit")
    for vrf in settings.vrfs:
        lines += _vrf(vrf, settings)
    return "\n".join(lines) + "\n"


def _is_impatient(settings: PeerSettings) -> bool:
    return all(neighbour.hold_time_s <= 9 for neighbour in settings.neighbours)


def _neighbour(neighbour: Neighbour, settings: PeerSettings) -> list[str]:
    name = f" neighbor {neighbour.address}"
    lines = [
        f"{name} remote-as {neighbour.asn}",
        f"{name} timers {max(1, neighbour.hold_time_s // 3)} {neighbour.hold_time_s}",
        f"{name} timers connect 1",
        f"{name} advertisement-interval 0",
        f"{name} update-source {settings.address}",
    ]
    if neighbour.password:
        lines.append(f"{name} password {neighbour.password}")
    if neighbour.is_passive:
        lines.append(f"{name} passive")
    if neighbour.asn != settings.asn:
        lines += [f"{name} ebgp-multihop 8", f"{name} disable-connected-check"]
    return lines


def _family(family: Family, name: str, settings: PeerSettings) -> list[str]:
    members = [peer for peer in settings.neighbours if family in peer.families]
    if not members:
        return []
    lines = [f" address-family {name}"]
    for peer in members:
        lines.append(f"  neighbor {peer.address} activate")
        if peer.is_client:
            lines.append(f"  neighbor {peer.address} route-reflector-client")
    if family == "e-vpn":
        lines.append("  advertise-all-vni")
        for segment in settings.segments:
            lines += _segment(segment)
    return [*lines, " exit-address-family"]


def _segment(segment: Segment) -> Iterable[str]:
    yield f"  vni {segment.vni}"
    yield f"   rd {segment.rd}"
    for target in segment.targets:
        yield f"   route-target both {bare(target)}"
    yield "  exit-vni"


def _vrf(vrf: Vrf, settings: PeerSettings) -> list[str]:
    families = {family for peer in settings.neighbours for family in peer.families}
    lines = [f"router bgp {settings.asn} vrf {vrf.name}", f" bgp router-id {settings.address}"]
    for vpn, name in (("inet-vpn", "ipv4 unicast"), ("inet6-vpn", "ipv6 unicast")):
        lines += [f" address-family {name}", "  redistribute kernel", "  redistribute connected"]
        if vpn in families:
            lines += [
                f"  label vpn export {vrf.label or 'auto'}",
                f"  rd vpn export {vrf.rd}",
                f"  rt vpn both {' '.join(map(bare, vrf.targets))}",
                "  export vpn",
                "  import vpn",
            ]
        lines.append(" exit-address-family")
    if vrf.vni and "e-vpn" in families:
        lines += [" address-family l2vpn evpn", f"  rd {vrf.rd}"]
        lines += [f"  route-target both {bare(target)}" for target in vrf.targets]
        lines += ["  advertise ipv4 unicast", "  advertise ipv6 unicast", " exit-address-family"]
    return [*lines, "exit"]
