"""Row formats and drop reasons of the data plane: the single source for C and Python.

`dataplane.gen` writes the C header from this file; `forward.tables` packs and unpacks rows by it;
`forward.model` interprets them. Byte order: `u*` fields are host order, `be*` network order (their
Python value is always the plain int). Fields are ordered so that no implicit padding exists; `pad`
fields are explicit and zero.

Where IPv4 and IPv6 share a field (`be128`), an IPv4 address is ::ffff:a.b.c.d (RFC 4291 section
2.5.5.2). Routes do not share: IPv4 has a table of its own, whose keys are short.
"""

from __future__ import annotations

import enum
import hashlib
from typing import NamedTuple, Self


class DropReason(enum.IntEnum):
    """Why a packet was discarded. One enum for kernel, model, counters and explanation.

    `text` says it to a person; `tf` is the nearest counter of TF's `dropstats`.
    """

    text: str
    tf: str

    def __new__(cls, value: int, text: str, tf: str) -> Self:
        """Attach the texts to the number."""
        reason = int.__new__(cls, value)
        reason._value_ = value
        reason.text = text
        reason.tf = tf
        return reason

    NONE = 0, "not dropped", ""
    UNKNOWN_INTERFACE = 1, "the interface is not a plugged port", "Invalid IF"
    MALFORMED = 2, "the packet is truncated or has an impossible header", "Invalid Packets"
    UNSUPPORTED_PROTOCOL = 3, "the packet is neither IPv4, IPv6 nor ARP", "Invalid Protocol"
    SOURCE_SPOOFED = 4, "the source address does not belong to the port", "Invalid Source"
    NO_ROUTE = 5, "the VRF has no route to the destination", "Discards"
    UNASSIGNED = 6, "the destination is in the subnet but no port has it", "Discards"
    POLICY_FROM_PORT = 7, "the source network's policy denies it", "Flow Action Drop"
    POLICY_TO_PORT = 8, "the destination network's policy denies it", "Flow Action Drop"
    TTL_EXCEEDED = 9, "the TTL ran out", "TTL Exceeded"
    INVALID_NEXT_HOP = 10, "the route's next hop does not exist", "Invalid NH"
    INVALID_LABEL = 11, "no port has the packet's MPLS label", "Invalid Label"
    NO_UNDERLAY_ROUTE = 12, "the kernel has no route to the tunnel's end", "Nowhere to go"
    PUSH_FAILED = 13, "the kernel refused to make room for the tunnel header", "Push Fails"
    PULL_FAILED = 14, "the kernel refused to remove the tunnel header", "Pull Fails"
    MTU_EXCEEDED = 15, "the packet with its tunnel header exceeds the underlay's MTU", "Discards"
    NOT_SERVED = 16, "the gateway does not serve this protocol", "Invalid Protocol"
    ARP_UNANSWERED = 17, "nobody here answers ARP or ND for this address", "Invalid ARP"
    NOT_UNICAST = 18, "multicast and broadcast are not forwarded", "Invalid Mcast Source"
    CONGESTION_LOST = 19, "marked congested in a tunnel, but it cannot carry the mark", "Discards"
    FLOW_LIMIT = 20, "the port has as many flows as it may have", "New Flow Drops"
    FLOW_TABLE_FULL = 21, "the flow table of the host is full", "Flow Table Full"
    INVALID_VNI = 22, "no VRF has the packet's VXLAN identifier", "Invalid VNID"
    SECURITY_FROM_PORT = 23, "no rule of the port's security groups lets it out", "Flow Action Drop"
    SECURITY_TO_PORT = 24, "no rule of the port's security groups lets it in", "Flow Action Drop"
    SOURCE_MAC_SPOOFED = 25, "the source MAC address does not belong to the port", "Invalid Source"
    FIREWALL_FROM_PORT = 26, "the port's firewall policies do not let it out", "Flow Action Drop"
    FIREWALL_TO_PORT = 27, "the port's firewall policies do not let it in", "Flow Action Drop"


