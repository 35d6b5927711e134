"""Equal-cost multi-path: a flow takes one of the members of a composite next hop, and keeps it.

The port's row of the flow remembers the member, for as long as that is one; so only the flows of a
member that goes away choose again. What began at the far end goes back where it came from.
`c/lib/ecmp.h` says the same in C.
"""

from __future__ import annotations

from collections.abc import Mapping

from filament.forward.flows import Flow, FlowKey, key_of
from filament.forward.layout import ACL_PASS, INTERFACE_POLICY, NextHopType
from filament.forward.members import flow_hash, is_member, member_at, next_hop_of
from filament.forward.parse import Packet
from filament.forward.rows import InterfaceValues, Rows


class Chooser:
    """Chooses members on one host; `flows` is the flow table."""

    def __init__(self, rows: Rows, flows: Mapping[FlowKey, Flow]) -> None:
        self._rows = rows
        self._flows = flows

    def member(self, packet: Packet, port: InterfaceValues, number: int) -> int:
        """Return the member for a packet from a port, which its policy let pass; 0 for none."""
        composite = next_hop_of(self._rows, number)
        if composite is None or not composite.members:
            return 0
        flow = None
        if port.flags & INTERFACE_POLICY:
            flow = self._flows.get(key_of(packet, port, self._rows, is_from_port=True))
            if flow is not None and flow.member and is_member(self._rows, number, flow.member):
                return flow.member
        hashed = flow_hash(packet, composite.flags, self._rows.host().address)
        member = member_at(self._rows, number, hashed % composite.members)
        if flow is not None:
            flow.member = member
        return member

    def local_member(self, packet: Packet, number: int, now_ns: int) -> int:
        """Return the member for a packet from another host: one that is here; 0 for none."""
        composite = next_hop_of(self._rows, number)
        if composite is None or not composite.local_members:
            return 0
        for index in range(composite.local_members):
            member = member_at(self._rows, number, index)
            if self._has_flow(member, packet, now_ns):
                return member
        hashed = flow_hash(packet, composite.flags, self._rows.host().address)
        return member_at(self._rows, number, hashed % composite.local_members)

    def _has_flow(self, member: int, packet: Packet, now_ns: int) -> bool:
        """Say whether the port that a member is has the packet's flow."""
        next_hop = next_hop_of(self._rows, member)
        if next_hop is None or next_hop.type != NextHopType.INTERFACE:
            return False
        row = self._rows.find("interfaces", (next_hop.ifindex,))
        if row is None:
            return False
        key = key_of(packet, InterfaceValues(*row.values), self._rows, is_from_port=False)
        flow = self._flows.get(key)
        return (
            flow is not None
            and flow.action == ACL_PASS
            and not flow.is_idle(packet.protocol, now_ns)
        )
