"""Packet headers: round trips, whatever the bytes, and scapy as an independent reader."""

from __future__ import annotations

import contextlib
import warnings

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.errors import ProtocolError
from filament.base.net import parse_ipv4
from filament.wire.packet.arp import Arp, decode_arp, encode_arp
from filament.wire.packet.checksum import checksum, replace_in_checksum
from filament.wire.packet.ethernet import Ethernet, decode_ethernet, encode_ethernet
from filament.wire.packet.frames import (
    arp_request_frame,
    icmp_packet,
    ipv4_frame,
    ipv4_packet,
    tcp_packet,
    udp_packet,
)
from filament.wire.packet.icmp import Icmp, decode_icmp, encode_icmp
from filament.wire.packet.ipv4 import Ipv4, decode_ipv4, encode_ipv4
from filament.wire.packet.mpls import LabelEntry, decode_label, encode_label
from filament.wire.packet.tcp import Tcp, decode_tcp, encode_tcp
from filament.wire.packet.udp import Udp, decode_udp, encode_udp

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.contrib.mpls import MPLS
    from scapy.layers.inet import ICMP as ScapyIcmp
    from scapy.layers.inet import IP as ScapyIp
    from scapy.layers.inet import TCP as ScapyTcp
    from scapy.layers.inet import UDP as ScapyUdp
    from scapy.layers.l2 import ARP as ScapyArp
    from scapy.layers.l2 import Ether

octet = st.integers(0, 0xFF)
word = st.integers(0, 0xFFFF)
address = st.integers(0, 0xFFFFFFFF)
mac = st.integers(0, 0xFFFFFFFFFFFF)
options = st.integers(0, 10).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n))

SAMPLES = [
    (st.builds(Ethernet, mac, mac, word), encode_ethernet, decode_ethernet),
    (st.builds(Arp, word, mac, address, mac, address), encode_arp, decode_arp),
    (
        st.builds(
            Ipv4,
            source=address,
            destination=address,
            protocol=octet,
            length=st.integers(60, 0xFFFF),
            ttl=octet,
            tos=octet,
            identification=word,
            dont_fragment=st.booleans(),
            more_fragments=st.booleans(),
            offset=st.integers(0, 0x1FFF),
            options=options,
            checksum=word,
        ),
        encode_ipv4,
        decode_ipv4,
    ),
    (st.builds(Udp, word, word, st.integers(8, 0xFFFF), word), encode_udp, decode_udp),
    (
        st.builds(Tcp, word, word, address, address, octet, word, word, word, options),
        encode_tcp,
        decode_tcp,
    ),
    (st.builds(Icmp, octet, octet, word, word, word), encode_icmp, decode_icmp),
    (
        st.builds(
            LabelEntry, st.integers(0, (1 << 20) - 1), st.integers(0, 7), st.booleans(), octet
        ),
        encode_label,
        decode_label,
    ),
]
DECODERS = [decode for _, _, decode in SAMPLES]


@pytest.mark.parametrize(("headers", "encode", "decode"), SAMPLES)
@given(data=st.data())
def test_decoding_inverts_encoding(headers, encode, decode, data) -> None:
    header = data.draw(headers)
    rest = data.draw(st.binary(max_size=8))
    assert decode(encode(header) + rest) == header


@pytest.mark.parametrize("decode", DECODERS)
@given(raw=st.binary(max_size=70))
def test_whatever_the_bytes_a_decoder_raises_nothing_but_protocol_errors(decode, raw) -> None:
    with contextlib.suppress(ProtocolError):
        decode(raw)


@pytest.mark.parametrize(
    ("decode", "raw", "text"),
    [
        (decode_ethernet, bytes(13), "truncated: an Ethernet header has 14 bytes, not 13"),
        (decode_arp, bytes(28), "bad-arp: ARP of kind 000000000000; IPv4 over Ethernet is"),
        (decode_ipv4, bytes([0x60]) + bytes(19), "bad-ipv4: 0x60 does not begin an IPv4 header"),
        (decode_ipv4, b"\x45\0\0\x13" + bytes(16), "an IPv4 packet of 19 bytes ends in its header"),
        (decode_ipv4, b"\x46\0\0\x18" + bytes(16), "truncated: the IPv4 options end at 24, not 20"),
        (decode_udp, b"\0\1\0\2\0\7\0\0", "a UDP length of 7 is less than the header's"),
        (decode_tcp, bytes(12) + b"\x40" + bytes(7), "a TCP header of 16 bytes in a segment of 20"),
        (decode_label, bytes(3), "truncated: a label stack entry has 4 bytes, not 3"),
    ],
)
def test_errors_say_what_is_wrong_and_what_would_be_right(decode, raw, text) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(raw)
    assert text in str(caught.value)