class NextHopType(enum.IntEnum):
    """TF's nh_type numbers, those in use here."""

    RECEIVE = 1  # the distributed gateway itself: answers ICMP echo
    INTERFACE = 2  # TF's ENCAP: a local port
    TUNNEL = 3  # MPLS over UDP or VXLAN to another host
    DISCARD = 5  # inside a subnet, but nobody has the address
    COMPOSITE = 6  # one of several next hops, by flow (ECMP)


class Verdict(enum.IntEnum):
    """What a program returned (TC_ACT_*)."""

    OK = 0
    SHOT = 2
    REDIRECT = 7


INTERFACE_POLICY = 1  # interfaces.flags: evaluate the ACL
INTERFACE_CHECK_MAC = 2  # interfaces.flags: frames must come from the port's MAC or a pair's
INTERFACE_CHECK_SOURCE = 4  # interfaces.flags: packets must come from an address of the port's
INTERFACE_FAT_FLOWS = 8  # interfaces.flags: the port has rows in fat_flows or fat_subnets
INTERFACE_FAT_SUBNETS = 16  # interfaces.flags: the port has rows in fat_subnets
INTERFACE_STANDBY = 32  # interfaces.flags: some of the port's rows in sources have a claim
NEXT_HOP_PEER = 1  # next_hops.flags: device is a veth, deliver with bpf_redirect_peer
NEXT_HOP_VXLAN = 2  # next_hops.flags: the tunnel is VXLAN, the label a VNI
ECMP_PROTOCOL = 0x100  # next_hops.flags: what of a packet chooses among the members of a composite
ECMP_SOURCE = 0x200
ECMP_SOURCE_PORT = 0x400
ECMP_DESTINATION = 0x800
ECMP_DESTINATION_PORT = 0x1000
ROUTE_PROXY_ARP = 2  # routes.flags: answer ARP and ND for it (TF's label_flags ARP_PROXY)
FLOW_INBOUND = 1  # flows.flags: the far end started it; policy is judged on its tuple
FLOW_PASSED = 2  # flows.flags: a packet of it passed, so that the other direction is its answers
FLOW_BOTH_DENIED = 4  # flows.flags: the other direction was judged on its own, and denied too
FAT_PORTS = 1  # fat_flows.fat, flows' keys' fat: the key has but one port, or none
FAT_LOCAL = 2  # of the port's own address it has the first `local_length` bits
FAT_REMOTE = 4  # of the far one `remote_length`, and what policy knows of it (`flows.FarEnd`)
FAR_END_BITS = 21  # of each number in what a key has of a far end (`ids.SPACES` has fewer)
FAT_BY_LOCAL = 0  # fat_subnets.by: the port's own address is looked up
FAT_BY_REMOTE = 1  # the far one
FAT_BY_BOTH = 2  # the port's own; then the far one, by what its row says
FAT_BY_SECOND = 3  # and more: the far one, for those whose own address lies in a certain prefix
ACL_PASS = 1  # actions of rules and flows
ACL_DENY = 0
SECURITY_DENY = 2  # flows.action: the network's policy lets it pass, no security group does
FIREWALL_DENY = 3  # flows.action: both let it pass, the firewall policies do not
ASKS_GROUPS = 1  # rules.groups
ASKS_TAGS = 2
PROTOCOL_ANY = 256  # rules.protocol, shapes.protocol
PROTOCOL_PORTLESS = 257  # shapes.protocol: any protocol that has no ports
RULE_NONE = 0xFFFFFFFF  # flows.rule: no rule of the list matched (denied), or there is no list
SHAPE_SOURCE_NETWORK = 1  # shapes.flags: what its buckets' keys hold, besides masked addresses
SHAPE_DESTINATION_NETWORK = 2
SHAPE_GROUPS = 4
SHAPE_PROTOCOL = 8
SHAPE_PORT = 16
SHAPE_PORT_RANGE = 32  # the bucket has ranges of destination ports
FABRIC_VIF = 0  # drops and counters of packets that belong to no port

