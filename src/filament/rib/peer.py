"""Who routes come from and go to, as the RIB needs to know it."""

from __future__ import annotations

import enum

import msgspec

from filament.wire.bgp.family import AddressFamily


class PeerKind(enum.IntEnum):
    """What a peer is to us; the order is the preference of its routes (TF's PathCompare 12-15)."""

    AGENT = 0  # speaks XMPP: its routes are our own
    EXTERNAL = 1  # BGP, another AS
    CLIENT = 2  # BGP, our AS, and we reflect to it (RFC 4456)
    INTERNAL = 3  # BGP, our AS, not a client

    @property
    def is_internal(self) -> bool:
        """Whether it is a BGP peer of our AS."""
        return self >= PeerKind.CLIENT


class PrivateAs(enum.Enum):
    """What is done about private ASes in the paths that a peer is sent."""

    KEEP = ""
    REMOVE = "remove"  # those before the first public one
    REMOVE_ALL = "remove-all"
    REPLACE_ALL = "replace-all"  # by the public one before them, or ours


class Rules(msgspec.Struct, frozen=True):
    """What the configuration of a session asks of its routes.

    `loops` says how often our AS may be in the path of a route that is believed, `encapsulations`
    (tunnel types) what is put in the place of the communities of those sent, and is assumed of
    those heard that have none. `origin` replaces the ORIGIN of those heard.
    """

    has_as_override: bool = False
    private_as: PrivateAs = PrivateAs.KEEP
    loops: tuple[tuple[AddressFamily, int], ...] = ()
    origin: int | None = None
    encapsulations: tuple[tuple[AddressFamily, tuple[int, ...]], ...] = ()

    def loops_of(self, family: AddressFamily) -> int:
        """Return how often our AS may be in a path of a family."""
        return next((count for each, count in self.loops if each is family), 0)

    def encapsulations_of(self, family: AddressFamily) -> tuple[int, ...]:
        """Return the tunnel types of a family; none: as they are."""
        return next((types for each, types in self.encapsulations if each is family), ())


class Peer(msgspec.Struct, frozen=True):
    """One peer. `name` identifies it; `identifier` is its BGP identifier (host-order int);
    `local_as` is the AS that it knows us by where that is not ours, else 0.
    """

    name: str
    kind: PeerKind
    asn: int = 0
    identifier: int = 0
    local_as: int = 0
    rules: Rules = Rules()


class Speaker(msgspec.Struct, frozen=True):
    """Ourselves. `cluster_id` is set when we reflect; `address` is the next hop of what we
    originate (host-order IPv4).
    """

    asn: int = 64512
    identifier: int = 0
    address: int = 0
    cluster_id: int | None = None
