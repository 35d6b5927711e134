"""What the properties of a virtual-machine-interface, and of its network for it, mean. Pure.

A part that is malformed is left out and reported: an address pair less, never one more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from msgspec import Struct

from filament.base.errors import InputError
from filament.base.limits import MAX_ADDRESS_PAIRS, MAX_FAT_FLOWS
from filament.base.net import Prefix, bits_of, mask_of, parse_address, parse_mac
from filament.forward.flows import ICMPS, MAX_REMOTE_LENGTHS
from filament.forward.inputs import AddressPair, FatFlow, Grouping
from filament.forward.parse import ICMP_BY_VERSION
from filament.wire.packet.ipv4 import ICMP, SCTP, TCP, UDP
from filament.wire.packet.ipv6 import ICMPV6

ACTIVE_ACTIVE, ACTIVE_STANDBY = "active-active", "active-standby"
_PAIRS = "virtual_machine_interface_allowed_address_pairs"
_MAX_FLOWS = (1 << 32) - 1
_MAX_PROTOCOL, _MAX_PORT = 255, 65535
_MIN_GROUPED = 8  # TF's: the least length of a prefix whose addresses are told apart by less
_PROTOCOLS = {"tcp": TCP, "udp": UDP, "sctp": SCTP, "icmp": ICMP, "icmp6": ICMPV6}
# Whether the port's own address is ignored, and the far one: TF's are those of packets it sends.
_IGNORED = {"none": (False, False), "source": (True, False), "destination": (False, True)}
ItemT = TypeVar("ItemT")


class _MacAddresses(Struct):
    mac_address: list[str] | str | None = None


class _Subnet(Struct):
    ip_prefix: str | None = None
    ip_prefix_len: int | None = None


class _Pair(Struct):
    ip: _Subnet | None = None
    mac: str | None = None
    address_mode: str | None = None


class _Pairs(Struct):
    allowed_address_pair: list[_Pair] | _Pair | None = None


class _Properties(Struct):
    max_flows: int | None = None


class _FatFlow(Struct):
    protocol: str | int | None = None
    port: int | None = None
    ignore_address: str | None = None
    source_prefix: _Subnet | None = None
    source_aggregate_prefix_length: int | None = None
    destination_prefix: _Subnet | None = None
    destination_aggregate_prefix_length: int | None = None


class FatFlows(Struct):
    """TF's FatFlowProtocols."""

    fat_flow_protocol: list[_FatFlow] | _FatFlow | None = None


class HashedFields(Struct):
    """TF's EcmpHashingIncludeFields: what of a packet chooses among ways of equal cost."""

    hashing_configured: bool | None = None
    source_ip: bool | None = None
    destination_ip: bool | None = None
    ip_protocol: bool | None = None
    source_port: bool | None = None
    destination_port: bool | None = None


class Interface(Struct):
    """The properties that mean something here, in TF's shapes."""

    uuid: str = ""
    virtual_machine_interface_mac_addresses: _MacAddresses | None = None
    virtual_machine_interface_disable_policy: bool | None = None
    virtual_machine_interface_allowed_address_pairs: _Pairs | None = None
    virtual_machine_interface_properties: _Properties | None = None
    virtual_machine_interface_fat_flow_protocols: FatFlows | None = None
    ecmp_hashing_include_fields: HashedFields | None = None
    port_security_enabled: bool | None = None

    @property
    def macs(self) -> list[str]:
        """Its MAC addresses, as text."""
        return listed((self.virtual_machine_interface_mac_addresses or _MacAddresses()).mac_address)

    @property
    def is_secured(self) -> bool:
        """Whether its security groups, addresses and MAC are enforced."""
        return self.port_security_enabled is not False

    @property
    def max_flows(self) -> int:
        """How many flows it may have; 0 leaves that to its network and its host."""
        return flow_limit((self.virtual_machine_interface_properties or _Properties()).max_flows)

    def pairs(self, faults: list[str]) -> tuple[AddressPair, ...]:
        """Return its allowed address pairs; what is wrong with others goes into `faults`."""
        wrapped = self.virtual_machine_interface_allowed_address_pairs or _Pairs()
        found: dict[AddressPair, None] = {}
        for index, one in enumerate(listed(wrapped.allowed_address_pair)):
            try:
                if len(found) == MAX_ADDRESS_PAIRS:
                    raise InputError("too-many", f"only {MAX_ADDRESS_PAIRS} pairs are allowed")
                found[_pair(one)] = None
            except InputError as error:
                faults.append(f"{_PAIRS}[{index}]: {error}; it is not allowed")
        return tuple(found)


def fat_flows(given: Sequence[FatFlows | None], faults: list[str]) -> tuple[FatFlow, ...]:
    """Return the fat flows of these settings, the first of the same protocol, port and prefixes
    counting; what is wrong with others goes into `faults`.
    """
    found: dict[tuple[object, ...], FatFlow] = {}
    for one in (one for wrapped in given if wrapped for one in listed(wrapped.fat_flow_protocol)):
        try:
            flow = _fat_flow(one)
            prefixes = (side and side.prefix for side in (flow.local, flow.remote))
            key = flow.protocol, flow.port, *prefixes
            if len(found) == MAX_FAT_FLOWS and key not in found:
                raise InputError("too-many", f"only {MAX_FAT_FLOWS} fat flows are possible")
            found.setdefault(key, flow)
        except InputError as error:
            faults.append(
                f"fat flow of protocol {one.protocol}, port {one.port}: {error}; its flows stay"
                " apart"
            )
    return tuple(found.values())


