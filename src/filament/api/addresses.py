"""Addresses of a network reserved without an instance-ip (TF's ip-alloc), given back, counted."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import msgspec

from filament.api.engine import ConfigEngine
from filament.api.request import Outcome
from filament.base.errors import ConflictError, InputError, NotFoundError
from filament.base.limits import MAX_ADDRESSES_AT_ONCE
from filament.base.net import parse_address
from filament.model.address import Subnet, choose_address
from filament.model.change import Object
from filament.model.flat_subnet import subnets_of, subnets_to_take_from
from filament.model.kinds import KINDS
from filament.model.snapshot import Candidate
from filament.model.view import View

_NETWORK = KINDS["virtual-network"]


class ReserveAddresses(msgspec.Struct, frozen=True):
    """Take the next `count` free addresses of a network; answers them as texts.

    The network holds them, so they go with it.
    """

    uuid: str
    count: int = 1
    subnet: str | None = None
    family: Literal["v4", "v6"] | None = None

    def carry_out(self, engine: ConfigEngine, change: Candidate, now: float) -> Outcome:
        """See Action."""
        del now
        engine.asking.require_edit(_NETWORK, self.uuid)
        network = engine.find(change, _NETWORK, self.uuid)
        if not 1 <= self.count <= MAX_ADDRESSES_AT_ONCE:
            raise InputError(
                "bad-count",
                f"{self.count} addresses cannot be taken at once",
                path="$.count",
                hint=f"ask for 1 to {MAX_ADDRESSES_AT_ONCE}",
            )
        subnets = self._subnets(subnets_to_take_from(network, change.get), network)
        taken = [_take(change, network, subnets) for _ in range(self.count)]
        return Outcome(answer=taken)

    def _subnets(self, subnets: list[Subnet], network: Object) -> list[Subnet]:
        if self.family is not None:
            subnets = [one for one in subnets if one.family == self.family]
        if self.subnet:
            subnets = [one for one in subnets if one.uuid == self.subnet]
        if not subnets:
            what = f"Subnet id {self.subnet}" if self.subnet else f"{self.family or 'a'} subnet"
            raise NotFoundError(
                f"{what} not found in virtual-network {network.name}; GET the network to see its"
                " subnets"
            )
        return subnets


class ReleaseAddresses(msgspec.Struct, frozen=True):
    """Give reserved addresses back; those that are not reserved are no error (TF)."""

    uuid: str
    addresses: list[str]

    def carry_out(self, engine: ConfigEngine, change: Candidate, now: float) -> Outcome:
        """See Action."""
        del now
        engine.asking.require_edit(_NETWORK, self.uuid)
        network = engine.find(change, _NETWORK, self.uuid)
        subnets = subnets_of(network, change.get)
        for text in self.addresses:
            address, version = parse_address(text)
            for subnet in subnets:
                if not subnet.prefix.contains(address, version):
                    continue
                value = subnet.value_of(address)
                held = change.allocated(subnet.pool, value)
                if held is None:
                    continue
                if held.owner != network.uuid:
                    owner = change.get(held.owner)
                    name = f"{owner.kind} {owner.name}" if owner else held.owner
                    said = f"address {text} is not reserved but held by"
                    raise ConflictError(f"{said} {name}; delete that").naming(
                        held.owner, ConflictError(f"{said} another object")
                    )
                change.free(held)
        return Outcome()


def count_addresses(view: View, network: Object, subnets: list[str]) -> list[int]:
    """How many instance-ips each subnet has, in the order asked."""
    users = view.referrers(network.uuid, "instance-ip")
    counts = Counter(item.props.get("subnet_uuid") for item in users)
    return [counts[uuid] for uuid in subnets]


def _take(change: Candidate, network: Object, subnets: list[Subnet]) -> str:
    for subnet in subnets:
        address = choose_address(change, subnet)
        if address is not None:
            change.take(subnet.pool, subnet.value_of(address), network.uuid)
            return subnet.format(address)
    names = [str(subnet.prefix) for subnet in subnets]
    raise ConflictError(
        f"Virtual-Network({list(network.fq_name)}) has exhausted subnet({names}); ask for fewer"
        " addresses or add a subnet"
    )
