import pytest

from filament.base.net import Prefix, RouteDistinguisher, parse_ipv4, parse_mac
from filament.rib.keys import (
    MASTER,
    ErmKind,
    ErmRoute,
    EvpnEthernetSegment,
    EvpnInclusive,
    EvpnMac,
    EvpnMulticast,
    EvpnPrefix,
    EvpnSegment,
    EvpnUnknown,
    Family,
    ermvpn,
    evpn,
    inet,
    table_name,
    unicast,
)

RD = RouteDistinguisher.parse("10.0.0.1:2")
MAC = parse_mac("02:00:00:00:00:01")
HOST = Prefix.parse("10.0.0.3")
ESI = bytes(range(10))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (inet(HOST), "10.0.0.3/32"),
        (unicast(Prefix.parse("2001:db8::/64")), "2001:db8::/64"),
        (evpn(EvpnSegment(RD, ESI, 5)), "1-10.0.0.1:2-00:01:02:03:04:05:06:07:08:09-5"),
        (evpn(EvpnMac(0, MAC, HOST)), "2-0:0-0-02:00:00:00:00:01,10.0.0.3"),
        (evpn(EvpnMac(0, MAC)), "2-0:0-0-02:00:00:00:00:01,0.0.0.0"),
        (
            evpn(EvpnMac(9, MAC, Prefix.parse("::5"), RD)),
            "2-10.0.0.1:2-9-02:00:00:00:00:01,::5",
        ),
        (evpn(EvpnInclusive(RD, 7, HOST)), "3-10.0.0.1:2-7-10.0.0.3"),
        (
            evpn(EvpnEthernetSegment(RD, ESI, HOST)),
            "4-10.0.0.1:2-00:01:02:03:04:05:06:07:08:09-10.0.0.3",
        ),
        (evpn(EvpnPrefix(0, Prefix.parse("10.0.0.0/8"))), "5-0:0-0-10.0.0.0/8"),
        (
            evpn(EvpnMulticast(RD, 0, None, Prefix.parse("225.0.0.1"), HOST)),
            "6-10.0.0.1:2-0-225.0.0.1-10.0.0.3",
        ),
        (
            evpn(EvpnMulticast(RD, 0, HOST, Prefix.parse("225.0.0.1"), HOST)),
            "6-10.0.0.1:2-0-10.0.0.3-225.0.0.1-10.0.0.3",
        ),
        (evpn(EvpnUnknown(9, b"\1\2")), "9-0102"),
        (
            ermvpn(ErmRoute(ErmKind.LOCAL_TREE, RD, parse_ipv4("10.9.9.9"), (1 << 32) - 1)),
            "1-10.0.0.1:2-10.9.9.9,255.255.255.255,0.0.0.0",
        ),
    ],
)
def test_text_forms_are_tfs(key, text):
    assert str(key) == text


def test_families_follow_the_ip_version():
    assert unicast(HOST).family == Family.INET
    assert unicast(Prefix.parse("::1")).family == Family.INET6


def test_table_names_are_tfs():
    assert table_name("d:p:n:n", Family.INET) == "d:p:n:n.inet.0"
    assert table_name("d:p:n:n", Family.EVPN) == "d:p:n:n.evpn.0"
    assert table_name(MASTER, Family.INET6) == "inet6.0"


def test_keys_of_different_types_never_meet():
    assert evpn(EvpnPrefix(0, HOST)) != evpn(EvpnMac(0, 1, HOST))
    assert len({inet(HOST), unicast(HOST), evpn(EvpnPrefix(0, HOST))}) == 2
