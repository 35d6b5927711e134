"""Rules between networks, IPAMs, compute hosts and the addresses in use. See check.py."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from filament.base.errors import ConflictError, InputError
from filament.base.net import format_address, parse_address
from filament.model.address import Subnet, parse_subnet, subnet_values
from filament.model.change import Object
from filament.model.flat_subnet import (
    FLAT,
    flat_subnets,
    flat_values,
    host_pools,
    is_flat,
    link_uuid,
    shared_subnets,
)
from filament.model.snapshot import Candidate

_IPAM_PATH = "$.network-ipam.ipam_subnets"
_HOST_PATH = "$.virtual-router.network_ipam_refs"


def require_subnets(view: Candidate, item: Object, before: Object | None) -> None:
    """Check the subnets of a virtual-network: its own and those of the IPAMs it refers to."""
    _require_fit_for_flat(view, item)
    subnets = [(path, parse_subnet(value, path, item.uuid)) for path, value in subnet_values(item)]
    shared = [
        ("$.virtual-network.network_ipam_refs", one) for one in shared_subnets(item, view.get)
    ]
    _require_disjoint([*subnets, *shared])
    for (_, left), (path, right) in combinations(subnets, 2):
        if left.uuid == right.uuid:
            raise InputError(
                "duplicate-subnet-uuid",
                f"subnets {left.prefix} and {right.prefix} have the same subnet_uuid",
                path=path,
                hint="leave subnet_uuid out, it is generated",
            )
    if before is None:
        return
    former = [(path, parse_subnet(value, path, item.uuid)) for path, value in subnet_values(before)]
    kept = {subnet.pool: subnet for _, subnet in subnets}
    for _, old in former:
        _require_kept(view, item, old, kept.get(old.pool))
    _require_links_kept(view, item, before)


def require_ipam(view: Candidate, item: Object, before: Object | None) -> None:
    """Check a network-ipam: the subnets that networks share, and what changes while they do."""
    for field, otherwise in (("ipam_subnet_method", "user-defined-subnet"), ("ipam_subnetting", 0)):
        if before is not None and (before.props.get(field) or otherwise) != (
            item.props.get(field) or otherwise
        ):
            raise InputError(
                "immutable",
                f"{field} can not be changed (network-ipam {item.name})",
                path=f"$.network-ipam.{field}",
                hint="create another network-ipam",
            )
    if not is_flat(item):
        for field, word in (
            ("ipam_subnets", "ipam-subnets are"),
            ("ipam_subnetting", "subnetting is"),
        ):
            if item.props.get(field):
                raise InputError(
                    "flat-subnet-only",
                    f"{word} allowed only with flat-subnet",
                    path=f"$.network-ipam.{field}",
                    hint=f'write "ipam_subnet_method": "{FLAT}", or give subnets to networks',
                )
        return
    paths = [path for path, _ in flat_values(item)]
    subnets = flat_subnets(item, "")
    _require_disjoint(list(zip(paths, subnets, strict=True)))
    if before is None or before.props.get("ipam_subnets") == item.props.get("ipam_subnets"):
        return
    for network in view.referrers(item.uuid, "virtual-network"):
        own = [parse_subnet(value, path, network.uuid) for path, value in subnet_values(network)]
        shared = shared_subnets(network, view.get)
        _require_disjoint([(_IPAM_PATH, one) for one in (*own, *shared)])
    kept = {subnet.pool: subnet for subnet in subnets}
    for old in flat_subnets(before, ""):
        _require_kept(view, item, old, kept.get(old.pool))


def require_host(view: Candidate, item: Object, before: Object | None) -> None:
    """Check a virtual-router's ranges: kept for hosts by flat IPAMs, each for one host."""
    for ref in item.refs_to("network-ipam"):
        ipam = view.get(ref.uuid)
        if ipam is None:
            continue
        if not is_flat(ipam):
            raise InputError(
                "flat-subnet-only",
                f"Only flat-subnet ipam can be attached to vrouter: {ipam.name} is none",
                path=_HOST_PATH,
                hint=f'name a network-ipam with "ipam_subnet_method": "{FLAT}"',
            )
        pools = [_range_of(one) for one in (ref.attr or {}).get("allocation_pools") or ()]
        if not pools:
            raise InputError(
                "no-allocation-pools",
                f"No allocation-pools for this vrouter in its reference to {ipam.name}",
                path=_HOST_PATH,
                hint='write "attr": {"allocation_pools": [{"start": ..., "end": ...}]}',
            )
        _require_pools_for_hosts(ipam, pools)
        for other in view.referrers(ipam.uuid, "virtual-router"):
            if other.uuid != item.uuid:
                _require_not_of(other, ipam, pools)
    if before is not None:
        _require_pools_kept(view, item, before)


def _require_disjoint(subnets: list[tuple[str, Subnet]]) -> None:
    for (_, left), (path, right) in combinations(subnets, 2):
        if left.prefix.overlaps(right.prefix):
            raise InputError(
                "overlapping-subnets",
                f"subnet {right.prefix} overlaps {left.prefix} of the same network",
                path=path,
                hint="give the network disjoint subnets",
            )


