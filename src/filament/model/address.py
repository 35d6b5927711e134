"""Subnets of a network, and which address comes next. Pure; Tungsten Fabric's rules.

The gateway and the service (DNS) address are chosen when the caller does not: with
`addr_from_start` the first and second address of the subnet, otherwise the last and last but one.
Network, broadcast, gateway and service addresses are never handed out; the others come in order
from the start, or from the top. The same goes for IPv6, where the last address is kept as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from filament.base.errors import InputError
from filament.base.net import (
    Address,
    Prefix,
    bits_of,
    format_address,
    parse_address,
)
from filament.model.change import Object
from filament.model.snapshot import PoolView

# Longer prefixes have no room for network, broadcast, gateway and service addresses.
_SPARE_BITS = 2
# Stores hold 64-bit numbers, so an IPv6 subnet's pool holds an address by its place in the subnet,
# counted from the middle: signed, as they are.
MIN_SUBNET_LENGTH_V6 = 64
_MIDDLE = 1 << 63


class Subnet(msgspec.Struct, frozen=True):
    """One subnet of a network, parsed. Addresses are host-order ints; gateway 0 means none.

    `uuid` is what addresses of it show as their `subnet_uuid`, `pool` the allocation pool that
    holds them, `pools` are inclusive ranges inside the prefix, in the caller's order. Addresses are
    handed out in blocks of `unit`, a power of two: who has the first has all of them.
    """

    uuid: str
    pool: str
    prefix: Prefix
    gateway: int
    service: int
    is_from_start: bool
    pools: tuple[tuple[int, int], ...]
    unit: int = 1

    @property
    def broadcast(self) -> int:
        """The last address."""
        return last_of(self.prefix)

    @property
    def reserved(self) -> frozenset[int]:
        """Addresses never handed out automatically."""
        return frozenset({self.prefix.address, self.broadcast, self.gateway, self.service})

    @property
    def family(self) -> str:
        """TF's word for the version: `v4` or `v6`."""
        return f"v{self.prefix.version}"

    @property
    def reserved_values(self) -> frozenset[int]:
        """The numbers of blocks with a reserved address."""
        return frozenset(map(self.value_of, self.reserved))

    def value_of(self, address: int) -> int:
        """The number by which the subnet's pool holds an address, or the block that it is in: fits
        in 64 bits, signed.
        """
        return (address - _origin_of(self.prefix)) // self.unit

    def address_of(self, value: int) -> int:
        """The address, the first of a block, that a number of the subnet's pool stands for."""
        return value * self.unit + _origin_of(self.prefix)

    def values_in(self, first: int, last: int) -> tuple[int, int]:
        """The numbers of the first and the last block that lie in a range of addresses whole."""
        return self.value_of(first + self.unit - 1), self.value_of(last + 1) - 1

    def format(self, address: int) -> str:
        """An address of the subnet as a text."""
        return format_address(address, self.prefix.version)


def _origin_of(prefix: Prefix) -> int:
    return 0 if prefix.version == 4 else prefix.address + _MIDDLE


def last_of(prefix: Prefix) -> int:
    """The last address of a prefix."""
    return prefix.address + (1 << (bits_of(prefix.version) - prefix.length)) - 1


def pool_of(network_uuid: str, subnet_uuid: str) -> str:
    """The name of the allocation pool of a subnet."""
    return f"ip/{network_uuid}/{subnet_uuid}"


# Subnets of the networks asked for last, by identity: objects are never changed in place, and most
# addresses are taken of a network that was asked just before.
_KEPT_NETWORKS = 256
_parsed: dict[int, tuple[Object, list[Subnet]]] = {}


def own_subnets(network: Object) -> list[Subnet]:
    """The user-defined subnets of a virtual-network, in the order of its references."""
    known = _parsed.get(id(network))
    if known is None or known[0] is not network:
        parsed = [parse_subnet(value, "", network.uuid) for _, value in subnet_values(network)]
        if len(_parsed) >= _KEPT_NETWORKS:
            del _parsed[next(iter(_parsed))]
        known = _parsed[id(network)] = network, parsed
    return list(known[1])


