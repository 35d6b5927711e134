"""What the data plane decides, as it happens: samples of the kernel's ring, with names, to whoever
listens.

A listener has a bounded queue: one that reads too slowly loses the oldest and is told how many. So
is what the kernel did not show, because a slice of time had its share or nobody emptied the ring.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from filament.agent.flows import FlowEnds, ends_record, values_of
from filament.agent.naming import Naming
from filament.agent.select import Wanted
from filament.base.errors import TransientError
from filament.base.limits import MAX_SAMPLES, MAX_VERDICT_STREAMS, MAX_VERDICTS_QUEUED
from filament.base.net import MPLS_OVER_UDP_PORT, VXLAN_PORT, Address, bits_of
from filament.dataplane.ring import Sample
from filament.forward.flows import key_of
from filament.forward.layout import SAMPLE_DROP, SAMPLE_FLOW, DropReason
from filament.forward.parse import Packet, parse_ip
from filament.forward.rows import Found
from filament.forward.tables import (
    FAT_SUBNET_BITS,
    ROUTES_BY_VERSION,
    VRF_BITS,
    Key,
    Row,
    fields_of,
)
from filament.forward.tunnel import ETHERTYPE_BY_VERSION, MPLS_END, VXLAN_END
from filament.runtime.clock import wall
from filament.wire.packet.ethernet import HEADER_BYTES as ETHERNET_BYTES

Json = dict[str, Any]
Read = Callable[[str, Key], tuple[int, ...] | None]
_REASONS = {reason.value: reason for reason in DropReason}
_VERSION_BY_ETHERTYPE = {ethertype: version for version, ethertype in ETHERTYPE_BY_VERSION.items()}
_OUTER_PORT = slice(ETHERNET_BYTES + 22, ETHERNET_BYTES + 24)
_INNER_OFFSETS = {MPLS_OVER_UDP_PORT: MPLS_END, VXLAN_PORT: VXLAN_END}
_KEEP_ALIVE_S = 15.0
_MOST_AT_ONCE = 500  # records in one write
_SAMPLINGS = fields_of("samplings")
_encode = msgspec.json.Encoder().encode_lines


class Losses(msgspec.Struct, frozen=True):
    """How many samples there were, by kind, since the maps were made: shown by the kernel, beyond
    what a slice of time may have, and with the ring full.
    """

    shown: int = 0
    skipped: int = 0
    lost: int = 0


class _Kernel(NamedTuple):
    """The kernel's rows, for looking up what a flow's key takes."""

    read: Read

    def find(self, name: str, key: Key) -> Row | None:
        values = self.read(name, key)
        return Row(values) if values is not None else None

    def find_route(self, vrf: int, address: int, version: int) -> Found | None:
        return self._longest(
            ROUTES_BY_VERSION[version], (VRF_BITS + bits_of(version), vrf, address)
        )

    def find_fat_subnet(self, scope: Key, address: int) -> Found | None:
        return self._longest("fat_subnets", (FAT_SUBNET_BITS + bits_of(6), *scope, address))

    def _longest(self, name: str, key: Key) -> Found | None:
        row = self.find(name, key)
        return Found(key, row) if row is not None else None


def losses(read: Read) -> dict[str, Losses]:
    """Ask the kernel how many samples it took and did not, by `drop` and `flow`."""
    found = {}
    for name, kind in (("drop", SAMPLE_DROP), ("flow", SAMPLE_FLOW)):
        row = read("samplings", (kind,)) or (0,) * len(_SAMPLINGS)
        value = dict(zip(_SAMPLINGS, row, strict=True))
        found[name] = Losses(value["shown"], value["skipped"], value["lost"])
    return found


def verdict_of(sample: Sample, naming: Naming, read: Read) -> Json:
    """Say whom a sampled packet was from and to, what became of it, and which rule said so.

    `source` and `destination` are the packet's. A packet that cannot be read has neither. `read`
    reads rows of the kernel's maps: the flow tells the rule.
    """
    reason = _REASONS.get(sample.reason, DropReason.NONE)
    sender = naming.vif_by_ifindex.get(sample.ifindex)
    is_from_port = sender is not None and sender == sample.vif
    record: Json = {
        "at": wall() - (time.monotonic_ns() - sample.at_ns) / 1e9,
        "verdict": "dropped" if sample.reason else "forwarded",
        "denied": bool(sample.reason),
        "reason": reason.name if sample.reason else "",
        "text": reason.text if sample.reason else "",
        "outbound": is_from_port,
        "bytes": sample.length,
        "protocol": -1,
        "tcp_flags": 0,
        "icmp": None,
        "rules": [],
    }
    packet = packet_of(sample.head, is_tunnelled=sender is None)
    if packet is None:
        nobody = FlowEnds(
            sample.vif, sample.vrf, Address(0, 4), Address(0, 4), 0, 0, is_inbound=not is_from_port
        )
        unread = {"source": "", "destination": ""}
        return {**record, **ends_record(nobody, naming), **unread}
    source, destination = (
        Address(value, packet.version) for value in (packet.source, packet.destination)
    )
    ports = packet.source_port, packet.destination_port
    ends = (source, destination, *ports)
    if not is_from_port:
        ends = (destination, source, *ports[::-1])
    record |= ends_record(
        FlowEnds(sample.vif, sample.vrf, *ends, is_inbound=not is_from_port), naming
    )
    record["protocol"] = packet.protocol
    record["tcp_flags"] = packet.tcp_flags
    record["icmp"] = [packet.icmp_type, packet.icmp_code] if packet.is_icmp else None
    port = naming.interface_by_vif.get(sample.vif)
    if port is not None and reason in _JUDGED:
        row = read("flows", key_of(packet, port, _Kernel(read), is_from_port=is_from_port))
        record["rules"] = naming.rules(values_of(row)) if row is not None else []
    return record


# What a rule of a list decides.
_JUDGED = frozenset(
    {
        DropReason.NONE,
        DropReason.POLICY_FROM_PORT,
        DropReason.POLICY_TO_PORT,
        DropReason.SECURITY_FROM_PORT,
        DropReason.SECURITY_TO_PORT,
        DropReason.FIREWALL_FROM_PORT,
        DropReason.FIREWALL_TO_PORT,
    }
)


def packet_of(head: bytes, *, is_tunnelled: bool) -> Packet | None:
    """Parse the beginning of a frame, of a port or (tunnelled) of the underlay; None when it is
    not IP, or too short.
    """
    if is_tunnelled:
        port = int.from_bytes(head[_OUTER_PORT], "big")
        offset = _INNER_OFFSETS.get(port)
        return parse_ip(head, offset, quoted=True) if offset is not None else None
    ethertype = int.from_bytes(head[ETHERNET_BYTES - 2 : ETHERNET_BYTES], "big")
    version = _VERSION_BY_ETHERTYPE.get(ethertype)
    return parse_ip(head, ETHERNET_BYTES, version, quoted=True) if version is not None else None


class _Listener:
    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.queue: deque[Json] = deque(maxlen=MAX_VERDICTS_QUEUED)
        self.news = asyncio.Event()
        self.missed = 0

    def hear(self, record: Json) -> None:
        self.missed += len(self.queue) == MAX_VERDICTS_QUEUED
        self.queue.append(record)
        self.news.set()


class Verdicts:
    """The last dropped packets, and everybody who listens. One per agent, of its loop."""

    def __init__(self, host: str, naming: Callable[[], Naming], read: Read) -> None:
        self._host = host
        self._naming = naming
        self._read = read
        self.drops: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._listeners: list[_Listener] = []
        self._known: Mapping[str, Losses] = {}
        self._is_closed = False

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    def losses(self) -> dict[str, Losses]:
        """What the kernel did not show, since the maps were made."""
        return losses(self._read)

    def take(self, samples: Iterable[Sample]) -> None:
        """Keep samples, and tell of them."""
        samples = [*samples]
        self.drops.extend(one for one in samples if one.reason)
        if not self._listeners:
            return
        naming = self._naming()
        for sample in samples:
            record = verdict_of(sample, naming, self._read)
            for listener in self._listeners:
                if listener.wanted.admits(record):
                    listener.hear(record)
        self._tell_losses()

    def _tell_losses(self) -> None:
        current = self.losses()
        lost = {
            name: one.skipped + one.lost - known.skipped - known.lost
            for name, one in current.items()
            if (known := self._known.get(name)) is not None
        }
        self._known = current
        if any(lost.values()):
            for listener in self._listeners:
                listener.hear({"verdict": "lost", **lost})

    def close(self) -> None:
        """End all streams."""
        self._is_closed = True
        for listener in self._listeners:
            listener.news.set()

    def listen(self, wanted: Wanted) -> AsyncIterator[bytes]:
        """Return a never-ending stream of JSON lines: what is wanted, from now on.

        The first line says that it began; empty ones that time passed. Raises TransientError when
        too many listen.
        """
        if len(self._listeners) >= MAX_VERDICT_STREAMS:
            raise TransientError(
                f"{MAX_VERDICT_STREAMS} listen to this agent's verdicts already; end one of them"
            )
        return self._stream(_Listener(wanted))

    async def _stream(self, listener: _Listener) -> AsyncIterator[bytes]:
        if not self._listeners:
            self._known = self.losses()
        self._listeners.append(listener)
        try:
            yield _encode([{"verdict": "listening", "host": self._host}])
            while not self._is_closed:
                try:
                    async with asyncio.timeout(_KEEP_ALIVE_S):
                        await listener.news.wait()
                except TimeoutError:
                    yield b"\n"
                    continue
                listener.news.clear()
                while listener.queue:
                    count = min(len(listener.queue), _MOST_AT_ONCE)
                    records = [listener.queue.popleft() for _ in range(count)]
                    if listener.missed:
                        records.append({"verdict": "lost", "unread": listener.missed})
                        listener.missed = 0
                    yield _encode([{"host": self._host, **one} for one in records])
        finally:
            self._listeners.remove(listener)
