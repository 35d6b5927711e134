"""Subnets of a network, and which address comes next. Pure; Tungsten Fabric's rules.

The gateway and the service (DNS) address are chosen when the caller does not: with
`addr_from_start` the first and second address of the subnet, otherwise the last and last but one.
Network, broadcast, gateway and service addresses are never handed out; the others come in order
from the start, or from the top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from filament.base.errors import InputError
from filament.base.net import Prefix, format_ipv4, parse_ipv4
from filament.model.change import Object
from filament.model.snapshot import PoolView

# Longer prefixes have no room for network, broadcast, gateway and service addresses.
MAX_SUBNET_LENGTH = 30


class Subnet(msgspec.Struct, frozen=True):
    """One subnet of a network, parsed. Addresses are host-order ints; gateway 0 means none.

    `pools` are inclusive ranges inside the prefix, in the caller's order.
    """

    uuid: str
    prefix: Prefix
    gateway: int
    service: int
    is_from_start: bool
    pools: tuple[tuple[int, int], ...]

    @property
    def broadcast(self) -> int:
        """The last address."""
        return self.prefix.address + (1 << (32 - self.prefix.length)) - 1

    @property
    def reserved(self) -> frozenset[int]:
        """Addresses never handed out automatically."""
        return frozenset({self.prefix.address, self.broadcast, self.gateway, self.service})


def pool_of(network_uuid: str, subnet_uuid: str) -> str:
    """The name of the allocation pool of a subnet."""
    return f"ip/{network_uuid}/{subnet_uuid}"


def subnets_of(network: Object) -> list[Subnet]:
    """The subnets of a committed virtual-network, in the order of its references."""
    return [parse_subnet(value, "") for _, value in subnet_values(network)]


def subnet_values(network: Object) -> Iterator[tuple[str, dict[str, Any]]]:
    """(JSON path, value) of every subnet of a network, as stored or as asked for."""
    for index, ref in enumerate(network.refs_to("network-ipam")):
        for position, value in enumerate((ref.attr or {}).get("ipam_subnets") or ()):
            if value.get("subnet"):  # a flat IPAM's reference carries an entry without one
                yield (
                    f"$.virtual-network.network_ipam_refs[{index}].attr.ipam_subnets[{position}]",
                    value,
                )


def parse_subnet(value: dict[str, Any], path: str) -> Subnet:
    """Parse one completed subnet; InputError names `path` and what would be right."""
    try:
        prefix = _parse_prefix(value)
        gateway = _parse_inside(prefix, value["default_gateway"], "default_gateway")
        service = _parse_inside(prefix, value["dns_server_address"], "dns_server_address")
        pools = tuple(_parse_pool(prefix, pool) for pool in _own_pools(value))
    except InputError as error:
        raise InputError(error.code, error.message, path=path, hint=error.hint) from error
    return Subnet(
        uuid=value["subnet_uuid"],
        prefix=prefix,
        gateway=gateway,
        service=service,
        is_from_start=bool(value.get("addr_from_start")),
        pools=pools,
    )


def complete_subnet(
    value: dict[str, Any], before: Iterable[dict[str, Any]], new_uuid: Callable[[], str], path: str
) -> dict[str, Any]:
    """Fill in `subnet_uuid`, `default_gateway` and `dns_server_address` where absent.

    `before` are the network's subnets so far: a subnet with the same prefix keeps what it had.
    """
    try:
        prefix = _parse_prefix(value)
    except InputError as error:
        raise InputError(error.code, error.message, path=path, hint=error.hint) from error
    known = next((old for old in before if old["subnet"] == value["subnet"]), {})
    if (value.get("alloc_unit") or 1) != 1:
        raise InputError(
            "bad-alloc-unit",
            f"alloc_unit {value['alloc_unit']} is not supported",
            path=path,
            hint="leave it out: addresses are allocated one by one",
        )
    value = dict(value)
    for field in ("subnet_uuid", "default_gateway", "dns_server_address"):
        if not value.get(field) and known.get(field):
            value[field] = known[field]
    if not value.get("subnet_uuid"):
        value["subnet_uuid"] = new_uuid()
    is_from_start = bool(value.get("addr_from_start"))
    taken: set[str] = set()
    for field in ("default_gateway", "dns_server_address"):
        # Both may be given, one or none: the automatic one avoids the given one.
        if value.get(field):
            taken.add(value[field])
    for field in ("default_gateway", "dns_server_address"):
        if not value.get(field):
            value[field] = next(
                text for text in _edge_addresses(prefix, is_from_start) if text not in taken
            )
            taken.add(value[field])
    return value


def choose_address(view: PoolView, network_uuid: str, subnet: Subnet) -> int | None:
    """The next free address of a subnet, or None when it is exhausted."""
    ranges = subnet.pools or ((subnet.prefix.address, subnet.broadcast),)
    pool = pool_of(network_uuid, subnet.uuid)
    reserved = subnet.reserved
    for first, last in ranges if subnet.is_from_start else reversed(ranges):
        if subnet.is_from_start:
            address = view.free_from(pool, first)
            while address in reserved:
                address = view.free_from(pool, address + 1)
        else:
            address = view.free_down_from(pool, last)
            while address in reserved:
                address = view.free_down_from(pool, address - 1)
        if first <= address <= last:
            return address
    return None


def _edge_addresses(prefix: Prefix, is_from_start: bool) -> Iterator[str]:
    last = prefix.address + (1 << (32 - prefix.length)) - 1
    for step in (1, 2, 3):
        yield format_ipv4(prefix.address + step if is_from_start else last - step)


def _own_pools(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Ranges for any port; those of one compute host (`vrouter_specific_pool`) are not."""
    pools: list[dict[str, Any]] = value.get("allocation_pools") or []
    return [pool for pool in pools if not pool.get("vrouter_specific_pool")]


