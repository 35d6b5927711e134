"""Floods, scans and frames that nobody should send, over IPv6: what `test_load` has over IPv4."""

import json

import pytest
from tests.lab.frames import card, count, send, syns
from tests.lab.kit import lab_of
from tests.lab.test_groups_and_ipv6 import LOCAL, create_group, put_into, rule, side
from tests.lab.test_load import (
    FLOW_TABLE,
    HOSTS,
    Flood,
    Talk,
    chance,
    flow_table,
    require_all_counted,
    settled,
    status,
    until,
)
from tests.lab.test_observe import show

from filament.base.net import ROUTER_MAC, Prefix, parse_ipv6
from filament.testing.lab.dual import add_ipv6
from filament.wire.packet.frames import (
    icmp6_packet,
    ipv6_frame,
    ipv6_packet,
    solicitation_frame,
    tcp6_packet,
    udp6_packet,
)
from filament.wire.packet.icmp import Icmp
from filament.wire.packet.ipv4 import UDP
from filament.wire.packet.ipv6 import Ipv6, encode_fragment
from filament.wire.packet.tcp import SYN, Tcp

pytestmark = pytest.mark.lab
__all__ = ["chance"]  # a fixture

RED, BLUE = Prefix.parse("2001:db8:1::/64"), Prefix.parse("2001:db8:2::/64")
ADDRESSES = {"red-1": "2001:db8:1::3", "red-2": "2001:db8:1::4"}
BLUE_2 = "2001:db8:2::4"
HERE, THERE = (parse_ipv6(ADDRESSES[name]) for name in ("red-1", "red-2"))
ANYBODY6 = side(subnet={"ip_prefix": "::", "ip_prefix_len": 0})
PING = ["ping", "-6", "-nq", "-c3", "-i0.02", ADDRESSES["red-2"]]


@pytest.fixture(scope="module")
def lab():
    """As in `test_load`: who is connected while others flood may only ask, and only be asked."""
    with lab_of(agent_options=("--flow-table", str(FLOW_TABLE))) as built:
        add_ipv6(built, "red", RED, ADDRESSES)
        add_ipv6(built, "blue", BLUE, {"blue-1": "2001:db8:2::3", "blue-2": BLUE_2})
        create_group(built, "asks", rule(LOCAL, ANYBODY6, ethertype="IPv6"))
        create_group(built, "answers", rule(ANYBODY6, LOCAL, ethertype="IPv6"))
        put_into(built, "blue-1", "asks")
        put_into(built, "blue-2", "answers")
        assert built.run("red-1", PING).returncode == 0
        yield built


def test_a_scan_of_every_port_and_of_addresses_is_accounted_for(lab, capsys):
    before = {host: settled(lab, host) for host in HOSTS}
    mac = lab.plan.workload("red-1").mac
    ports = ((40_000, port) for port in range(1, 3001))
    frames = syns(lab, "red-1", "red-2", ports, (HERE, THERE))
    frames += [
        ipv6_frame(mac, ROUTER_MAC, tcp6_packet(HERE, RED.address + last, Tcp(40_000, 22)))
        for last in range(256)
    ]
    with card(lab, "red-1") as wire:
        assert send(wire, frames) == len(frames)
    found = {host: settled(lab, host).since(before[host]) for host in HOSTS}
    for counts in found.values():
        assert counts.taken == counts.sent + counts.dropped, counts
    # Nobody has the address but the two workloads, the gateway and the service address.
    reasons = found["host1"].by_reason
    assert reasons["UNASSIGNED"] >= 252
    assert reasons["UNASSIGNED"] + reasons["NOT_SERVED"] == 254
    assert found["host1"].taken >= 2 * 3000 + 256 + 1  # and the answers: RST of closed ports
    rows = json.loads(show(lab, capsys, "drops", "--by", "reason", "--host", "host1", "--json"))
    assert {row["reason"] for row in rows} >= {"UNASSIGNED", "NOT_SERVED"}


def frames_of_every_kind(lab):
    """Frames that are right, as the workload red-1 may send them, to begin with."""
    mac, ends = lab.plan.workload("red-1").mac, (HERE, THERE)
    udp = udp6_packet(*ends, (5000, 5001), b"x" * 64)
    segment = udp[40:]
    fragments = [
        encode_fragment(UDP, 0, more_fragments=True, number=9),
        encode_fragment(UDP, 8, more_fragments=False, number=9),
    ]
    options = bytes([UDP, 0, 1, 4, 0, 0, 0, 0])  # padding, before the segment
    packets = [
        udp,
        tcp6_packet(*ends, Tcp(5000, 5002, flags=SYN), b"x" * 9),
        icmp6_packet(*ends, Icmp(128, 0, 7, 1), b"x" * 56),
        icmp6_packet(*ends, Icmp(1, 4), udp6_packet(*ends[::-1], (5001, 5000))[:48]),
        icmp6_packet(HERE, RED.address + 1, Icmp(128, 0, 7, 1), b"x" * 56),
        *(ipv6_packet(Ipv6(*ends, kind), options + segment) for kind in (0, 43, 60)),
        *(ipv6_packet(Ipv6(*ends, 44), fragment + segment) for fragment in fragments),
    ]
    found = [ipv6_frame(mac, ROUTER_MAC, packet) for packet in packets]
    return [*found, solicitation_frame(mac, HERE, RED.address + 1)]


def test_frames_that_make_no_sense_are_counted_one_by_one(lab, chance):
    require_all_counted(lab, chance, frames_of_every_kind(lab), PING)


def test_a_syn_flood_raises_an_alarm_and_takes_nothing_from_who_is_connected(lab, chance, capsys):
    talk = Talk(lab, "blue-1", "blue-2", address=BLUE_2)
    talk.say()
    before = count(lab, "host1")
    with Flood(lab, "red-1", "red-2", chance, (HERE, THERE)) as flood:
        until(lambda: flow_table(lab)["pressed"])
        until(lambda: "the flow table is nearly full: " in status(lab, capsys))
        talk.say()
        until(lambda: "FLOW_TABLE_FULL" in count(lab, "host1").since(before).by_reason)
        talk.say()
    assert flood.sent > FLOW_TABLE
    until(lambda: not any(flow_table(lab, host)["pressed"] for host in HOSTS))
    after = Talk(lab, "blue-1", "blue-2", 7003, BLUE_2)
    for each in (talk, after):
        each.say()
        each.close()