def _fat_flow(given: _FatFlow) -> FatFlow:
    text = str(given.protocol or "").lower()
    protocol = _PROTOCOLS.get(text, int(text) if text.isascii() and text.isdigit() else -1)
    if not 0 < protocol <= _MAX_PROTOCOL:
        raise InputError(
            "bad-fat-flow",
            f"protocol {text!r} is unknown",
            hint=f"write {', '.join(_PROTOCOLS)} or a number 1-{_MAX_PROTOCOL}",
        )
    port = given.port or 0
    if not 0 <= port <= _MAX_PORT:
        raise InputError("bad-fat-flow", f"its port is {port}", hint=f"write 0-{_MAX_PORT}")
    ignored = given.ignore_address or "none"
    if ignored not in _IGNORED:
        raise InputError(
            "bad-fat-flow",
            f"ignore_address is {ignored!r}",
            hint=f"write {', '.join(_IGNORED)}",
        )
    ignores_local, ignores_remote = _IGNORED[ignored]
    local = remote = None
    # An address that is ignored has no prefix either (TF).
    if not ignores_local:
        length = given.source_aggregate_prefix_length
        local = _grouping("source", given.source_prefix, length, {4: bits_of(4), 6: bits_of(6)})
    if not ignores_remote:
        length = given.destination_aggregate_prefix_length
        remote = _grouping("destination", given.destination_prefix, length, MAX_REMOTE_LENGTHS)
    versions = {side.prefix.version for side in (local, remote) if side is not None}
    if len(versions) > 1:
        raise InputError("bad-fat-flow", "its prefixes are of IPv4 and of IPv6")
    if protocol in ICMPS:
        port = 0
        protocol = ICMP_BY_VERSION[versions.pop()] if versions else protocol
    return FatFlow(protocol, port, ignores_local, ignores_remote, local, remote)


def _grouping(
    side: str, given: _Subnet | None, length: int | None, most_by_version: Mapping[int, int]
) -> Grouping | None:
    """Read a prefix and how much of addresses in it counts; None without one."""
    if given is None or not given.ip_prefix:
        return None
    prefix = _prefix(given)
    most = most_by_version[prefix.version]
    if not _MIN_GROUPED <= prefix.length <= most:
        raise InputError(
            "bad-fat-flow", f"{side}_prefix is {prefix}", hint=f"write /{_MIN_GROUPED} to /{most}"
        )
    if length is None or not prefix.length <= length <= most:
        raise InputError(
            "bad-fat-flow",
            f"{side}_aggregate_prefix_length is {length or 'missing'}",
            hint=f"write {prefix.length}-{most} for {prefix}",
        )
    return Grouping(prefix, length)


def load_balance(*given: HashedFields | None) -> tuple[str, ...] | None:
    """Return the fields, in the words of routes, that the first of these settings names that is
    configured; None for all five.
    """
    for one in given:
        if one is not None and one.hashing_configured:
            chosen = (
                ("l3-source-address", one.source_ip),
                ("l3-destination-address", one.destination_ip),
                ("l4-protocol", one.ip_protocol),
                ("l4-source-port", one.source_port),
                ("l4-destination-port", one.destination_port),
            )
            return tuple(field for field, is_chosen in chosen if is_chosen is not False)
    return None


def flow_limit(given: int | None) -> int:
    """Read a limit of flows: TF's -1 and 0 are none, as is more than there can be."""
    return given if given is not None and 0 < given <= _MAX_FLOWS else 0


def listed(value: list[ItemT] | ItemT | None) -> list[ItemT]:
    """TF's XML does not tell a list of one from its only member."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _prefix(subnet: _Subnet) -> Prefix:
    """Read a prefix: a whole address if it has no length."""
    address = parse_address(subnet.ip_prefix or "")
    bits = bits_of(address.version)
    length = bits if subnet.ip_prefix_len is None else subnet.ip_prefix_len
    if not 0 <= length <= bits:
        raise InputError(
            "bad-prefix", f"ip_prefix_len is {length}", hint=f"write 0-{bits} for {address}"
        )
    # An address with the length of its subnet is common, and means the subnet (TF).
    return Prefix(address.value & mask_of(length, address.version), length, address.version)


def _pair(given: _Pair) -> AddressPair:
    subnet = given.ip
    if subnet is None or not subnet.ip_prefix:
        raise InputError("bad-pair", "it has no prefix", hint="give ip.ip_prefix and ip_prefix_len")
    prefix = _prefix(subnet)
    mac = parse_mac(given.mac) if given.mac else 0
    if given.address_mode not in (None, "", ACTIVE_ACTIVE, ACTIVE_STANDBY):
        raise InputError(
            "bad-pair",
            f"address_mode is {given.address_mode!r:.40}",
            hint="write active-active or active-standby",
        )
    # One that says nothing is held by one port at a time (TF's agents).
    return AddressPair(prefix, mac, given.address_mode != ACTIVE_ACTIVE)
