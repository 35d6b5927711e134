"""Which bgpvpns a network or a router may have (TF). Any two bgpvpns may share targets."""

from __future__ import annotations

from collections.abc import Iterator

from filament.base.errors import InputError
from filament.model.change import Object
from filament.model.snapshot import Candidate

_BGPVPN = "bgpvpn"
_PORT = "virtual-machine-interface"
_ROUTER = "logical-router"


def require_vpns_of_network(view: Candidate, item: Object, before: Object | None) -> None:
    """A network forwards what its bgpvpns carry, and has none by way of a router besides."""
    vpns = _vpns(view, item)
    mode = (item.props.get("virtual_network_properties") or {}).get("forwarding_mode") or "l2_l3"
    path = "$.virtual-network.bgpvpn_refs"
    types = sorted({_type_of(vpn) for vpn in vpns})
    if mode != "l2_l3" and len(types) > 1:
        raise InputError(
            "mixed-bgpvpns",
            f"Cannot associate different bgpvpn types ({', '.join(types)}) on a virtual network"
            f" with a forwarding mode different to 'l2_l3': {item.name} forwards in {mode}",
            path=path,
            hint='use bgpvpns of one type, or set forwarding_mode "l2_l3"',
        )
    if mode != "l2_l3" and types not in ([], [mode]):
        raise InputError(
            "other-bgpvpn-type",
            f"Cannot associate bgpvpn type '{types[0]}' with a virtual network in forwarding mode"
            f" '{mode}'",
            path=path,
            hint=f'use a bgpvpn of type {mode}, or set forwarding_mode "l2_l3"',
        )
    if vpns and (before is None or before.refs_to(_BGPVPN) != item.refs_to(_BGPVPN)):
        for port in view.referrers(item.uuid, _PORT):
            for router in view.referrers(port.uuid, _ROUTER):
                if router.refs_to(_BGPVPN):
                    raise _twice(
                        f"Network {item.name} is linked to a logical router which is associated to"
                        " bgpvpn(s)",
                        router,
                        path,
                    )


def require_vpns_of_router(view: Candidate, item: Object) -> None:
    """A router's bgpvpns are l3, and its networks have none of their own."""
    vpns = _vpns(view, item)
    path = "$.logical-router.bgpvpn_refs"
    for vpn in vpns:
        if _type_of(vpn) != "l3":
            raise InputError(
                "other-bgpvpn-type",
                "Only bgpvpn type 'l3' can be associated to a logical router:"
                f" bgpvpn {vpn.name} is of type {_type_of(vpn)}",
                path=path,
                hint="use a bgpvpn of type l3",
            )
    if not vpns:
        return
    for network in _networks_behind(view, item):
        if network.refs_to(_BGPVPN):
            raise _twice(
                f"Router {item.name} is linked to virtual network(s) which is/are associated to"
                " bgpvpn(s)",
                network,
                path,
            )


def _networks_behind(view: Candidate, router: Object) -> Iterator[Object]:
    for ref in router.refs_to(_PORT):
        port = view.get(ref.uuid)
        for target in port.refs_to("virtual-network") if port is not None else ():
            network = view.get(target.uuid)
            if network is not None:
                yield network


def _twice(said: str, other: Object, path: str) -> InputError:
    hint = "associate the network or the router with bgpvpns, not both"
    return InputError(
        "bgpvpn-twice", f"{said}: {other.kind} {other.name}", path=path, hint=hint
    ).naming(other.uuid, InputError("bgpvpn-twice", said, path=path, hint=hint))


def _vpns(view: Candidate, item: Object) -> list[Object]:
    found = (view.get(ref.uuid) for ref in item.refs_to(_BGPVPN))
    return [vpn for vpn in found if vpn is not None]


def _type_of(vpn: Object) -> str:
    return str(vpn.props.get("bgpvpn_type") or "l3")
