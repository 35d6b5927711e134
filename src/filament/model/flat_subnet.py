"""Subnets that networks share: those of a flat-subnet IPAM, and what compute hosts have of them.

A network that refers to such an IPAM has the IPAM's subnets beside its own; the reference carries
one `subnet_uuid` by which addresses of the network name them. A virtual-router has ranges of them
for the addresses of its host. Whoever takes an address takes it from the IPAM's pool, so that no
two do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from filament.base.errors import InputError
from filament.base.net import bits_of, format_address, mask_of, parse_address
from filament.model.address import (
    Subnet,
    complete_subnet,
    own_subnets,
    parse_range,
    parse_subnet,
    pool_of,
    subnet_values,
)
from filament.model.change import Object, Ref

Get = Callable[[str], Object | None]
FLAT = "flat-subnet"


def is_flat(ipam: Object | None) -> bool:
    """Whether the subnets of an IPAM are its own."""
    return ipam is not None and ipam.props.get("ipam_subnet_method") == FLAT


def flat_values(ipam: Object) -> list[tuple[str, dict[str, Any]]]:
    """(JSON path, value) of every subnet of an IPAM."""
    listed = (ipam.props.get("ipam_subnets") or {}).get("subnets") or ()
    path = "$.network-ipam.ipam_subnets.subnets"
    return [(f"{path}[{index}]", value) for index, value in enumerate(listed)]


def complete_flat(
    ipam: Object, before: Object | None, new_uuid: Callable[[], str]
) -> list[dict[str, Any]]:
    """The subnets of an IPAM with what the caller left out; InputError."""
    known = [value for _, value in flat_values(before)] if before is not None else []
    has_edges = not ipam.props.get("ipam_subnetting")
    return [
        complete_subnet(_masked(value, path), known, new_uuid, path, has_edges=has_edges)
        for path, value in flat_values(ipam)
    ]


def flat_subnets(ipam: Object, uuid: str) -> list[Subnet]:
    """The subnets of a flat-subnet IPAM; addresses show `uuid` as theirs. InputError."""
    if not is_flat(ipam):
        return []
    found = []
    # Those that were stored before they had numbers are completed here.
    completed = complete_flat(ipam, None, lambda: "")
    for (path, _), value in zip(flat_values(ipam), completed, strict=True):
        subnet = parse_subnet(value, path, ipam.uuid)
        # Known by the prefix: what a client writes need not repeat the uuids.
        pool = pool_of(ipam.uuid, str(subnet.prefix))
        found.append(msgspec.structs.replace(subnet, uuid=uuid, pool=pool))
    return found


def link_uuid(ref: Ref) -> str:
    """The uuid by which a network knows the subnets of a flat-subnet IPAM; empty for none."""
    for value in (ref.attr or {}).get("ipam_subnets") or ():
        if not value.get("subnet"):
            return str(value.get("subnet_uuid") or "")
    return ""


def shared_subnets(network: Object, get: Get) -> list[Subnet]:
    """The subnets that a network has from flat-subnet IPAMs, in the order of its references."""
    return [
        subnet
        for ref in network.refs_to("network-ipam")
        if (ipam := get(ref.uuid)) is not None
        for subnet in flat_subnets(ipam, link_uuid(ref))
    ]


def subnets_of(network: Object, get: Get) -> list[Subnet]:
    """Every subnet of a network."""
    return [*own_subnets(network), *shared_subnets(network, get)]


def subnets_to_take_from(network: Object, get: Get) -> list[Subnet]:
    """The subnets of a network in the order in which its `address_allocation_mode` uses them."""
    mode = network.props.get("address_allocation_mode") or "user-defined-subnet-preferred"
    own = own_subnets(network) if mode != "flat-subnet-only" else []
    shared = shared_subnets(network, get) if mode != "user-defined-subnet-only" else []
    return [*shared, *own] if mode == "flat-subnet-preferred" else [*own, *shared]


def host_pools(router: Object) -> list[tuple[str, str]]:
    """The ranges of a virtual-router, as written."""
    return [
        (str(pool.get("start")), str(pool.get("end")))
        for ref in router.refs_to("network-ipam")
        for pool in (ref.attr or {}).get("allocation_pools") or ()
    ]


def host_subnets(router: Object, get: Get) -> list[Subnet]:
    """The subnets that a virtual-router has ranges of, with those ranges only."""
    found = []
    for ref in router.refs_to("network-ipam"):
        ipam = get(ref.uuid)
        for subnet in flat_subnets(ipam, "") if ipam is not None else ():
            pools = []
            for pool in (ref.attr or {}).get("allocation_pools") or ():
                try:
                    pools.append(parse_range(subnet.prefix, pool))
                except InputError:  # of another subnet of the IPAM
                    continue
            if pools:
                found.append(msgspec.structs.replace(subnet, pools=tuple(pools)))
    return found


def subnets_behind(item: Object, get: Get) -> Iterator[Subnet]:
    """Every subnet that the address of an instance-ip may be of."""
    for kind in ("virtual-network", "virtual-router", "network-ipam"):
        for ref in item.refs_to(kind):
            source = get(ref.uuid)
            if source is None:
                continue
            if kind == "virtual-network":
                yield from _subnets_known_as(source, str(item.props.get("subnet_uuid")), get)
            elif kind == "virtual-router":
                yield from host_subnets(source, get)
            else:
                yield from flat_subnets(source, "")
            return


def _subnets_known_as(network: Object, uuid: str, get: Get) -> Iterator[Subnet]:
    for path, value in subnet_values(network):
        if value.get("subnet_uuid") == uuid:
            yield parse_subnet(value, path, network.uuid)
    for ref in network.refs_to("network-ipam"):
        ipam = get(ref.uuid) if link_uuid(ref) == uuid else None
        if ipam is not None:
            yield from flat_subnets(ipam, uuid)


def held_by(item: Object, get: Get) -> tuple[str, int] | None:
    """The pool and number that the address of an instance-ip is; None where it need hold none."""
    text = item.props.get("instance_ip_address")
    if not text:
        return None
    address, version = parse_address(text)
    for subnet in subnets_behind(item, get):
        if subnet.prefix.contains(address, version):
            # Router ports share the gateway's address.
            return None if address == subnet.gateway else (subnet.pool, subnet.value_of(address))
    return None


def _masked(value: dict[str, Any], path: str) -> dict[str, Any]:
    """A subnet without host bits, which TF ignores in a flat subnet (its own IPAM has some)."""
    subnet = value.get("subnet") or {}
    base, length = subnet.get("ip_prefix"), subnet.get("ip_prefix_len")
    if base is None or length is None:
        return value
    try:
        address, version = parse_address(base)
    except InputError as error:
        raise InputError(error.code, error.message, path=path, hint=error.hint) from error
    if not 0 <= length <= bits_of(version):
        return value
    masked = format_address(address & mask_of(length, version), version)
    return {**value, "subnet": {**subnet, "ip_prefix": masked}}
