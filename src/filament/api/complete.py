"""What the API fills in for each kind: allocated numbers, addresses, MACs, rule uuids.

Everything is taken within the change, so an object and its numbers are committed together or not
at all. Rules are Tungsten Fabric's (its `pre_dbe_create` hooks).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from filament.api.firewall import NewUuid, firewall_rule, tag, tag_type, with_props
from filament.base.errors import ConflictError, InputError, NotFoundError
from filament.base.net import parse_address
from filament.base.splice import keep_equal, splice_of
from filament.model.address import Subnet, choose_address, complete_subnet, subnet_values
from filament.model.change import Object, Ref
from filament.model.check import SYSTEM_NETWORKS
from filament.model.flat_subnet import (
    complete_flat,
    flat_subnets,
    host_subnets,
    is_flat,
    link_uuid,
    subnets_of,
    subnets_to_take_from,
)
from filament.model.snapshot import Candidate

VN_ID_POOL = "vn-id"
VXLAN_ID_POOL = "vxlan-id"
MAX_VN_ID = 1 << 24
SUB_CLUSTER_POOL = "sub-cluster"
SECURITY_GROUP_POOL = "security-group-id"
FIRST_SECURITY_GROUP_ID = 8_000_000
_SUBNET_ADVICE = {
    "virtual-network": "give the network a subnet in its network_ipam_refs",
    "virtual-router": "give the host allocation_pools in its network_ipam_refs",
    "network-ipam": "give it a subnet in its ipam_subnets, with ipam_subnet_method flat-subnet",
}
_FAMILY_FIELDS = {
    "instance-ip": "instance_ip_family",
    "floating-ip": "floating_ip_address_family",
    "alias-ip": "alias_ip_address_family",
}


def completed(change: Candidate, item: Object, before: Object | None, new_uuid: NewUuid) -> Object:
    """Return `item` with what the API owes it; takes and frees allocations in `change`."""
    complete = _COMPLETIONS.get(item.kind)
    return item if complete is None else complete(change, item, before, new_uuid)


def _network(change: Candidate, item: Object, before: Object | None, new_uuid: NewUuid) -> Object:
    if before is None:
        number = change.free_from(VN_ID_POOL, 1)
        if number > MAX_VN_ID:
            raise ConflictError(f"all {MAX_VN_ID} virtual network ids are in use")
        change.take(VN_ID_POOL, number, item.uuid)
        item = with_props(item, virtual_network_network_id=number)
    _take_vxlan_id(change, item)
    known = [value for _, value in subnet_values(before)] if before is not None else []
    refs = list(item.refs)
    ipams = [position for position, ref in enumerate(refs) if ref.kind == "network-ipam"]
    for index, position in enumerate(ipams):
        if is_flat(change.get(refs[position].uuid)):
            refs[position] = _with_link(refs[position], before, new_uuid)
            continue
        path = f"$.virtual-network.network_ipam_refs[{index}].attr.ipam_subnets"
        refs[position] = _with_subnets(refs[position], known, new_uuid, path)
    return msgspec.structs.replace(item, refs=tuple(refs))


def _vxlan_id_in_use(wanted: int, holder: str) -> InputError:
    return InputError(
        "vxlan-id-in-use",
        f"Cannot set VXLAN_ID: {wanted}, it has already been set on {holder}",
        path="$.virtual-network.virtual_network_properties.vxlan_network_identifier",
        hint="choose another one, or leave it out",
    )


def _take_vxlan_id(change: Candidate, item: Object) -> None:
    """Hold the VXLAN id that a network asks for, so that no other network can."""
    wanted = (item.props.get("virtual_network_properties") or {}).get("vxlan_network_identifier")
    held = [one for one in change.allocations_of(item.uuid) if one.pool == VXLAN_ID_POOL]
    if wanted in [one.value for one in held]:
        return
    for allocation in held:
        change.free(allocation)
    if not wanted:
        return
    holder = change.allocated(VXLAN_ID_POOL, wanted)
    if holder is not None:
        other = change.get(holder.owner)
        name = other.name if other is not None else holder.owner
        raise _vxlan_id_in_use(wanted, f"virtual-network {name}").naming(
            holder.owner, _vxlan_id_in_use(wanted, "another virtual-network")
        )
    change.take(VXLAN_ID_POOL, wanted, item.uuid)


def _with_subnets(ref: Ref, known: list[dict[str, Any]], new_uuid: NewUuid, path: str) -> Ref:
    subnets = (ref.attr or {}).get("ipam_subnets")
    if ref.attr is None or not subnets:
        return ref
    done = [
        complete_subnet(value, known, new_uuid, f"{path}[{position}]")
        if value.get("subnet")  # a flat IPAM's reference carries an entry without one
        else value
        for position, value in enumerate(subnets)
    ]
    return msgspec.structs.replace(ref, attr={**ref.attr, "ipam_subnets": done})


def _with_link(ref: Ref, before: Object | None, new_uuid: NewUuid) -> Ref:
    """A reference to a flat-subnet IPAM names its subnets together: one entry, one uuid (TF)."""
    given = [one for one in (ref.attr or {}).get("ipam_subnets") or () if one.get("subnet")]
    if given:
        return ref  # which is refused: see check.py
    former = before.refs_to("network-ipam") if before is not None else ()
    known = next((link_uuid(one) for one in former if one.uuid == ref.uuid), "")
    entry = {"subnet_uuid": known or new_uuid()}
    return msgspec.structs.replace(ref, attr={**(ref.attr or {}), "ipam_subnets": [entry]})


def _ipam(change: Candidate, item: Object, before: Object | None, new_uuid: NewUuid) -> Object:
    del change
    if not is_flat(item) or not item.props.get("ipam_subnets"):
        return item
    subnets = complete_flat(item, before, new_uuid)
    return with_props(item, ipam_subnets={**item.props["ipam_subnets"], "subnets": subnets})


def _interface(change: Candidate, item: Object, before: Object | None, new_uuid: NewUuid) -> Object:
    del change, new_uuid
    if before is not None:
        return item
    digits = item.uuid
    given: dict[str, Any] = {}
    macs = item.props.get("virtual_machine_interface_mac_addresses") or {}
    if not macs.get("mac_address"):
        mac = f"02:{digits[0:2]}:{digits[2:4]}:{digits[4:6]}:{digits[6:8]}:{digits[9:11]}"
        given["virtual_machine_interface_mac_addresses"] = {"mac_address": [mac]}
    bindings = item.props.get("virtual_machine_interface_bindings") or {}
    pairs = list(bindings.get("key_value_pair") or ())
    present = {pair.get("key") for pair in pairs}
    for key, value in (("vnic_type", "normal"), ("vif_type", "vrouter")):
        if key not in present:
            pairs.append({"key": key, "value": value})
    given["virtual_machine_interface_bindings"] = {"key_value_pair": pairs}
    return with_props(item, **given)


def _instance_ip(
    change: Candidate, item: Object, before: Object | None, new_uuid: NewUuid
) -> Object:
    del new_uuid
    if before is not None:
        return item
    source = _source(change, item)
    if source.kind == "virtual-network" and source.fq_name in SYSTEM_NETWORKS:
        # Their ports live in the fabric: the addresses are not ours to allocate.
        return item
    text = item.props.get("instance_ip_address")
    subnets = _subnets_of_source(change, source, item)
    wanted = item.props.get("subnet_uuid")
    if wanted:
        subnets = [subnet for subnet in subnets if subnet.uuid == wanted]
        if not subnets:
            raise NotFoundError(
                f"Subnet id {wanted} not found in {source.kind} {source.name}; GET it to see its"
                " subnets, or leave subnet_uuid out"
            )
    subnets = _of_family(subnets, item)
    if text:
        subnet, address = _take_asked(change, source, subnets, text, item)
    else:
        subnet, address = _take_next(change, source, subnets, item)
    of_subnet = {"subnet_uuid": subnet.uuid} if subnet.uuid else {}
    return with_props(
        item,
        **of_subnet,
        instance_ip_address=subnet.format(address),
        instance_ip_subnet={
            "ip_prefix": subnet.format(subnet.prefix.address),
            "ip_prefix_len": subnet.prefix.length,
        },
    )


def _source(change: Candidate, item: Object) -> Object:
    """What an instance-ip takes its address from: a network, a compute host or an IPAM (TF)."""
    networks, routers, ipams = (
        item.refs_to(kind) for kind in ("virtual-network", "virtual-router", "network-ipam")
    )
    path = "$.instance-ip.virtual_router_refs"
    if routers and (networks or ipams):
        other = "network_refs" if networks else "ipam_refs"
        raise InputError(
            "two-sources",
            f"virtual_router_refs and {other} are not allowed together: instance-ip {item.name}"
            " takes its address from one of them",
            path=path,
            hint="leave one of the two out",
        )
    if len(routers) > 1:
        raise InputError(
            "two-sources",
            f"Instance IP cannot refer to multiple vrouters, as {item.name} does",
            path=path,
            hint="name one virtual-router",
        )
    for ref in (*networks, *routers, *ipams):
        source = change.get(ref.uuid)
        if source is not None:
            return source
    raise InputError(
        "no-network",
        f"instance-ip {item.name} refers to no virtual network",
        path="$.instance-ip.virtual_network_refs",
        hint="name the network to take the address from (or a virtual-router or network-ipam)",
    )


def _subnets_of_source(change: Candidate, source: Object, item: Object) -> list[Subnet]:
    """The subnets that the address may be of, in order."""
    asked = [field for field in ("instance_ip_address", "subnet_uuid") if item.props.get(field)]
    if source.kind == "virtual-network":
        # What is asked for by name is given whatever the network prefers.
        return (subnets_of if asked else subnets_to_take_from)(source, change.get)
    if asked:
        raise InputError(
            "not-to-choose",
            f"{asked[0]} cannot be asked for in the addresses of a {source.kind} ({source.name})",
            path=f"$.instance-ip.{asked[0]}",
            hint="leave it out, or refer to a virtual-network",
        )
    if source.kind == "virtual-router":
        return host_subnets(source, change.get)
    return flat_subnets(source, "")


def _take_asked(
    change: Candidate, network: Object, subnets: list[Subnet], text: str, item: Object
) -> tuple[Subnet, int]:
    address, version = parse_address(text)
    subnet = next((one for one in subnets if one.prefix.contains(address, version)), None)
    if subnet is None:
        raise InputError(
            "outside-subnet",
            f"address {text} is in no subnet of virtual-network {network.name}",
            path=_address_path(item),
            hint=_list_subnets(subnets),
        )
    if address == subnet.gateway:
        # Router ports share the gateway's address, so nobody holds it (TF does the same).
        return subnet, address
    first = subnet.address_of(subnet.value_of(address))
    if address != first:
        raise InputError(
            "inside-block",
            f"address {text} is not the first of a block: subnet {subnet.prefix} hands out"
            f" {subnet.unit} at a time",
            path=_address_path(item),
            hint=f"ask for {subnet.format(first)} or leave it out",
        )
    if subnet.value_of(address) in subnet.reserved_values:
        raise InputError(
            "reserved-address",
            f"address {text} of subnet {subnet.prefix} is reserved (network, broadcast or service"
            " address)",
            path=_address_path(item),
            hint="ask for another address or leave it out",
        )
    holder = change.allocated(subnet.pool, subnet.value_of(address))
    if holder is not None:
        owner = change.get(holder.owner)
        name = f"{owner.kind} {owner.name}" if owner is not None else holder.owner
        said = f"IP address already in use: {text} of virtual-network {network.name} is held by"
        advice = "; ask for another or leave it out"
        raise ConflictError(f"{said} {name}{advice}").naming(
            holder.owner, ConflictError(f"{said} another object{advice}")
        )
    change.take(subnet.pool, subnet.value_of(address), item.uuid)
    return subnet, address


def _of_family(subnets: list[Subnet], item: Object) -> list[Subnet]:
    """The subnets to choose from: those of the family asked for. Without one, IPv4 where the
    network has it (TF), unless an address says otherwise.
    """
    family = item.props.get(_FAMILY_FIELDS[item.kind])
    if not family:
        if item.props.get(_address_path(item).rpartition(".")[2]):
            return subnets
        family = "v4" if any(subnet.family == "v4" for subnet in subnets) else "v6"
    return [subnet for subnet in subnets if subnet.family == family]


def _take_next(
    change: Candidate, source: Object, subnets: list[Subnet], item: Object
) -> tuple[Subnet, int]:
    for subnet in subnets:
        address = choose_address(change, subnet)
        if address is not None:
            change.take(subnet.pool, subnet.value_of(address), item.uuid)
            return subnet, address
    if not subnets:
        family = item.props.get(_FAMILY_FIELDS[item.kind])
        what = f"{family} subnet" if family else "subnet"
        raise InputError(
            "no-subnet",
            f"{source.kind} {source.name} has no {what} to take an address from",
            path=_address_path(item),
            hint=_SUBNET_ADVICE[source.kind],
        )
    names = [str(subnet.prefix) for subnet in subnets]
    raise InputError(
        "subnet-exhausted",
        f"{source.kind.title()}({list(source.fq_name)}) has exhausted subnet({names})",
        path=_address_path(item),
        hint=f"delete unused instance-ip objects or {_SUBNET_ADVICE[source.kind]}",
    )


def _address_path(item: Object) -> str:
    return f"$.{item.kind}.{item.kind.replace('-', '_')}_address"


def _pooled_address(
    change: Candidate, item: Object, before: Object | None, new_uuid: NewUuid
) -> Object:
    """A floating or alias IP: an address of the network that its pool belongs to."""
    del new_uuid
    pool = change.get(item.parent_uuid or "")
    if before is not None or pool is None or pool.kind == "instance-ip":
        return item
    network = change.get(pool.parent_uuid or "")
    if network is None:
        return item
    field = _address_path(item).rpartition(".")[2]
    text = item.props.get(field)
    subnets = (subnets_of if text else subnets_to_take_from)(network, change.get)
    allowed = (pool.props.get("floating_ip_pool_subnets") or {}).get("subnet_uuid")
    if allowed:
        subnets = [subnet for subnet in subnets if subnet.uuid in allowed]
    subnets = _of_family(subnets, item)
    if text:
        subnet, address = _take_asked(change, network, subnets, text, item)
    else:
        subnet, address = _take_next(change, network, subnets, item)
    if network.parent_uuid is not None and not item.refs_to("project"):
        item = msgspec.structs.replace(item, refs=(Ref("project", network.parent_uuid), *item.refs))
    return with_props(item, **{field: subnet.format(address)})


def _logical_router(
    change: Candidate, item: Object, before: Object | None, new_uuid: NewUuid
) -> Object:
    del change, before, new_uuid
    kind = item.props.get("logical_router_type")
    return item if kind else with_props(item, logical_router_type="snat-routing")


def _sub_cluster(
    change: Candidate, item: Object, before: Object | None, new_uuid: NewUuid
) -> Object:
    del new_uuid
    if before is not None:
        return item
    number = change.free_from(SUB_CLUSTER_POOL, 1)
    change.take(SUB_CLUSTER_POOL, number, item.uuid)
    return with_props(item, sub_cluster_id=number)


def _list_subnets(subnets: list[Subnet]) -> str:
    listed = ", ".join(str(subnet.prefix) for subnet in subnets)
    return f"its subnets are {listed}" if listed else "it has no subnets"


def _with_rule_uuids(field: str) -> Callable[..., Object]:
    """Return what gives uuids to new rules. Rules that are written again as they were, before the
    first that changed or after the last, are the ones that were there, uuids or not.
    """

    def complete(
        change: Candidate, item: Object, before: Object | None, new_uuid: NewUuid
    ) -> Object:
        del change
        entries = item.props.get(field)
        if not entries:
            return item
        was = (before.props.get(field) or {}) if before is not None else {}
        known: list[dict[str, Any]] = was.get("policy_rule") or []
        given: list[dict[str, Any]] = entries.get("policy_rule") or []
        # Who looks at what changed (checks, the compiler) need not compare the others.
        if known and not any(rule.get("rule_uuid") for rule in given):
            bare = [{key: rule[key] for key in rule if key != "rule_uuid"} for rule in known]
            start, old_end, new_end = splice_of(bare, given)
            rules = [*known[:start], *given[start:new_end], *known[old_end:]]
        else:
            rules = keep_equal(known, given)
        rules = [
            rule if rule.get("rule_uuid") else {**rule, "rule_uuid": new_uuid()} for rule in rules
        ]
        return with_props(item, **{field: {**entries, "policy_rule": rules}})

    return complete


def _security_group(
    change: Candidate, item: Object, before: Object | None, new_uuid: NewUuid
) -> Object:
    item = _with_rule_uuids("security_group_entries")(change, item, before, new_uuid)
    configured = item.props.get("configured_security_group_id")
    was = before.props.get("configured_security_group_id") if before is not None else None
    if before is not None and configured == was:
        return item
    for allocation in change.allocations_of(item.uuid):
        change.free(allocation)
    if configured:
        # Below the automatic ones; a number means one group to every host.
        holder = change.allocated(SECURITY_GROUP_POOL, configured)
        if holder is not None:
            raise ConflictError(
                f"configured_security_group_id {configured} is another group's; choose another, or"
                " leave it out"
            )
        change.take(SECURITY_GROUP_POOL, configured, item.uuid)
        return with_props(item, security_group_id=configured)
    number = change.free_from(SECURITY_GROUP_POOL, FIRST_SECURITY_GROUP_ID)
    change.take(SECURITY_GROUP_POOL, number, item.uuid)
    return with_props(item, security_group_id=number)


def _bgp_router(
    change: Candidate, item: Object, before: Object | None, new_uuid: NewUuid
) -> Object:
    del change, before, new_uuid
    parameters = item.props.get("bgp_router_parameters")
    if not parameters or parameters.get("router_type"):
        return item
    is_ours = parameters.get("vendor") == "contrail"
    router_type = "control-node" if is_ours else "router"
    return with_props(item, bgp_router_parameters={**parameters, "router_type": router_type})


_COMPLETIONS: dict[str, Callable[[Candidate, Object, Object | None, NewUuid], Object]] = {
    "virtual-network": _network,
    "network-ipam": _ipam,
    "virtual-machine-interface": _interface,
    "instance-ip": _instance_ip,
    "network-policy": _with_rule_uuids("network_policy_entries"),
    "security-group": _security_group,
    "bgp-router": _bgp_router,
    "floating-ip": _pooled_address,
    "alias-ip": _pooled_address,
    "logical-router": _logical_router,
    "sub-cluster": _sub_cluster,
    "tag-type": tag_type,
    "tag": tag,
    "firewall-rule": firewall_rule,
}
