"""The forwarding half of a router: packets between tunnels of the underlay and its VRFs.

Run as `router_process.py DIRECTORY` with DIRECTORY/ports.json; imports nothing but the library.
A VRF is a TUN device in its own namespace, a layer-2 segment a TAP device. Tunnels are MPLS over
UDP (RFC 7510), MPLS over GRE (RFC 4023) and VXLAN (RFC 7348). The tables come whole, as one line
of JSON on the unix socket DIRECTORY/tables, and are answered by the packet counts.
"""

import contextlib
import ctypes
import fcntl
import ipaddress
import json
import os
import selectors
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_TUN, _TAP, _NO_INFORMATION = 1, 2, 0x1000
_MPLS_UDP, _VXLAN = 6635, 4789
_MPLS_PROTOCOL = 0x8847
_ETHERNET_OF = {4: b"\x08\x00", 6: b"\x86\xdd"}
_BATCH = 64


class Hop(NamedTuple):
    """Where a route leads: `mac` is the far router's, of VXLAN alone."""

    encapsulation: str
    remote: str
    number: int
    mac: bytes


def open_device(namespace: str, name: str, kind: int) -> int:
    """Make a TUN or TAP device in a namespace and bring it up; returns its file."""
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(Path("/proc/thread-self/ns/net").open("rb"))
        there = stack.enter_context(Path(namespace).open("rb"))
        if libc.setns(there.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
        try:
            handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(
                handle, _TUNSETIFF, struct.pack("16sH", name.encode(), kind | _NO_INFORMATION)
            )
        finally:
            libc.setns(home.fileno(), _CLONE_NEWNET)
    return handle


class Forwarder:
    """Devices, tunnel sockets, and the tables of the moment."""

    def __init__(self, ports: dict[str, Any]) -> None:
        self.counts: Counter[str] = Counter()
        self._mac = bytes.fromhex(ports["mac"].replace(":", ""))
        self._vrfs = {
            name: open_device(place, f"tun-{name}", _TUN) for name, place in ports["vrfs"].items()
        }
        self._segments = {
            int(vni): open_device(place, f"tap{vni}", _TAP)
            for vni, place in ports["segments"].items()
        }
        self._mpls = self._bound(socket.SOCK_DGRAM, 0, ports["address"], _MPLS_UDP)
        # FRR's own VXLAN devices hold the port where there are any.
        port = _VXLAN if ports["has_vxlan"] else 0
        self._vxlan = self._bound(socket.SOCK_DGRAM, 0, ports["address"], port)
        self._gre = self._bound(socket.SOCK_RAW, 47, ports["address"], 0)
        self.program({})

    @staticmethod
    def _bound(kind: int, protocol: int, address: str, port: int) -> socket.socket:
        made = socket.socket(socket.AF_INET, kind, protocol)
        made.setblocking(False)
        made.bind((address, port))
        return made

    def program(self, tables: dict[str, Any]) -> None:
        """Take new tables, whole."""
        self._vrf_by_label = {int(label): vrf for label, vrf in tables.get("labels", {}).items()}
        self._vrf_by_vni = {int(vni): vrf for vni, vrf in tables.get("vnis", {}).items()}
        self._routes: dict[str, list[tuple[Any, Hop]]] = {}
        for vrf, routes in tables.get("routes", {}).items():
            read = [
                (ipaddress.ip_network(prefix), Hop(kind, to, number, bytes.fromhex(mac)))
                for prefix, kind, to, number, mac in routes
            ]
            self._routes[vrf] = sorted(read, key=lambda route: -route[0].prefixlen)
        self._macs = {
            int(vni): {bytes.fromhex(mac): tuple(hop) for mac, hop in hops.items()}
            for vni, hops in tables.get("macs", {}).items()
        }
        self._floods = {
            int(vni): [tuple(hop) for hop in hops] for vni, hops in tables.get("floods", {}).items()
        }

    def readers(self) -> dict[int, Callable[[], None]]:
        """What to call when a file can be read."""
        found: dict[int, Callable[[], None]] = {
            self._mpls.fileno(): lambda: self._drain(self._mpls, self._from_mpls_udp),
            self._vxlan.fileno(): lambda: self._drain(self._vxlan, self._from_vxlan),
            self._gre.fileno(): lambda: self._drain(self._gre, self._from_gre),
        }
        for vrf, handle in self._vrfs.items():
            found[handle] = lambda vrf=vrf, handle=handle: self._read(  # type: ignore[misc]
                handle, lambda packet: self._from_vrf(vrf, packet)
            )
        for vni, handle in self._segments.items():
            found[handle] = lambda vni=vni, handle=handle: self._read(  # type: ignore[misc]
                handle, lambda frame: self._from_segment(vni, frame)
            )
        return found

    def _drain(self, source: socket.socket, take: Callable[[bytes], None]) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(_BATCH):
                take(source.recv(65535))

    def _read(self, handle: int, take: Callable[[bytes], None]) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(_BATCH):
                take(os.read(handle, 65535))

    # from the underlay -------------------------------------------------------------------

    def _from_mpls_udp(self, payload: bytes) -> None:
        self._from_mpls("udp", payload)

    def _from_gre(self, packet: bytes) -> None:
        header = (packet[0] & 15) * 4
        flags, protocol = struct.unpack_from("!HH", packet, header)
        if flags or protocol != _MPLS_PROTOCOL:
            self.counts["gre of another kind"] += 1
            return
        self._from_mpls("gre", packet[header + 4 :])

    def _from_mpls(self, name: str, payload: bytes) -> None:
        (entry,) = struct.unpack_from("!I", payload)
        vrf = self._vrf_by_label.get(entry >> 12)
        if vrf is None or not entry >> 8 & 1:
            self.counts[f"{name}: unknown label {entry >> 12}"] += 1
            return
        self.counts[f"{name} in"] += 1
        self._write(self._vrfs[vrf], payload[4:])

    def _from_vxlan(self, payload: bytes) -> None:
        flags, field = struct.unpack_from("!II", payload)
        vni, frame = field >> 8, payload[8:]
        if not flags & 0x08000000:
            self.counts["vxlan without a vni"] += 1
        elif vni in self._segments:
            self.counts["vxlan in"] += 1
            self._write(self._segments[vni], frame)
        elif vni in self._vrf_by_vni and frame[:6] == self._mac:
            self.counts["vxlan in"] += 1
            self._write(self._vrfs[self._vrf_by_vni[vni]], frame[14:])
        else:
            self.counts[f"vxlan: unknown vni {vni} or mac {frame[:6].hex(':')}"] += 1

    def _write(self, handle: int, packet: bytes) -> None:
        try:
            os.write(handle, packet)
        except OSError as error:
            self.counts[f"device: {error}"] += 1

    # to the underlay ---------------------------------------------------------------------

    def _from_vrf(self, vrf: str, packet: bytes) -> None:
        version = packet[0] >> 4
        target = ipaddress.ip_address(packet[16:20] if version == 4 else packet[24:40])
        for prefix, hop in self._routes.get(vrf, ()):
            if target in prefix:
                self._send(hop, packet, version)
                return
        self.counts["no route"] += 1

    def _send(self, hop: Hop, packet: bytes, version: int) -> None:
        self.counts[f"{hop.encapsulation} out"] += 1
        if hop.encapsulation == "vxlan":
            frame = hop.mac + self._mac + _ETHERNET_OF[version] + packet
            self._send_frame(hop.remote, hop.number, frame)
            return
        labelled = struct.pack("!I", hop.number << 12 | 1 << 8 | 64) + packet
        if hop.encapsulation == "gre":
            self._gre.sendto(struct.pack("!HH", 0, _MPLS_PROTOCOL) + labelled, (hop.remote, 0))
        else:
            self._mpls.sendto(labelled, (hop.remote, _MPLS_UDP))

    def _send_frame(self, remote: str, vni: int, frame: bytes) -> None:
        self._vxlan.sendto(struct.pack("!II", 0x08000000, vni << 8) + frame, (remote, _VXLAN))

    def _from_segment(self, vni: int, frame: bytes) -> None:
        hop = self._macs.get(vni, {}).get(frame[:6])
        hops = [hop] if hop else self._floods.get(vni, [])
        for remote, number in hops:
            self.counts["vxlan out"] += 1
            self._send_frame(remote, number, frame)


def main() -> None:
    """Forward until killed."""
    directory = Path(sys.argv[1])
    forwarder = Forwarder(json.loads((directory / "ports.json").read_text()))
    listener = socket.socket(socket.AF_UNIX)
    address = directory / "tables"
    address.unlink(missing_ok=True)
    listener.bind(str(address))
    listener.listen()
    poll = selectors.DefaultSelector()
    poll.register(listener, selectors.EVENT_READ, None)
    for handle, reader in forwarder.readers().items():
        poll.register(handle, selectors.EVENT_READ, reader)
    while True:
        for key, _ in poll.select():
            if key.data:
                key.data()
                continue
            client, _ = listener.accept()
            with client:
                line = client.makefile("rb").readline()
                if line.strip():
                    forwarder.program(json.loads(line))
                client.sendall(json.dumps(forwarder.counts).encode() + b"\n")


if __name__ == "__main__":
    main()
