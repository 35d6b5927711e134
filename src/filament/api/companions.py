"""Objects that come and go with another one, as contrail-api makes them.

A companion is made in the same commit as its owner, which then refers to it; it goes when the
owner goes. A prerequisite is made before an object that names it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from filament.model.body import Body
from filament.model.change import Object
from filament.model.kind import Kind
from filament.model.snapshot import Candidate

POLICY_SET = "application-policy-set"
_INTERNAL_NETWORK = "__contrail_lr_internal_vn_{}__"


class Companion(msgspec.Struct, frozen=True):
    """An object to make with another, and the attribute of the reference to it."""

    kind: str
    body: Body
    attr: dict[str, Any] | None = None


def prerequisites(change: Candidate, kind: Kind, body: Body) -> list[Companion]:
    """Return what must exist before an object of `kind`: the type of a tag."""
    name = body.props.get("tag_type_name")
    if kind.name != "tag" or not name or change.named("tag-type", (name,)) is not None:
        return []
    return [Companion("tag-type", Body(fq_name=(name,)))]


def companions(item: Object) -> list[Companion]:
    """Return what a new object brings with it."""
    if item.kind == "project":
        body = Body(
            fq_name=(*item.fq_name, f"default-{POLICY_SET}"),
            parent_kind="project",
            props={"all_applications": True},
        )
        return [Companion(POLICY_SET, body)]
    if item.kind == "logical-router" and item.props.get("logical_router_type") == "vxlan-routing":
        return [_internal_network(item)]
    return []


def companions_left(change: Candidate, item: Object) -> list[Object]:
    """Return what a deleted object leaves behind and nobody else owns."""
    if item.kind != "logical-router":
        return []
    name = (*item.fq_name[:-1], _INTERNAL_NETWORK.format(item.uuid))
    network = change.named("virtual-network", name)
    return [network] if network is not None else []


def _internal_network(router: Object) -> Companion:
    """The network in which a vxlan-routing router routes between the networks it joins."""
    forwarding: dict[str, Any] = {"forwarding_mode": "l3"}
    vxlan_id = router.props.get("vxlan_network_identifier")
    if vxlan_id:
        forwarding["vxlan_network_identifier"] = int(vxlan_id)
    props: dict[str, Any] = {
        "display_name": f"LR::{router.fq_name[-1]}",
        "id_perms": {"enable": True, "user_visible": False},
        "virtual_network_properties": forwarding,
    }
    targets = router.props.get("configured_route_target_list")
    if targets:
        props["route_target_list"] = targets
    name = (*router.fq_name[:-1], _INTERNAL_NETWORK.format(router.uuid))
    body = Body(fq_name=name, parent_kind="project", props=props)
    attr = {"logical_router_virtual_network_type": "InternalVirtualNetwork"}
    return Companion("virtual-network", body, attr)
