"""Writes the C header of the row formats from `forward.layout`, so that they are declared once.

`python -m filament.dataplane.gen OUT` writes OUT only when its contents change.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from filament.base.net import MPLS_OVER_UDP_PORT, VXLAN_PORT
from filament.forward import layout
from filament.forward.layout import TABLES, DropReason, Field, NextHopType, Table
from filament.forward.tables import KEY_CODECS, VALUE_CODECS

_C_TYPES = {
    "u8": "__u8",
    "u16": "__u16",
    "u32": "__u32",
    "u64": "__u64",
    "be16": "__be16",
    "be32": "__be32",
    "be128": "struct address",
}
_CONSTANTS = (
    "INTERFACE_POLICY",
    "INTERFACE_CHECK_MAC",
    "INTERFACE_CHECK_SOURCE",
    "INTERFACE_FAT_FLOWS",
    "INTERFACE_FAT_SUBNETS",
    "INTERFACE_STANDBY",
    "NEXT_HOP_PEER",
    "NEXT_HOP_VXLAN",
    "ECMP_PROTOCOL",
    "ECMP_SOURCE",
    "ECMP_SOURCE_PORT",
    "ECMP_DESTINATION",
    "ECMP_DESTINATION_PORT",
    "ROUTE_PROXY_ARP",
    "FLOW_INBOUND",
    "FLOW_PASSED",
    "FLOW_BOTH_DENIED",
    "FAT_LOCAL",
    "FAT_REMOTE",
    "FAR_END_BITS",
    "FAT_BY_LOCAL",
    "FAT_BY_REMOTE",
    "FAT_BY_BOTH",
    "ACL_PASS",
    "ACL_DENY",
    "SECURITY_DENY",
    "FIREWALL_DENY",
    "PROTOCOL_PORTLESS",
    "RULE_NONE",
    "SHAPE_SOURCE_NETWORK",
    "SHAPE_DESTINATION_NETWORK",
    "SHAPE_GROUPS",
    "SHAPE_PROTOCOL",
    "SHAPE_PORT",
    "SHAPE_PORT_RANGE",
    "FABRIC_VIF",
    "FLOW_IDLE_S",
    "FLOW_IDLE_ICMP_S",
    "FLOW_IDLE_TCP_S",
    "FLOW_IDLE_TCP_OPENING_S",
    "FLOW_IDLE_TCP_CLOSED_S",
    "FLOW_IDLE_DENIED_S",
    "FRAGMENT_IDLE_S",
    "SAMPLE_HEAD_BYTES",
    "SAMPLES_BYTES",
    "SAMPLES_SLICE_BITS",
    "SAMPLES_PER_SLICE",
    "SAMPLE_DROP",
    "SAMPLE_FLOW",
    "MPLS_OVERHEAD",
    "VXLAN_OVERHEAD",
    "TUNNEL_TTL",
    "TUNNEL_SOURCE_PORT",
)


def _member(field: Field) -> str:
    if field.type == "mac":
        return f"\t__u8 {field.name}[6];"
    if field.type.startswith("pad"):
        return f"\t__u8 {field.name}[{field.type[3:]}];"
    return f"\t{_C_TYPES[field.type]} {field.name};"


def _struct(name: str, fields: Sequence[Field], size_bytes: int) -> Iterator[str]:
    yield f"struct {name} {{"
    for field in fields:
        yield _member(field)
    yield "};"
    yield f'_Static_assert(sizeof(struct {name}) == {size_bytes}, "struct {name} has padding");'
    yield ""


def _map_flags(table: Table) -> str | None:
    # An LPM trie must allocate per row. Plain hashes are sized for the worst case and nearly empty:
    # allocating all rows beforehand would cost megabytes and start-up time for nothing.
    if table.map_type in {"LPM_TRIE", "HASH", "PERCPU_HASH"}:
        return "BPF_F_NO_PREALLOC"
    return None


def _table(table: Table) -> Iterator[str]:
    row = table.name.removesuffix("s")
    yield from _struct(f"{row}_key", table.key, KEY_CODECS[table.name].size_bytes)
    yield from _struct(row, table.value, VALUE_CODECS[table.name].size_bytes)
    yield "struct {"
    yield f"\t__uint(type, BPF_MAP_TYPE_{table.map_type});"
    yield f"\t__uint(max_entries, {table.max_entries});"
    flags = _map_flags(table)
    if flags:
        yield f"\t__uint(map_flags, {flags});"
    yield f"\t__type(key, struct {row}_key);"
    yield f"\t__type(value, struct {row});"
    yield f'}} {table.name} SEC(".maps");'
    yield ""


def header() -> str:
    """Return the header's text."""
    lines = [
        "/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */",
        "/* Written by filament.dataplane.gen from forward/layout.py, which has the comments. */",
        "#pragma once",
        "",
        f"#define LAYOUT_ABI 0x{layout.ABI:016x}ULL",
        f"#define MPLS_OVER_UDP_PORT {MPLS_OVER_UDP_PORT}",
        f"#define VXLAN_PORT {VXLAN_PORT}",
    ]
    lines += [f"#define {name} {getattr(layout, name)}u" for name in _CONSTANTS]
    words = [layout.GATEWAY_LINK_LOCAL >> shift & 0xFFFFFFFF for shift in (96, 64, 32, 0)]
    lines += [f"#define GATEWAY_LINK_LOCAL_WORD{n} 0x{word:08x}u" for n, word in enumerate(words)]
    lines += [
        "",
        "/* An address of either version in network order; IPv4 is ::ffff:a.b.c.d. */",
        "struct address {",
        "\t__be32 words[4];",
        "};",
    ]
    lines += ["", "enum drop_reason {"]
    lines += [f"\tDROP_{reason.name} = {int(reason)}, /* {reason.text} */" for reason in DropReason]
    lines += ["};", "", "enum next_hop_type {"]
    lines += [f"\tNEXT_HOP_{kind.name} = {int(kind)}," for kind in NextHopType]
    lines += ["};", ""]
    for table in TABLES:
        lines += _table(table)
    lines += ["struct sample {", *(_member(field) for field in layout.SAMPLE)]
    lines += ["\t__u8 head[SAMPLE_HEAD_BYTES];", "};", ""]
    lines += [
        "/* The row formats of the maps pinned beside it; the loader checks it. */",
        "struct {",
        "\t__uint(type, BPF_MAP_TYPE_ARRAY);",
        "\t__uint(max_entries, 1);",
        "\t__type(key, __u32);",
        "\t__type(value, __u64);",
        '} abi SEC(".maps");',
        "",
    ]
    return "\n".join(lines)


def write(path: Path) -> bool:
    """Write the header to `path` if it differs; says whether it did."""
    text = header()
    if path.exists() and path.read_text() == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    fresh.replace(path)
    return True


if __name__ == "__main__":
    write(Path(sys.argv[1]))