# An entry of the flow table that saw no packet for so long, in either direction, counts as absent:
# TF's FlowAgeTime; for TCP the least that RFC 5382 (REQ-5) wants for established connections, and
# little for those that nobody answered, or that both sides closed or one side reset. Flows that
# never passed are kept only so that their packets are not judged one by one.
FLOW_IDLE_S = 180
FLOW_IDLE_ICMP_S = 60
FLOW_IDLE_TCP_S = 7440
FLOW_IDLE_TCP_OPENING_S = 60
FLOW_IDLE_TCP_CLOSED_S = 10
FLOW_IDLE_DENIED_S = 30
# A flow table so full is pressed: then flows that are not established stay no longer than this.
FLOWS_PRESSED = 7 / 8
FLOW_IDLE_PRESSED_S = 2

FRAGMENT_IDLE_S = 2  # TF's: how long fragments may come after the first one

# The gateway's link-local address in every network: TF's. Its MAC is the router MAC.
GATEWAY_LINK_LOCAL = 0xFE800000_00000000_00000000_5E000100

MPLS_OVERHEAD = 32  # bytes that IPv4, UDP and one MPLS label add to a port's packet
VXLAN_OVERHEAD = 50  # bytes that IPv4, UDP, VXLAN and an Ethernet header add to it
TUNNEL_TTL = 64  # of outer headers and of echo replies
TUNNEL_SOURCE_PORT = 49152  # the lowest; 14 bits of hash are added (RFC 7510 section 3)


class Field(NamedTuple):
    """One member of a C struct: `u8 u16 u32 u64 be16 be32 be128 mac pad<N>`; a mac has 6 bytes."""

    name: str
    type: str


class Table(NamedTuple):
    """One BPF map.

    `map_type` is the BPF_MAP_TYPE_ suffix; `planned` says that rows come from `forward.plan` and
    are reconciled (otherwise the kernel owns the contents). In an array a row of zeros is absent.
    """

    name: str
    map_type: str
    key: tuple[Field, ...]
    value: tuple[Field, ...]
    max_entries: int
    planned: bool


def _fields(text: str) -> tuple[Field, ...]:
    return tuple(Field(*reversed(part.strip().split(" "))) for part in text.split(","))


# A list's rules by position, as people wrote them: first match decides. 0 in a network field is
# any, `groups` says what is asked of the far end besides: ASKS_GROUPS for rules about members of a
# security group, ASKS_TAGS for rules about ends with certain tags. Planned but in no kernel, which
# has the same in the first four tables, made by `forward.classify`.
RULES = Table(
    "rules",
    "",
    _fields("u32 list, u32 index"),
    _fields(
        "u32 source_network, u32 destination_network, be128 source, be128 source_mask, "
        "be128 destination, be128 destination_mask, u16 source_port_low, u16 source_port_high, "
        "u16 port_low, u16 port_high, u32 protocol, u32 version, u32 groups, u32 action"
    ),
    0,
    True,
)

