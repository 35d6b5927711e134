"""Flows and verdicts in words: who talks to whom, what became of it, and which rule said so."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from filament.base.origin import Origin
from filament.doctor.explain import format_origin, shorten
from filament.doctor.packet import format_protocol
from filament.doctor.words import short_instance, short_name
from filament.wire.packet.ipv4 import ICMP, TCP, UDP
from filament.wire.packet.ipv6 import ICMPV6
from filament.wire.packet.tcp import ACK, FIN, RST, SYN

Record = dict[str, Any]
Workloads = Mapping[str, str]  # a port's whole name -> its workload's
_WITH_PORTS = (TCP, UDP, 132)
_FLAGS = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (ACK, "ACK"))


def workloads_of(interfaces: Sequence[tuple[str, Record]]) -> dict[str, str]:
    """Map ports to workloads, of what agents say of their interfaces."""
    return {item["name"]: item["display_name"] for _, item in interfaces if item["display_name"]}


def alternatives(text: str, workloads: Workloads) -> list[str]:
    """Return what agents may know `text` as: itself, and the ports of the workload it names."""
    return [text, *(port for port, workload in workloads.items() if workload == text)]


def end_text(record: Mapping[str, Any], side: str, workloads: Workloads) -> str:
    """Say one end of a flow: name, address, port, network and tags, as far as they are known."""
    address, port = record[side], record[f"{side}_port"]
    if not address:
        return "-"
    where = address
    if record["protocol"] in _WITH_PORTS:
        where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    name = end_name(record, side, workloads)
    network = short_name(record[f"{side}_network"])
    known = ", ".join(filter(None, [network, *record.get(f"{side}_tags", ())]))
    parts = [name, where, f"({known})" if known else ""]
    return " ".join(part for part in parts if part)


def end_name(record: Mapping[str, Any], side: str, workloads: Workloads) -> str:
    """Name one end of a flow by its workload, or its port; "" when nobody knows."""
    interface = record[f"{side}_interface"]
    workload: str = record[f"{side}_workload"] or workloads.get(interface, "")
    return workload or short_name(interface)


def protocol_text(record: Mapping[str, Any]) -> str:
    """Say the protocol, and what tells its packets apart."""
    protocol = record["protocol"]
    if protocol < 0:
        return "not IP"
    name = format_protocol(protocol) if protocol != ICMPV6 else "icmp6"
    if protocol == TCP and record.get("tcp_flags"):
        flags = [word for bit, word in _FLAGS if record["tcp_flags"] & bit]
        return " ".join([name, "-".join(flags)] if flags else [name])
    if protocol in (ICMP, ICMPV6) and record.get("icmp"):
        kind, code = record["icmp"]
        return f"{name} type {kind}" + (f" code {code}" if code else "")
    return name


def rule_text(rule: Mapping[str, Any]) -> str:
    """Say which rule decided, in the words of `filament trace`."""
    made_by = format_origin(Origin(rule["object"], rule["rule"], rule["revision"]))
    if rule["position"] is None:
        return f"no rule of {shorten(list_name(rule['list']))}" + (
            f" ({made_by})" if made_by else ""
        )
    return made_by or f"rule {rule['position']} of {shorten(list_name(rule['list']))}"


def list_name(text: str) -> str:
    """A list of rules is called like the access control list, or `egress GROUPS`."""
    way, blank, groups = text.partition(" ")
    if not blank:
        return short_instance(text)
    return f"{way} of {', '.join(short_name(group) for group in groups.split(','))}"


def deciding_text(rules: Sequence[Mapping[str, Any]]) -> str:
    """Say the rule that decided last, or that none was asked."""
    return rule_text(rules[-1]) if rules else ""


def verdict_line(record: Mapping[str, Any], workloads: Workloads) -> str:
    """Lay a verdict out in one line."""
    at = record["at"]
    moment = f"{time.strftime('%H:%M:%S', time.localtime(at))}.{int(at % 1 * 1000):03}"
    way = "from" if record["outbound"] else "to"
    decided = deciding_text(record["rules"])
    if record["denied"]:
        verdict = f"dropped {record['reason']}: {decided or record['text']}"
    else:
        verdict = "passes" + (f": {decided}" if decided else "")
    ends = " -> ".join(end_text(record, side, workloads) for side in ("source", "destination"))
    interface = workloads.get(record["interface"]) or short_name(record["interface"])
    where = f"{way} {interface}" if record["vif"] else "underlay"
    return f"{moment} {record['host']} {where}: {ends} {protocol_text(record)} {verdict}"


def loss_text(record: Mapping[str, Any]) -> str:
    """Say what is missing in the stream."""
    parts = []
    for name, what in (("drop", "drops"), ("flow", "new flows")):
        if record.get(name):
            parts.append(f"{record[name]} {what} were not shown: more than the kernel may show")
    if record.get("unread"):
        parts.append(f"{record['unread']} verdicts were not shown: this end read too slowly")
    return f"{record['host']}: {'; '.join(parts)}"
