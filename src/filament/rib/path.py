"""Routes as the RIB holds them: paths, and what came of choosing among them."""

from __future__ import annotations

import msgspec

from filament.base.net import format_ipv4
from filament.base.origin import NOWHERE, Origin

KNOWN_ENCAPSULATIONS = frozenset({"udp", "gre", "vxlan", "mpls", "native"})


class Path(msgspec.Struct, frozen=True):
    """One peer's way to a key, published in the instance `source`.

    `instance_id` is the peer's own number for that instance; with its next hop it makes the route
    distinguisher. `network` is the fq name of the network the destination is in. A `stale` path
    is of a peer that is away and expected back.
    """

    peer: str
    source: str
    next_hop: int
    label: int
    network: str = ""
    encapsulations: tuple[str, ...] = ("udp",)
    mac: int = 0
    local_preference: int = 200
    sequence: int = 0
    sub_protocol: str = "interface"
    instance_id: int = 0
    origin: Origin = NOWHERE
    stale: bool = False

    @property
    def distinguisher(self) -> str:
        """The route distinguisher, RFC 4364 section 4.2 type 1."""
        return f"{format_ipv4(self.next_hop)}:{self.instance_id}"

    def forwards_as(self, other: Path) -> bool:
        """Say whether a listener could not tell the two apart."""
        return (
            self == other
            or msgspec.structs.replace(self, stale=other.stale, instance_id=other.instance_id)
            == other
        )


class Selection(msgspec.Struct, frozen=True):
    """The chosen paths to a key, the best first: those after it are of equal cost."""

    paths: tuple[Path, ...]

    @property
    def best(self) -> Path:
        """The path whose attributes stand for the route."""
        return self.paths[0]

    def forwards_as(self, other: Selection) -> bool:
        """Say whether a listener could not tell the two apart."""
        return len(self.paths) == len(other.paths) and all(
            ours.forwards_as(theirs) for ours, theirs in zip(self.paths, other.paths, strict=True)
        )