def _parse_prefix(value: dict[str, Any]) -> Prefix:
    subnet = value.get("subnet") or {}
    base, length = subnet.get("ip_prefix"), subnet.get("ip_prefix_len")
    if base is None or length is None:
        raise InputError(
            "bad-subnet",
            "a subnet needs ip_prefix and ip_prefix_len",
            hint='write {"ip_prefix": "10.1.1.0", "ip_prefix_len": 24}',
        )
    if ":" in base:
        raise InputError(
            "ipv6-subnet", f"subnet {base}/{length} is IPv6", hint="only IPv4 subnets are supported"
        )
    if length > 32:
        raise InputError(
            "bad-prefix", f"{base}/{length} has no prefix length 0-32", hint=f"write {base}/24"
        )
    prefix = Prefix.checked(parse_ipv4(base), length)
    if length > MAX_SUBNET_LENGTH:
        raise InputError(
            "small-subnet",
            f"subnet {prefix} has no room for a gateway and a service address",
            hint=f"use /{MAX_SUBNET_LENGTH} or shorter",
        )
    return prefix


def _parse_inside(prefix: Prefix, text: str, field: str) -> int:
    address = parse_ipv4(text)
    if address and not prefix.contains(address):  # 0.0.0.0 is TF's way to say "none"
        raise InputError(
            "outside-subnet",
            f"{field} {text} is not in subnet {prefix}",
            hint=f"choose one from {format_ipv4(prefix.address + 1)} on, or leave it out",
        )
    return address


def _parse_pool(prefix: Prefix, pool: dict[str, Any]) -> tuple[int, int]:
    first, last = parse_ipv4(pool.get("start") or ""), parse_ipv4(pool.get("end") or "")
    if not (prefix.contains(first) and prefix.contains(last) and first <= last):
        raise InputError(
            "bad-allocation-pool",
            f"allocation pool {pool.get('start')}-{pool.get('end')} is not a range inside"
            f" subnet {prefix}",
            hint="start and end must lie in the subnet, start first",
        )
    return first, last