def _require_kept(view: Candidate, item: Object, old: Subnet, new: Subnet | None) -> None:
    held = view.held_count(old.pool)
    if held and new is not None and new.unit != old.unit:
        raise ConflictError(
            f"alloc_unit of subnet {old.prefix} of {item.kind} {item.name} cannot be changed:"
            f" {held} addresses of it are in use; delete their instance-ip objects first"
        )
    if held and (new is None or new.prefix != old.prefix):
        raise ConflictError(
            f"subnet {old.prefix} of {item.kind} {item.name} cannot be removed:"
            f" {held} addresses of it are in use; delete their instance-ip objects first"
        )
    if new is not None and new.gateway and new.gateway != old.gateway:
        holder = view.allocated(old.pool, new.value_of(new.gateway))
        if holder is not None:
            said = (
                f"default_gateway {old.format(old.gateway)} of subnet {old.prefix} cannot become"
                " an address in use"
            )
            raise ConflictError(f"{said} (by instance-ip {holder.owner})").naming(
                holder.owner, ConflictError(said)
            )


def _require_links_kept(view: Candidate, network: Object, before: Object) -> None:
    """A network keeps the IPAM that its addresses come from."""
    kept = {ref.uuid for ref in network.refs_to("network-ipam")}
    for ref in before.refs_to("network-ipam"):
        uuid = link_uuid(ref)
        ipam = view.get(ref.uuid)
        if not uuid or ref.uuid in kept or ipam is None:
            continue
        pools = {subnet.pool for subnet in flat_subnets(ipam, uuid)}
        for holder in _address_holders(view, network):
            held = sum(one.pool in pools for one in view.allocations_of(holder.uuid))
            if held:
                said = (
                    f"network-ipam {ipam.name} cannot be removed from virtual-network"
                    f" {network.name}: addresses of it are in use"
                )
                raise ConflictError(f"{said} by {holder.kind} {holder.name}").naming(
                    holder.uuid, ConflictError(said)
                )


def _address_holders(view: Candidate, network: Object) -> list[Object]:
    """Whatever may hold an address of a network; the network itself reserves some (ip-alloc)."""
    return [
        network,
        *view.referrers(network.uuid, "instance-ip"),
        *(
            address
            for kind in ("floating-ip", "alias-ip")
            for pool in view.children(network.uuid, f"{kind}-pool")
            for address in view.children(pool.uuid, kind)
        ),
    ]


def _require_fit_for_flat(view: Candidate, item: Object) -> None:
    mode = (item.props.get("virtual_network_properties") or {}).get("forwarding_mode")
    for index, ref in enumerate(item.refs_to("network-ipam")):
        ipam = view.get(ref.uuid)
        if ipam is None or not is_flat(ipam):
            continue
        path = "$.virtual-network.network_ipam_refs"
        if mode != "l3":
            raise InputError(
                "flat-subnet-mode",
                f"flat-subnet IPAM {ipam.name} is allowed only on networks forwarding in l3 mode",
                path=path,
                hint='set virtual_network_properties {"forwarding_mode": "l3"}',
            )
        if any(one.get("subnet") for one in (ref.attr or {}).get("ipam_subnets") or ()):
            raise InputError(
                "flat-subnet",
                f"with flat-subnet, network can not have user-defined subnet: IPAM {ipam.name} has"
                " its own",
                path=f"{path}[{index}].attr.ipam_subnets",
                hint="leave ipam_subnets empty, or give the subnet to another IPAM's reference",
            )


def _range_of(pool: dict[str, Any]) -> tuple[str, str]:
    """An allocation pool in one way of writing; InputError."""
    first, last = (parse_address(pool.get(edge) or "") for edge in ("start", "end"))
    return format_address(*first), format_address(*last)


def _require_pools_for_hosts(ipam: Object, pools: list[tuple[str, str]]) -> None:
    listed = {
        _range_of(pool)
        for _, value in flat_values(ipam)
        for pool in value.get("allocation_pools") or ()
        if pool.get("vrouter_specific_pool")
    }
    for start, end in pools:
        if (start, end) not in listed:
            known = ", ".join(f"{one}-{other}" for one, other in sorted(listed)) or "none"
            raise InputError(
                "unknown-pool",
                f"vrouter allocation-pool start:{start}, end:{end} not in ipam {ipam.name}",
                path=_HOST_PATH,
                hint=f"its pools with vrouter_specific_pool true are: {known}",
            )


def _require_not_of(other: Object, ipam: Object, pools: list[tuple[str, str]]) -> None:
    for ref in other.refs_to("network-ipam"):
        if ref.uuid != ipam.uuid:
            continue
        theirs = {_range_of(one) for one in (ref.attr or {}).get("allocation_pools") or ()}
        for start, end in pools:
            if (start, end) in theirs:
                said = f"vrouter allocation-pool start:{start}, end:{end} is used in other vrouter"
                path, hint = _HOST_PATH, "name a pool of the IPAM that is free"
                raise InputError(
                    "pool-in-use", f"{said}: {other.name}", path=path, hint=hint
                ).naming(other.uuid, InputError("pool-in-use", said, path=path, hint=hint))


def _require_pools_kept(view: Candidate, item: Object, before: Object) -> None:
    kept = host_pools(item)
    gone = [pool for pool in host_pools(before) if pool not in kept]
    if not gone:
        return
    ranges = [(parse_address(start), parse_address(end)) for start, end in gone]
    for user in view.referrers(item.uuid, "instance-ip"):
        text = user.props.get("instance_ip_address")
        if text and any(first <= parse_address(text) <= last for first, last in ranges):
            said = f"Cannot Delete allocation pool, {text} in use"
            hint = "delete the instance-ip first"
            raise InputError(
                "pool-in-use", f"{said} by instance-ip {user.name}", path=_HOST_PATH, hint=hint
            ).naming(user.uuid, InputError("pool-in-use", said, path=_HOST_PATH, hint=hint))
