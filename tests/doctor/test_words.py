import pytest

from filament.base.net import ROUTER_MAC, mask_of, parse_ipv4
from filament.doctor.words import Names, PortNames, phrase, short_instance, short_name
from filament.forward.layout import (
    ACL_DENY,
    ACL_PASS,
    ASKS_TAGS,
    FLOW_PASSED,
    INTERFACE_POLICY,
    PROTOCOL_ANY,
    ROUTE_PROXY_ARP,
    RULE_NONE,
    TABLES,
    NextHopType,
)

RED = "default-domain:demo:red"
NAMES = Names(
    vrfs={1: f"{RED}:red"},
    networks={4: RED, 5: "default-domain:demo:blue"},
    acls={9: f"{RED}:red"},
    ports={7: PortNames("red-1", "tap7")},
    hosts={parse_ipv4("172.30.0.2"): "host2"},
)
ANY = (0, 0, 0, 0, 0, 0, 0, 65535, 0, 65535, PROTOCOL_ANY, 0, 0)
RED_TO_BLUE = (4, 5, 0, 0, 0, 0, 0, 65535, 0, 65535, PROTOCOL_ANY, 0, 0)
TEN = parse_ipv4("10.1.1.0")


@pytest.mark.parametrize(
    ("table", "key", "values", "stage", "text"),
    [
        (
            "interfaces",
            (7,),
            (1, 1, 4, 9, 0, 0, 0, 0, 2, INTERFACE_POLICY, TEN + 3, 0, 0, 0x02),
            "interface",
            "red-1 (tap7) in VRF red, address 10.1.1.3",
        ),
        (
            "interfaces",
            (8,),
            (1, 6, 4, 9, 0, 0, 0, 0, 2, 0, TEN + 3, 0, 0, 0x02),
            "interface",
            "ifindex 8 in VRF #6, address 10.1.1.3, policy off",
        ),
        ("interfaces", (8,), None, "interface", "ifindex 8 is not plugged"),
        (
            "routes",
            (64, 1, TEN + 4),
            (3, 17, 4, 0, 0, ROUTE_PROXY_ARP),
            "route",
            "10.1.1.4/32 in VRF red, network red, label 17",
        ),
        ("routes", (32, 1, 0), (3, 0, 0, 0, 0, 0), "route", "0.0.0.0/0 in VRF red"),
        ("routes", (64, 1, TEN), None, "route", "VRF red has none to 10.1.1.0"),
        (
            "next_hops",
            (3,),
            (NextHopType.TUNNEL, 0, 0, parse_ipv4("172.30.0.2"), 0, 0, 0, 0, 0),
            "next hop",
            "tunnel to host2 (172.30.0.2)",
        ),
        (
            "next_hops",
            (3,),
            (NextHopType.INTERFACE, 0, 7, 0, 0x0200_0000_0001, ROUTER_MAC, 0, 0, 0),
            "next hop",
            "port red-1 (tap7), MAC 02:00:00:00:00:01",
        ),
        (
            "next_hops",
            (3,),
            (NextHopType.RECEIVE, 0, 0, 0, 0, ROUTER_MAC, 0, 0, 0),
            "next hop",
            "the gateway itself, here on this host",
        ),
        (
            "next_hops",
            (3,),
            (NextHopType.DISCARD, 0, 0, 0, 0, 0, 0, 0, 0),
            "next hop",
            "nobody: no port has this address",
        ),
        (
            "next_hops",
            (3,),
            (NextHopType.COMPOSITE, 0x1F00, 0, 0, 0, 0, 0, 4, 1),
            "next hop",
            "one of 4, by flow",
        ),
        ("members", (3, 0), (7,), "next hop", "member 1 is next hop 7"),
        ("places", (3, 7), (0,), "next hop", "next hop 7 is member 1"),
        ("next_hops", (3,), None, "next hop", "3 does not exist"),
        (
            "sources",
            (216, 1, 0x02, 0xFFFF00000000 | TEN),
            (2, 0),
            "source",
            "its allowed address pair 2 is 10.1.1.0/24 with MAC 00:00:00:00:00:02",
        ),
        (
            "sources",
            (224, 1, 0x02, 0),
            (1, 0),
            "source",
            "its allowed address pair 1 has MAC 00:00:00:00:00:02",
        ),
        (
            "sources",
            (224, 1, 0x02, 0xFFFF00000000 | TEN + 50),
            (2, 7),
            "source",
            "its allowed address pair 2 is 10.1.1.50/32 with MAC 00:00:00:00:00:02, held by one",
        ),
        (
            "sources",
            (224, 1, 0x02, 0xFFFF00000000 | TEN + 4),
            (0, 0),
            "source",
            "its own address is 10.1.1.4/32 with MAC 00:00:00:00:00:02",
        ),
        (
            "fat_subnets",
            (184, 1, 17, 1, 53, 0xFFFF00000000 | TEN),
            (5, 0, 28, 0),
            "flow",
            "protocol 17 port 53 of port 1 is a fat flow where the far address is in 10.1.1.0/24",
        ),
        ("labels", (17,), (3,), "label", "17 is next hop 3"),
        ("labels", (17,), None, "label", "17 is nobody's"),
        ("lists", (9,), (1, 0), "policy", "no rule of red matches: denied"),
        ("lists", (8,), (0, 0), "policy", "#8 has no rules: denied"),
        (
            "rules",
            (9, 0),
            (*RED_TO_BLUE, ACL_PASS),
            "policy",
            "rule 1 passes any protocol from red to blue",
        ),
        (
            "rules",
            (9, 1),
            (*ANY, ACL_DENY),
            "policy",
            "rule 2 denies any protocol from any network to any network",
        ),
        (
            "rules",
            (9, 2),
            (
                0,
                5,
                0xFFFF00000000 | TEN,
                mask_of(120, 6),
                0,
                0,
                1000,
                2000,
                443,
                443,
                6,
                4,
                0,
                ACL_PASS,
            ),
            "policy",
            "rule 3 passes IPv4 tcp from 10.1.1.0/24 ports 1000-2000 to blue port 443",
        ),
        (
            "rules",
            (9, 4),
            (*RED_TO_BLUE[:-1], ASKS_TAGS, ACL_PASS),
            "policy",
            "rule 5 passes any protocol from red to blue, a far end with the rule's tags only",
        ),
        ("rules", (9, 3), None, "policy", "rule 4 of red"),
        (
            "flows",
            (1, 1, 2, 3, 4, 5, 6),
            (1, 1, 1, 1, 1, 1, 1, 9, 0, 0, 0, 0, 0, 0, 0, ACL_PASS, FLOW_PASSED, 0, 0),
            "policy",
            "a flow that may pass",
        ),
        (
            "flows",
            (1, 1, 2, 3, 4, 5, 6),
            (1, 1, 1, 1, 1, 1, 1, 9, RULE_NONE, 0, 0, 0, 0, 0, 0, ACL_DENY, FLOW_PASSED, 0, 0),
            "policy",
            "a flow that may no longer pass",
        ),
        (
            "flows",
            (1, 1, 2, 3, 4, 5, 6),
            (1, 1, 1, 1, 1, 1, 1, 0, RULE_NONE, 0, 0, 0, 0, 0, 0, ACL_PASS, 0, 0, 0),
            "policy",
            "none attached here: passes",
        ),
        (
            "host",
            (0,),
            (parse_ipv4("172.30.0.2"), 3, 12),
            "host",
            "host2 (172.30.0.2), rows of revision 12",
        ),
    ],
)
def test_rows_in_words(table, key, values, stage, text):
    assert phrase(table, key, values, NAMES) == (stage, text)


def test_every_table_can_be_said_also_without_a_row():
    for table in TABLES:
        key = tuple(1 for _ in table.key)
        assert phrase(table.name, key, None, NAMES).text


@pytest.mark.parametrize(
    ("name", "short"),
    [
        (f"{RED}:red", "red"),
        ("default-domain:default-project:ip-fabric:__default__", "ip-fabric:__default__"),
        ("red", "red"),
        ("", ""),
    ],
)
def test_instances_are_called_like_their_networks(name, short):
    assert short_instance(name) == short


def test_names_are_shortened_to_their_last_part():
    assert short_name(RED) == "red"
