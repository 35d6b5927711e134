"""Source ports of tunnels: the same for all of a flow, spread over flows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from filament.base.net import parse_ipv4, parse_ipv6
from filament.forward.parse import Packet
from filament.forward.tunnel import entropy
from filament.wire.packet.ipv4 import TCP, UDP

VALUES = 1 << 14
FLOWS = 4096
ME, PEER = parse_ipv4("10.1.1.3"), parse_ipv4("10.1.2.4")
ME6, PEER6 = parse_ipv6("2001:db8:1::3"), parse_ipv6("2001:db8:2::4")


def packet(**changes: object) -> Packet:
    return Packet(
        **{
            "offset": 14,
            "header_bytes": 20,
            "length": 100,
            "version": 4,
            "source": ME,
            "destination": PEER,
            "protocol": TCP,
            "tos": 0,
            "ttl": 64,
            "is_fragment": False,
            "is_first": True,
            "source_port": 40000,
            "destination_port": 443,
            **changes,
        }
    )


def one_field() -> Iterable[tuple[str, list[Packet]]]:
    """Flows that differ in one field only, by neighbouring values, as real ones do."""
    numbers = range(FLOWS)
    yield "source port", [packet(source_port=20000 + number) for number in numbers]
    yield "destination port", [packet(destination_port=20000 + number) for number in numbers]
    yield "every eighth port", [packet(source_port=8 * number) for number in numbers]
    yield "source", [packet(source=ME + number) for number in numbers]
    yield "destination", [packet(destination=PEER + number) for number in numbers]
    yield (
        "IPv6 source",
        [packet(version=6, source=ME6 + number, destination=PEER6) for number in numbers],
    )
    yield (
        "both ports",
        [
            packet(source_port=30000 + number // 64, destination_port=8000 + number % 64)
            for number in numbers
        ],
    )


@pytest.mark.parametrize(("field", "packets"), list(one_field()))
def test_flows_that_differ_little_are_spread(field: str, packets: list[Packet]) -> None:
    found = [entropy(one) for one in packets]

    assert all(0 <= value < VALUES for value in found)
    # Of 4096 throws into 2^14 places about 3630 meet no other: 5 standard deviations are 100.
    assert len(set(found)) > 3500, field
    for ways in (2, 3, 4, 8, 16):
        # Hosts of the underlay may take the low bits, a remainder, or the high ones.
        by_low, by_high = (
            (value % ways for value in found),
            (value * ways // VALUES for value in found),
        )
        for chosen in (Counter(by_low), Counter(by_high)):
            expected = FLOWS / ways
            chi_square = sum((chosen[way] - expected) ** 2 / expected for way in range(ways))
            # Exceeded by a fair choice once in a million for 15 degrees of freedom.
            assert chi_square < 57, (field, ways, chosen)


def test_a_flow_keeps_its_port() -> None:
    assert entropy(packet(ttl=3, length=40)) == entropy(packet())
    assert entropy(packet(protocol=UDP)) != entropy(packet())


def test_fragments_of_a_packet_go_together() -> None:
    first = packet(is_fragment=True, is_first=True)
    later = packet(is_fragment=True, is_first=False, source_port=0, destination_port=0)

    assert entropy(first) == entropy(later)