def subnet_values(network: Object) -> Iterator[tuple[str, dict[str, Any]]]:
    """(JSON path, value) of every subnet of a network, as stored or as asked for."""
    for index, ref in enumerate(network.refs_to("network-ipam")):
        for position, value in enumerate((ref.attr or {}).get("ipam_subnets") or ()):
            if value.get("subnet"):  # a flat IPAM's reference carries an entry without one
                yield (
                    f"$.virtual-network.network_ipam_refs[{index}].attr.ipam_subnets[{position}]",
                    value,
                )


def parse_subnet(value: dict[str, Any], path: str, owner_uuid: str) -> Subnet:
    """Parse one completed subnet of a network; InputError names `path` and what would be right."""
    try:
        prefix = parse_prefix(value)
        gateway = _parse_inside(prefix, value, "default_gateway")
        service = _parse_inside(prefix, value, "dns_server_address")
        pools = _parse_pools(prefix, value)
    except InputError as error:
        raise InputError(error.code, error.message, path=path, hint=error.hint) from error
    subnet = Subnet(
        uuid=value["subnet_uuid"],
        pool=pool_of(owner_uuid, value["subnet_uuid"]),
        prefix=prefix,
        gateway=gateway,
        service=service,
        is_from_start=bool(value.get("addr_from_start")),
        pools=pools,
        unit=value.get("alloc_unit") or 1,
    )
    if subnet.unit != 1:
        _require_blocks(subnet, path)
    return subnet


def _require_blocks(subnet: Subnet, path: str) -> None:
    """Refuse an `alloc_unit` that cannot divide its subnet (TF's rules)."""
    unit = subnet.unit
    if unit < 1 or unit & (unit - 1):
        raise InputError(
            "bad-alloc-unit",
            f"alloc_unit {unit} is no power of 2",
            path=path,
            hint="write 1, 2, 4, ...",
        )
    for first, last in subnet.pools:
        if first % unit or (last + 1) % unit:
            raise InputError(
                "bad-alloc-unit",
                f"{subnet.format(first)}-{subnet.format(last)} is not made of blocks of {unit}",
                path=path,
                hint="let allocation pools begin and end where blocks do, or use a smaller"
                " alloc_unit",
            )
        low, high = subnet.values_in(first, last)
        if sum(low <= value <= high for value in subnet.reserved_values) > high - low:
            raise InputError(
                "bad-alloc-unit",
                f"with alloc_unit {unit} every block of {subnet.format(first)}-"
                f"{subnet.format(last)} has an address that is kept",
                path=path,
                hint="use a smaller alloc_unit",
            )


def complete_subnet(
    value: dict[str, Any],
    before: Iterable[dict[str, Any]],
    new_uuid: Callable[[], str],
    path: str,
    *,
    has_edges: bool = True,
) -> dict[str, Any]:
    """Fill in `subnet_uuid`, `default_gateway` and `dns_server_address` where absent.

    `before` are the network's subnets so far: a subnet with the same prefix keeps what it had.
    Without `has_edges` a gateway and a service address are not chosen (TF's `ipam_subnetting`).
    """
    try:
        prefix = parse_prefix(value)
    except InputError as error:
        raise InputError(error.code, error.message, path=path, hint=error.hint) from error
    known = next((old for old in before if old["subnet"] == value["subnet"]), {})
    value = dict(value)
    for field in ("subnet_uuid", "default_gateway", "dns_server_address"):
        if not value.get(field) and known.get(field):
            value[field] = known[field]
    if not value.get("subnet_uuid"):
        value["subnet_uuid"] = new_uuid()
    if not has_edges:
        return value
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


