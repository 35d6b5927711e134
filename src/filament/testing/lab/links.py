"""Links, addresses and routes of a lab, over netlink; the only pyroute2 user of the lab.

Every function names the namespace it works in by path (see `namespaces`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pyroute2 import IPRoute

from filament.base.net import format_ipv4, format_mac
from filament.testing.lab import namespaces


class End(NamedTuple):
    """One end of a veth pair: where it goes and what it is called; `mac` None lets the kernel
    choose.
    """

    namespace: Path
    device: str
    mac: int | None = None


@contextlib.contextmanager
def netlink(namespace: Path) -> Iterator[IPRoute]:
    """Open a netlink socket that speaks to a namespace."""
    with namespaces.inside(namespace):
        route = IPRoute()
    try:
        yield route
    finally:
        route.close()


def _index(route: IPRoute, device: str) -> int:
    found = route.link_lookup(ifname=device)
    if not found:
        raise FileNotFoundError(f"no device {device} in the namespace")
    return int(found[0])


def _write_sysctl(namespace: Path, name: str, value: str) -> None:
    with namespaces.inside(namespace):
        Path("/proc/sys/net", name).write_text(value)


def prepare_namespace(namespace: Path) -> None:
    """Bring up the loopback and switch IPv6 off: its chatter would be counted as drops."""
    for scope in ("default", "all"):
        _write_sysctl(namespace, f"ipv6/conf/{scope}/disable_ipv6", "1")
    with netlink(namespace) as route:
        route.link("set", index=1, state="up")


def add_veth(left: End, right: End, *, mtu_bytes: int) -> None:
    """Create a veth pair between two namespaces, both ends up."""
    with contextlib.ExitStack() as stack:
        handle = os.open(right.namespace, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, handle)
        peer = {"ifname": right.device, "mtu": mtu_bytes, "net_ns_fd": handle}
        here = {"ifname": left.device, "mtu": mtu_bytes}
        for end, attributes in ((left, here), (right, peer)):
            if end.mac is not None:
                attributes["address"] = format_mac(end.mac)
        route = stack.enter_context(netlink(left.namespace))
        route.link("add", kind="veth", peer=peer, **here)
        route.link("set", index=_index(route, left.device), state="up")
    with netlink(right.namespace) as route:
        route.link("set", index=_index(route, right.device), state="up")


def add_bridge(namespace: Path, device: str, *, mtu_bytes: int) -> None:
    """Create a bridge, up."""
    with netlink(namespace) as route:
        route.link("add", ifname=device, kind="bridge", mtu=mtu_bytes)
        route.link("set", index=_index(route, device), state="up")


def join_bridge(namespace: Path, bridge: str, device: str) -> None:
    """Make a device a port of a bridge."""
    with netlink(namespace) as route:
        route.link("set", index=_index(route, device), master=_index(route, bridge))


def add_vxlan(
    namespace: Path, device: str, *, vni: int, local: int, remote: int, mtu_bytes: int
) -> None:
    """Create a point-to-point kernel VXLAN device, up: the yardstick of the benches."""
    with netlink(namespace) as route:
        route.link(
            "add",
            ifname=device,
            kind="vxlan",
            vxlan_id=vni,
            vxlan_local=format_ipv4(local),
            vxlan_group=format_ipv4(remote),
            vxlan_port=4789,
            mtu=mtu_bytes,
        )
        route.link("set", index=_index(route, device), state="up")


def add_address(namespace: Path, device: str, address: int, length: int) -> None:
    """Give a device an address with its connected route."""
    with netlink(namespace) as route:
        route.addr(
            "add", index=_index(route, device), address=format_ipv4(address), prefixlen=length
        )


def add_default_route(namespace: Path, gateway: int) -> None:
    """Send everything else to `gateway`, which must be on a connected network."""
    with netlink(namespace) as route:
        route.route("add", dst="default", gateway=format_ipv4(gateway))


def add_neighbour(namespace: Path, device: str, address: int, mac: int) -> None:
    """Add a permanent neighbour: measurements must not wait for ARP retries."""
    with netlink(namespace) as route:
        route.neigh(
            "replace",
            ifindex=_index(route, device),
            dst=format_ipv4(address),
            lladdr=format_mac(mac),
            state=0x80,
        )


def remove_device(namespace: Path, device: str) -> None:
    """Delete a device and its peer; nothing happens when it is not there."""
    with netlink(namespace) as route:
        for index in route.link_lookup(ifname=device):
            route.link("del", index=index)


def device_names(namespace: Path) -> list[str]:
    """Names of all devices in a namespace."""
    with netlink(namespace) as route:
        return [str(link.get_attr("IFLA_IFNAME")) for link in route.get_links()]