# Order matters: rows are written in this order and deleted in the reverse, so that nothing ever
# points at a row that is not there yet.
TABLES: tuple[Table, ...] = (
    # Pieces of destination ports and the rule that decides them, sorted, by position in the list.
    Table(
        "ranges",
        "HASH",
        _fields("u32 list, u32 index"),
        _fields("u32 low, u32 high, u32 rule, u32 action"),
        1048576,
        True,
    ),
    # What the rules of a shape say of packets with these values: the first rule that matches, or
    # `range_count` rows of `ranges`. Fields that the shape does not look at are 0. `groups` is the
    # far end's set of security groups; in the lists of firewall policies its set of tags.
    Table(
        "buckets",
        "HASH",
        _fields(
            "u32 list, u32 shape, u32 source_network, u32 destination_network, u32 groups, "
            "u32 protocol, u32 port, be128 source, be128 destination"
        ),
        _fields("u32 rule, u32 action, u32 first_range, u32 range_count"),
        1048576,
        True,
    ),
    # What rules look at, in the order of their first rule. `version` 0 is any; `protocol` is 0 when
    # the flags have SHAPE_PROTOCOL, otherwise PROTOCOL_ANY or PROTOCOL_PORTLESS.
    Table(
        "shapes",
        "HASH",
        _fields("u32 list, u32 index"),
        _fields(
            "u32 first_rule, u32 version, u32 source_port_low, u32 source_port_high, u32 flags, "
            "u32 protocol, be128 source_mask, be128 destination_mask"
        ),
        262144,
        True,
    ),
    # Lists of rules: those of access control lists, of security groups and of policy sets. A list
    # may have two halves that must both let a packet pass: `second_count` shapes of the second
    # follow the `shape_count` of the first, and its rules the first's.
    Table(
        "lists",
        "HASH",
        _fields("u32 list"),
        _fields("u32 shape_count, u32 second_count"),
        65536,
        True,
    ),
    # What a port may send from besides its primary addresses from its own MAC: MAC and address go
    # together. prefix_length counts the 96 bits of vif, mac and pad too; addresses are wide. A MAC
    # that is not the port's also has a row for the address ::, of what has no address yet. `pair`
    # is the number of the allowed address pair, 0 for an address that was allocated to the port.
    # `claim` is what the port claims by sending from there, where one of several ports holds the
    # address at a time (active-standby), otherwise 0; such primary addresses have a row, too.
    Table(
        "sources",
        "LPM_TRIE",
        _fields("u32 prefix_length, be32 vif, mac mac, pad2 pad, be128 address"),
        _fields("u32 pair, u32 claim"),
        262144,
        True,
    ),
    # Ports by the ifindex of their device in the host. `vif` is the small number counters use;
    # `address` and `address6` are the port's primary addresses, `flow_limit` how many flows it may
    # have (0: as many as there is room for). `acl`, `egress` and `ingress` are lists, 0 none: the
    # network's, and those of its security groups for flows that the port starts, or the far end;
    # `firewall_egress` and `firewall_ingress` are those of its firewall policies.
    Table(
        "interfaces",
        "HASH",
        _fields("u32 ifindex"),
        _fields(
            "u32 vif, u32 vrf, u32 network, u32 acl, u32 egress, u32 ingress, "
            "u32 firewall_egress, u32 firewall_ingress, u32 next_hop, u32 flags, be32 address, "
            "u32 flow_limit, be128 address6, mac mac, pad2 pad"
        ),
        16384,
        True,
    ),
    # Which of a port's flows are aggregated (TF's fat flows), by protocol and one of their ports, 0
    # for all: `fat` is what their key leaves out, and the lengths what it keeps of addresses.
    Table(
        "fat_flows",
        "HASH",
        _fields("u32 vif, u32 protocol, u32 port"),
        _fields("u8 fat, u8 local_length, u8 remote_length, pad1 pad"),
        65536,
        True,
    ),
    # The same for those whose addresses lie in certain prefixes. prefix_length counts the 64 bits
    # before the (wide) address too. Rows of FAT_BY_BOTH have only `then`: where to look up the far
    # address, FAT_BY_SECOND or more. Of several rows those of the lowest `by` count.
    Table(
        "fat_subnets",
        "LPM_TRIE",
        _fields("u32 prefix_length, be32 vif, u8 protocol, u8 by, be16 port, be128 address"),
        _fields("u8 fat, u8 local_length, u8 remote_length, u8 then"),
        65536,
        True,
    ),
    # The members of composite next hops by position, and the positions by member. Those of one id
    # never change: other members are another composite.
    Table(
        "members",
        "HASH",
        _fields("u32 next_hop, u32 index"),
        _fields("u32 member"),
        262144,
        True,
    ),
    Table(
        "places",
        "HASH",
        _fields("u32 next_hop, u32 member"),
        _fields("u32 position"),
        262144,
        True,
    ),
    # Next hops by id; routes share them. RECEIVE: source_mac is the gateway's MAC. INTERFACE:
    # ifindex, destination_mac (the port's), source_mac (the gateway's). TUNNEL: remote (host), and
    # with VXLAN the MACs of the frame inside: the far end's router and the gateway's; `label`, if
    # not 0, is pushed instead of the route's. COMPOSITE: how many members there are, and how many
    # of them, which come first, are ports here.
    Table(
        "next_hops",
        "ARRAY",
        _fields("u32 id"),
        _fields(
            "u32 type, u32 flags, u32 ifindex, be32 remote, mac destination_mac, mac source_mac, "
            "u32 label, u32 members, u32 local_members"
        ),
        65536,
        True,
    ),
    # Incoming MPLS labels: the port's own next hop.
    Table("labels", "ARRAY", _fields("u32 label"), _fields("u32 next_hop"), 16384, True),
    # Incoming VXLAN identifiers: the VRF that routes what is inside.
    Table("vnis", "HASH", _fields("u32 vni"), _fields("u32 vrf"), 16384, True),
    # VRF routes. prefix_length counts the 32 bits of vrf too. `network` is the origin network of
    # the destination, `groups` its set of security groups and `tags` its set of tags, for policy;
    # `label` (or VNI) is pushed by tunnel next hops.
    Table(
        "routes",
        "LPM_TRIE",
        _fields("u32 prefix_length, be32 vrf, be32 address"),
        _fields("u32 next_hop, u32 label, u32 network, u32 groups, u32 tags, u32 flags"),
        1048576,
        True,
    ),
    # The same for IPv6.
    Table(
        "routes6",
        "LPM_TRIE",
        _fields("u32 prefix_length, be32 vrf, be128 address"),
        _fields("u32 next_hop, u32 label, u32 network, u32 groups, u32 tags, u32 flags"),
        1048576,
        True,
    ),
    # The host: its tunnel address, the policy generation (bumped after ACL rows changed, so that
    # running flows are judged again) and the revision that these rows show. Row 0 only.
    Table(
        "host",
        "ARRAY",
        _fields("u32 index"),
        _fields("be32 address, u32 generation, u64 revision"),
        1,
        True,
    ),
    # Flows, per port, owned by the kernel: both directions of a connection, and the verdict on the
    # tuple of the end that started it, which holds for that `generation` and these lists. `rule`,
    # `security_rule` and `firewall_rule` are the indexes in `acl`, `security` and `firewall` (the
    # port's `egress` or `ingress` ones) that decided; `icmp` is the type and code it began with;
    # `out` is from the port, `in` to it; bytes are the IP packets'. `fat` says what the key leaves
    # out (zeros), the lengths what it keeps of addresses; of fat flows TCP is not followed.
    # `member` is the next hop that packets from the port take where there are several, or 0.
    # `tcp_out` and `tcp_in` are all TCP flags seen. Rows that have been idle for too long count as
    # absent (`forward.flows.idle_s`); the agent sweeps them out.
    Table(
        "flows",
        "HASH",
        _fields(
            "u32 vif, u32 vrf, be128 local, be128 remote, be16 local_port, be16 remote_port, "
            "u8 protocol, u8 fat, u8 local_length, u8 remote_length"
        ),
        _fields(
            "u64 started_ns, u64 last_seen_ns, u64 out_packets, u64 out_bytes, u64 in_packets, "
            "u64 in_bytes, u32 generation, u32 acl, u32 rule, u32 security, u32 security_rule, "
            "u32 firewall, u32 firewall_rule, u32 icmp, u32 member, u8 action, u8 flags, "
            "u8 tcp_out, u8 tcp_in"
        ),
        1048576,
        False,
    ),
    # When a port last claimed what it shares with standbys: by ARP or a neighbour solicitation from
    # an address of it, by an advertisement of one, or by beginning a flow.
    Table("claims", "HASH", _fields("u32 claim"), _fields("u64 claimed_ns"), 16384, False),
    # What the first fragment of a packet said, for those that follow it. Old rows mean nothing.
    Table(
        "fragments",
        "LRU_HASH",
        _fields("u32 vif, be128 source, be128 destination, be32 id, u32 protocol"),
        _fields("u64 seen_ns, be16 source_port, be16 destination_port, u32 icmp"),
        8192,
        False,
    ),
    # How many flows the kernel entered per port, and how many the agent swept out: each counter has
    # one writer, the difference is what the port's limit is about.
    Table("flows_entered", "ARRAY", _fields("u32 vif"), _fields("u64 count"), 16384, False),
    Table("flows_swept", "ARRAY", _fields("u32 vif"), _fields("u64 count"), 16384, False),
    # Discarded packets by port (0: fabric) and reason.
    Table(
        "drops",
        "PERCPU_HASH",
        _fields("u32 vif, u32 reason"),
        _fields("u64 packets"),
        65536,
        False,
    ),
    # The same by VRF (0: that of the underlay, or none).
    Table(
        "vrf_drops",
        "PERCPU_HASH",
        _fields("u32 vrf, u32 reason"),
        _fields("u64 packets"),
        65536,
        False,
    ),
    # How many samples (SAMPLE_DROP, SAMPLE_FLOW) each CPU took in its current slice of time, and in
    # all: `shown`, not shown because the slice had its share (`skipped`) or the ring was full.
    Table(
        "samplings",
        "PERCPU_ARRAY",
        _fields("u32 kind"),
        _fields("u64 slice, u64 count, u64 shown, u64 skipped, u64 lost"),
        2,
        False,
    ),
    # Packets from ("rx") and to ("tx") each port; row 0 counts tunnelled packets of the fabric. A
    # segmentation-offload packet counts once, as in the kernel's own counters of a veth.
    Table(
        "counters",
        "PERCPU_ARRAY",
        _fields("u32 vif"),
        _fields("u64 rx_packets, u64 rx_bytes, u64 tx_packets, u64 tx_bytes"),
        16384,
        False,
    ),
    # What a program decided about the last packet on each CPU, for tests: written only when the
    # object was loaded with `record_decisions`. Row 0 only.
    Table(
        "decisions",
        "PERCPU_ARRAY",
        _fields("u32 index"),
        _fields("u32 verdict, u32 reason, u32 next_hop, u32 ifindex"),
        1,
        False,
    ),
)
# What the kernel shows of some packets: records of a ring that the agent reads. Of those it drops,
# and (`reason` 0) of the first that passes of a flow, at each port. `ifindex` is the device the
# packet came in by; `head` the start of the frame, `captured` bytes of it, as it was just then.
SAMPLES = "samples"
SAMPLE = _fields("u64 at_ns, u32 vif, u32 vrf, u32 ifindex, u32 reason, u32 length, u32 captured")
SAMPLE_HEAD_BYTES = 128  # of `head`, which follows those fields
SAMPLES_BYTES = 1048576  # of the ring
SAMPLES_SLICE_BITS = 27  # a slice of time is 2^27 ns, an eighth of a second
SAMPLES_PER_SLICE = 32  # of each kind, per CPU
SAMPLE_DROP = 0  # kinds of samples
SAMPLE_FLOW = 1

TABLE_BY_NAME = {table.name: table for table in (RULES, *TABLES)}
PLANNED = tuple(table.name for table in (RULES, *TABLES) if table.planned)


def _fingerprint() -> int:
    digest = hashlib.sha256(repr((TABLES, SAMPLE, SAMPLE_HEAD_BYTES)).encode())
    return int.from_bytes(digest.digest()[:8], "little")


# Changes whenever a row format does: maps pinned by one version are not read by another.
ABI = _fingerprint()