def choose_address(view: PoolView, subnet: Subnet) -> int | None:
    """The next free address of a subnet (the first of a block), or None when it is exhausted."""
    pool = subnet.pool
    reserved = subnet.reserved_values
    for first, last in subnet.pools if subnet.is_from_start else reversed(subnet.pools):
        low, high = subnet.values_in(first, last)
        if subnet.is_from_start:
            value = view.free_from(pool, low)
            while value in reserved:
                value = view.free_from(pool, value + 1)
        else:
            value = view.free_down_from(pool, high)
            while value in reserved:
                value = view.free_down_from(pool, value - 1)
        if low <= value <= high:
            return subnet.address_of(value)
    return None


def _edge_addresses(prefix: Prefix, is_from_start: bool) -> Iterator[str]:
    last = last_of(prefix)
    for step in (1, 2, 3):
        address = prefix.address + step if is_from_start else last - step
        yield format_address(address, prefix.version)


def _parse_pools(prefix: Prefix, value: dict[str, Any]) -> tuple[tuple[int, int], ...]:
    """Ranges for any port; those of one compute host (`vrouter_specific_pool`) are not."""
    pools = value.get("allocation_pools")
    if not pools:
        return ((prefix.address, last_of(prefix)),)
    ranges = [(parse_range(prefix, pool), pool.get("vrouter_specific_pool")) for pool in pools]
    return tuple(one for one, is_of_host in ranges if not is_of_host)


def parse_prefix(value: dict[str, Any]) -> Prefix:
    """The prefix of a subnet that has room for the addresses it keeps; InputError."""
    subnet = value.get("subnet") or {}
    base, length = subnet.get("ip_prefix"), subnet.get("ip_prefix_len")
    if base is None or length is None:
        raise InputError(
            "bad-subnet",
            "a subnet needs ip_prefix and ip_prefix_len",
            hint='write {"ip_prefix": "10.1.1.0", "ip_prefix_len": 24}',
        )
    address, version = parse_address(base)
    if not 0 <= length <= bits_of(version):
        sensible = 24 if version == 4 else 64
        raise InputError(
            "bad-prefix",
            f"{base}/{length} has no prefix length 0-{bits_of(version)}",
            hint=f"write {base}/{sensible}",
        )
    prefix = Prefix.checked(address, length, version)
    longest = bits_of(version) - _SPARE_BITS
    if length > longest:
        raise InputError(
            "small-subnet",
            f"subnet {prefix} has no room for a gateway and a service address",
            hint=f"use /{longest} or shorter",
        )
    if version == 6 and length < MIN_SUBNET_LENGTH_V6:
        raise InputError(
            "large-subnet",
            f"subnet {prefix} is larger than a link can be",
            hint=f"use /{MIN_SUBNET_LENGTH_V6} or longer",
        )
    return prefix


def _parse_inside(prefix: Prefix, value: dict[str, Any], field: str) -> int:
    text = value.get(field)
    if not text:  # of a flat subnet that is cut into smaller ones
        return 0
    address = parse_address(text)
    # 0.0.0.0 is TF's way to say "none"
    if address.value and not prefix.contains(address.value, address.version):
        raise InputError(
            "outside-subnet",
            f"{field} {text} is not in subnet {prefix}",
            hint=f"choose one from {format_address(prefix.address + 1, prefix.version)} on, or"
            " leave it out",
        )
    return address.value


def parse_range(prefix: Prefix, pool: dict[str, Any]) -> tuple[int, int]:
    """Parse an allocation pool of a subnet: first and last address; InputError."""
    first, last = parse_address(pool.get("start") or ""), parse_address(pool.get("end") or "")
    if not (_is_in(prefix, first) and _is_in(prefix, last) and first.value <= last.value):
        raise InputError(
            "bad-allocation-pool",
            f"allocation pool {pool.get('start')}-{pool.get('end')} is not a range inside"
            f" subnet {prefix}",
            hint="start and end must lie in the subnet, start first",
        )
    return first.value, last.value


def _is_in(prefix: Prefix, address: Address) -> bool:
    return prefix.contains(address.value, address.version)
