"""Who routes come from and go to, as the RIB needs to know it."""

from __future__ import annotations

import enum

import msgspec


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


class Peer(msgspec.Struct, frozen=True):
    """One peer. `name` identifies it; `identifier` is its BGP identifier (host-order int);
    `local_as` is the AS that it knows us by where that is not ours, else 0.
    """

    name: str
    kind: PeerKind
    asn: int = 0
    identifier: int = 0
    local_as: int = 0


class Speaker(msgspec.Struct, frozen=True):
    """Ourselves. `cluster_id` is set when we reflect; `address` is the next hop of what we
    originate (host-order IPv4).
    """

    asn: int = 64512
    identifier: int = 0
    address: int = 0
    cluster_id: int | None = None