@given(raw=st.binary(min_size=2, max_size=40).filter(lambda raw: len(raw) % 2 == 0), data=st.data())
def test_updating_a_checksum_is_computing_it_again(raw: bytes, data) -> None:
    at = data.draw(st.integers(0, len(raw) // 2 - 1)) * 2
    after = data.draw(word)
    changed = raw[:at] + after.to_bytes(2, "big") + raw[at + 2 :]
    before = int.from_bytes(raw[at : at + 2], "big")
    updated = replace_in_checksum(checksum(raw), before, after)
    # 0 and 0xffff are the same number in ones' complement (RFC 1624 section 3).
    assert updated % 0xFFFF == checksum(changed) % 0xFFFF


@given(source=address, destination=address, ports=st.tuples(word, word), payload=st.binary())
def test_scapy_finds_our_udp_right(source, destination, ports, payload) -> None:
    read = ScapyIp(udp_packet(source, destination, ports, payload))
    again = ScapyIp(bytes(_without_checksums(read.copy())))
    assert bytes(read) == bytes(again)
    assert (read[ScapyUdp].sport, read[ScapyUdp].dport) == ports
    assert parse_ipv4(read.src) == source


def test_a_udp_sum_of_zero_is_sent_as_all_ones() -> None:
    found = decode_udp(udp_packet(1, 2, (3, 4), bytes(2))[20:]).checksum
    again = udp_packet(1, 2, (3, 4), found.to_bytes(2, "big"))
    assert decode_udp(again[20:]).checksum == 0xFFFF


def _without_checksums(packet):
    layer = packet
    while layer:
        if hasattr(layer, "chksum"):
            del layer.chksum
        layer = layer.payload
    return packet


def test_scapy_reads_what_we_write() -> None:
    source, destination = parse_ipv4("10.1.1.3"), parse_ipv4("10.1.2.3")
    tcp = ScapyIp(tcp_packet(source, destination, Tcp(1, 2, 3, 4, options=b"\2\4\5\xb4"), b"hi"))
    assert bytes(_without_checksums(tcp.copy())) == bytes(tcp)
    assert tcp[ScapyTcp].options == [("MSS", 1460)]
    assert tcp.flags == "DF"
    icmp = ScapyIp(icmp_packet(source, destination, Icmp(8, 0, 0, 7, 9), b"x"))
    assert bytes(_without_checksums(icmp.copy())) == bytes(icmp)
    assert (icmp[ScapyIcmp].id, icmp[ScapyIcmp].seq) == (7, 9)
    fragment = ScapyIp(ipv4_packet(Ipv4(source, destination, 17, 0, offset=5), b"x"))
    assert fragment.frag == 5
    frame = Ether(ipv4_frame(1, 2, bytes(tcp)))
    assert (frame.dst, frame.src, frame.type) == ("00:00:00:00:00:02", "00:00:00:00:00:01", 0x800)
    asked = Ether(arp_request_frame(0x020000000001, source, destination))
    assert (asked.dst, asked[ScapyArp].op) == ("ff:ff:ff:ff:ff:ff", 1)
    assert (asked[ScapyArp].psrc, asked[ScapyArp].pdst) == ("10.1.1.3", "10.1.2.3")
    label = MPLS(encode_label(LabelEntry(16, 3, is_bottom=True, ttl=63)))
    assert (label.label, label.cos, label.s, label.ttl) == (16, 3, 1, 63)


def test_we_read_what_scapy_writes() -> None:
    raw = bytes(ScapyIp(src="10.0.0.1", dst="10.0.0.2", tos=0xB8, ttl=9, id=77) / ScapyUdp())
    header = decode_ipv4(raw)
    assert (header.tos, header.ttl, header.identification) == (0xB8, 9, 77)
    assert encode_ipv4(msgspec.structs.replace(header, checksum=None)) == raw[:20]
    assert decode_udp(raw[20:]).destination_port == 53
