"""What a kind of peer may be sent, and how attributes change on the way (RFC 4271, 4456, 4684).

Peers with equal policies are one group (see `adjout`): what one is sent, all are, in the same
bytes. The next hop is never changed, as in TF: tunnels end at vRouters and routers, not at us.
"""

from __future__ import annotations

import msgspec

from filament.rib.bundle import DEFAULT_LOCAL_PREFERENCE, Bundle
from filament.rib.peer import PeerKind, PrivateAs, Rules, Speaker
from filament.wire.bgp.attributes import (
    AsPath,
    Attributes,
    has_as,
    is_private_as,
    prepend_as,
    replace_as,
    without_private_as,
)
from filament.wire.bgp.communities import (
    LLGR_STALE,
    NO_ADVERTISE,
    NO_EXPORT,
    NO_EXPORT_SUBCONFED,
    encapsulations_as,
)

_NON_TRANSITIVE = 0x40  # in the type of an extended community, RFC 4360 section 2


class OutPolicy(msgspec.Struct, frozen=True):
    """What is the same for all peers of a group. `asn` is that of external peers, else 0."""

    us: Speaker
    kind: PeerKind
    asn: int = 0
    has_llgr: bool = False
    rules: Rules = Rules()

    def export(self, bundle: Bundle) -> Attributes | str:
        """Return what these peers are sent of a bundle, or why they are not sent it."""
        exported = self._export(bundle)
        encapsulations = self.rules.encapsulations_of(bundle.family)
        if encapsulations and isinstance(exported, Attributes):
            extended = encapsulations_as(exported.extended_communities, encapsulations)
            return msgspec.structs.replace(exported, extended_communities=extended)
        return exported

    def _export(self, bundle: Bundle) -> Attributes | str:
        attributes = bundle.attributes
        communities = attributes.communities
        if communities:
            if NO_ADVERTISE in communities:
                return "it has the community no-advertise"
            if LLGR_STALE in communities and not self.has_llgr:
                return "it is long-lived stale, and the peer does not know what that means"
        if self.kind.is_internal:
            return self._export_internal(bundle)
        for community, name in (
            (NO_EXPORT, "no-export"),
            (NO_EXPORT_SUBCONFED, "no-export-subconfed"),
        ):
            if community in communities:
                return f"it has the community {name}"
        path = attributes.as_path
        if self.rules.has_as_override:
            path = replace_as(path, self.asn, self.us.asn)
        elif has_as(path, self.asn):
            return f"AS path loop: the peer's AS {self.asn} is in its AS path"
        extended = tuple(
            each for each in attributes.extended_communities if not each[0] & _NON_TRANSITIVE
        )
        return msgspec.structs.replace(
            attributes,
            as_path=prepend_as(self._public(path, self.asn, self.us.asn), self.us.asn),
            local_preference=None,
            med=attributes.med if not attributes.as_path else None,
            originator_id=None,
            cluster_list=(),
            extended_communities=extended,
        )

    def _public(self, path: AsPath, peer_asn: int, substitute: int) -> AsPath:
        """Return a path without private ASes, as far as the configuration says."""
        if self.rules.private_as is PrivateAs.KEEP:
            return path
        return without_private_as(
            path,
            beyond_public=self.rules.private_as is not PrivateAs.REMOVE,
            but=peer_asn,
            substitute=substitute if self.rules.private_as is PrivateAs.REPLACE_ALL else 0,
        )

    def _export_internal(self, bundle: Bundle) -> Attributes | str:
        attributes, peer = bundle.attributes, bundle.peer
        if self.rules.private_as is not PrivateAs.KEEP:
            ases = (asn for segment in attributes.as_path for asn in segment.ases)
            first_public = next((asn for asn in ases if not is_private_as(asn)), 0)
            path = self._public(attributes.as_path, self.us.asn, first_public)
            attributes = msgspec.structs.replace(attributes, as_path=path)
        if attributes.local_preference is None:
            attributes = msgspec.structs.replace(
                attributes, local_preference=DEFAULT_LOCAL_PREFERENCE
            )
        if not peer.kind.is_internal:
            return attributes
        if self.us.cluster_id is None:
            return "split horizon: it came from a peer of our AS, and we do not reflect"
        if peer.kind is PeerKind.INTERNAL and self.kind is PeerKind.INTERNAL:
            return "split horizon: neither its peer nor this one is a client of ours"
        return msgspec.structs.replace(
            attributes,
            originator_id=peer.identifier
            if attributes.originator_id is None
            else attributes.originator_id,
            cluster_list=(self.us.cluster_id, *attributes.cluster_list),
        )
