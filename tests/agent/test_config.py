import msgspec
import pytest

from filament.agent.config import ConfigReader, Problem
from filament.agent.graph import Graph
from filament.base.limits import MAX_ACL_RULES, MAX_ADDRESS_PAIRS
from filament.base.net import Prefix, parse_ipv4
from filament.base.origin import Origin
from filament.forward.inputs import Abilities, AddressPair, FilterMatch, FilterRule
from filament.wire.xmpp.stanza import ConfigSent, Link, Node

VMI = "virtual-machine-interface"
PORT = "default-domain:demo:port-3"
RED = "default-domain:demo:red"
V6 = "2001:db8::3"
EITHER = "10.1.1.3 or 2001:db8::3"


def read(*sent):
    graph = Graph()
    for one in sent:
        graph.receive(one)
    return ConfigReader().read(graph)


def rule(protocol="any", action="pass", direction="<>", source=None, destination=None, **more):
    return {
        "match_condition": {
            "protocol": protocol,
            "src_address": source or {"virtual_network": "any"},
            "src_port": more.pop("src_port", {"start_port": 0, "end_port": 65535}),
            "dst_address": destination or {"virtual_network": "any"},
            "dst_port": more.pop("dst_port", {"start_port": 0, "end_port": 65535}),
            "ethertype": more.pop("ethertype", None),
        },
        "action_list": {"simple_action": action},
        "rule_uuid": "11111111-0000-4000-8000-000000000001",
        "direction": direction,
        **more,
    }


def test_a_complete_port(script):
    found = read(script.network(), script.port(), script.acl([rule()]))
    port = found.ports[script.uuid(3)]
    assert (port.name, port.mac, port.vrf, port.network) == (
        PORT,
        0x020000000003,
        f"{RED}:red",
        RED,
    )
    assert port.addresses == (parse_ipv4("10.1.1.3"),)
    assert port.acl == f"{RED}:red"
    assert port.has_policy
    assert port.origin == Origin(f"{VMI} {PORT}", "port", 2)
    (subnet,) = found.subnets
    assert (subnet.prefix, subnet.gateway) == (
        Prefix.parse("10.1.1.0/24"),
        parse_ipv4("10.1.1.1"),
    )
    assert found.problems == ()
    assert found.waiting == {}


def without(sent, kind):
    return msgspec.structs.replace(
        sent, nodes=tuple(node for node in sent.nodes if node.kind != kind)
    )


@pytest.mark.parametrize(
    ("missing", "waits_for"),
    [
        ("virtual-network", "its virtual-network"),
        ("routing-instance", f"the routing-instance of {RED}"),
        ("instance-ip", "an instance-ip with an address"),
    ],
)
def test_a_partial_graph_says_what_a_port_waits_for(script, missing, waits_for):
    found = read(without(script.network(), missing), without(script.port(), missing))
    assert found.ports == {}
    assert found.waiting == {script.uuid(3): waits_for}
    assert found.problems == ()


def test_links_may_come_before_their_ends(script):
    sent = (*script.network().links, *script.port().links)
    nodes = (*script.port().nodes, *script.network().nodes)
    found = read(ConfigSent(links=sent), *(ConfigSent(nodes=(node,)) for node in nodes))
    assert script.uuid(3) in found.ports


MACS = "virtual_machine_interface_mac_addresses"
MALFORMED = {
    "mac": (
        {MACS: {"mac_address": ["02:zz"]}},
        f"{MACS}: '02:zz' is not a MAC address; write it like 02:00:5e:10:00:01",
        "a usable MAC address",
    ),
    "no mac": ({MACS: None}, None, "its MAC address"),
    "shape": ({MACS: 7}, "Expected `object | null`, got `int` - at `$." + MACS + "`", None),
    "uuid": ({"uuid": ""}, "it has no uuid", None),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_port_is_reported_and_costs_nobody_else(script, case):
    props, text, waits_for = MALFORMED[case]
    found = read(script.network(), script.port(**props), script.port(4, address="10.1.1.4"))
    assert list(found.ports) == [script.uuid(4)]
    assert found.waiting.get(script.uuid(3)) == waits_for
    assert found.problems == ((Problem(f"{VMI} {PORT}", text),) if text else ())


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (
            "10.1.1.999",
            f"instance_ip_address: '10.1.1.999' is not an IP address; write it like {EITHER}",
        ),
        ("fd00::x", f"instance_ip_address: 'fd00::x' is not an IPv6 address; write it like {V6}"),
        (
            ["10.1.1.3"],
            "Expected `str | null`, got `array` - at `$.instance_ip_address`",
        ),
    ],
)
def test_malformed_addresses(script, address, text):
    found = read(script.network(), script.port(address=address))
    assert found.waiting == {script.uuid(3): "an instance-ip with an address"}
    assert found.problems == (Problem("instance-ip ip-3", text),)


def test_ipv6_where_it_is_forwarded(script):
    subnets = [
        {"subnet": {"ip_prefix": "fd00::", "ip_prefix_len": 64}, "default_gateway": "fd00::1"},
        {"subnet": {"ip_prefix": "fd01::", "ip_prefix_len": 64}, "default_gateway": "10.0.0.1"},
    ]
    sent = script.network()
    attribute = sent.nodes[-1]
    both = Node(attribute.kind, attribute.name, {"value": {"ipam_subnets": subnets}}, 4)
    graph = Graph()
    for one in (sent, ConfigSent(nodes=(both,)), script.port(address="fd00::3")):
        graph.receive(one)
    found = ConfigReader(Abilities(frozenset({"udp"}), frozenset({4, 6}))).read(graph)
    [subnet] = found.subnets
    assert (subnet.prefix, subnet.gateway) == (Prefix.parse("fd00::/64"), (0xFD00 << 112) + 1)
    assert [one.text for one in found.problems] == [
        "ipam_subnets[1]: 10.0.0.1 is no IPv6 address; give one of fd01::/64"
    ]
    port = found.ports[script.uuid(3)]
    assert (port.addresses, port.addresses6) == ((), ((0xFD00 << 112) + 3,))


def vrouter(**props):
    return ConfigSent(nodes=(Node("global-vrouter-config", "default-global", props, 2),))


@pytest.mark.parametrize(
    ("network", "cluster", "vrf"),
    [
        ({}, {}, (5, True, True, False)),
        ({"virtual_network_properties": {"forwarding_mode": "l3"}}, {}, (5, False, True, False)),
        ({"flood_unknown_unicast": "true"}, {"forwarding_mode": "l2"}, (5, True, False, True)),
        (
            {"virtual_network_properties": {"vxlan_network_identifier": 77}},
            {"vxlan_network_identifier_mode": "configured"},
            (77, True, True, False),
        ),
        ({}, {"vxlan_network_identifier_mode": "configured"}, (0, True, True, False)),
    ],
)
def test_a_network_says_how_its_instance_forwards(script, network, cluster, vrf):
    name = script.network_name("red")
    props = {"virtual_network_network_id": 5} | network
    found = read(
        script.network(),
        ConfigSent(nodes=(Node("virtual-network", name, props, 9),)),
        vrouter(**cluster),
    )
    [one] = found.vrfs
    assert (one.vni, one.is_layer2, one.is_layer3, one.floods_unknown) == vrf
    assert (one.name, one.network, one.origin.revision) == (script.vrf("red"), name, 9)


@pytest.mark.parametrize(
    ("named", "priority"),
    [
        (None, ("udp", "gre", "vxlan")),
        (["VXLAN", "MPLSoUDP"], ("vxlan", "udp")),
        ("MPLSoGRE", ("gre",)),
        (["nonsense"], ("udp", "gre", "vxlan")),
    ],
)
def test_the_cluster_says_which_encapsulations_it_prefers(named, priority):
    found = read(vrouter(encapsulation_priorities={"encapsulation": named}))
    assert found.encapsulations == priority
    assert read().encapsulations == ("udp", "gre", "vxlan")


@pytest.mark.parametrize(
    ("subnet", "text"),
    [
        (
            {"subnet": {"ip_prefix": "10.1.1.5", "ip_prefix_len": 24}},
            "ipam_subnets[0]: prefix 10.1.1.5/24 has host bits set; did you mean 10.1.1.0/24?",
        ),
        ({}, "ipam_subnets[0]: it has no prefix; give ip_prefix and ip_prefix_len"),
    ],
)
def test_malformed_subnets_cost_only_themselves(script, subnet, text):
    good = {"subnet": {"ip_prefix": "10.9.0.0", "ip_prefix_len": "16"}, "default_gateway": None}
    sent = script.network()
    attribute = sent.nodes[-1]
    value = {"value": {"ipam_subnets": [subnet, good]}}
    broken = Node(attribute.kind, attribute.name, value, 4)
    found = read(sent, ConfigSent(nodes=(broken,)), script.port())
    assert [(str(one.prefix), one.gateway) for one in found.subnets] == [("10.9.0.0/16", 0)]
    assert script.uuid(3) in found.ports
    assert found.problems == (Problem(f"virtual-network-network-ipam {attribute.name}", text),)


def test_subnets_of_a_flat_ipam(script):
    """The network's reference has only a uuid; TF's XML shows a list of one as its member."""
    sent = script.network()
    attribute = sent.nodes[-1]
    link = Node(attribute.kind, attribute.name, {"value": {"ipam_subnets": [{"subnet_uuid": "u"}]}})
    name = attribute.name.removesuffix(")").rpartition(",")[2]
    flat = {
        "subnet": {"ip_prefix": "10.7.0.0", "ip_prefix_len": 24},
        "default_gateway": "10.7.0.1",
        "dns_server_address": "10.7.0.2",
    }
    for listed in ([flat], flat):
        ipam = Node("network-ipam", name, {"ipam_subnets": {"subnets": listed}}, 5)
        found = read(sent, ConfigSent(nodes=(link, ipam)), script.port())
        assert [(str(one.prefix), one.gateway & 255) for one in found.subnets] == [
            ("10.7.0.0/24", 1)
        ]
        assert found.problems == ()
    bad = Node("network-ipam", name, {"ipam_subnets": {"subnets": [{}]}}, 5)
    text = "ipam_subnets[0]: it has no prefix; give ip_prefix and ip_prefix_len"
    found = read(sent, ConfigSent(nodes=(link, bad)), script.port())
    assert found.problems == (Problem(f"network-ipam {name}", text),)


def test_values_as_text_as_in_tungstens_own_xml(script):
    network = script.network()
    attribute = network.nodes[-1]
    value = {"ipam_subnets": {"subnet": {"ip_prefix": "10.1.1.0", "ip_prefix_len": "24"}}}
    found = read(
        network,
        ConfigSent(
            nodes=(
                Node(attribute.kind, attribute.name, {"value": value}),
                Node("routing-instance", f"{RED}:red", {"routing_instance_is_default": "true"}),
            )
        ),
        script.port(**{MACS: {"mac_address": "02:00:00:00:00:09"}}),
    )
    assert found.ports[script.uuid(3)].mac == 0x020000000009
    assert [str(one.prefix) for one in found.subnets] == ["10.1.1.0/24"]
    assert found.problems == ()


def test_rules_are_read_in_order(script):
    origin = {"object": "network-policy d:p:web", "rule": "policy-rule 1", "revision": 9}
    rules = [
        rule(
            "6",
            source={"virtual_network": RED},
            destination={"subnet": {"ip_prefix": "10.1.2.0", "ip_prefix_len": 24}},
            dst_port={"start_port": 80, "end_port": 81},
            origin=origin,
        ),
        rule(17, "deny", ">", src_port={"start_port": -1, "end_port": -1}),
        rule("any", direction=None, src_port=None, dst_port=None),
    ]
    found = read(script.network(), script.port(), script.acl(rules))
    (one,) = found.filters
    assert one.rules == (
        FilterRule(
            FilterMatch(RED),
            FilterMatch("", Prefix.parse("10.1.2.0/24"), (80, 81)),
            6,
            passes=True,
            both_ways=True,
            origin=Origin(**origin),
            version=4,
        ),
        FilterRule(
            FilterMatch(),
            FilterMatch(),
            17,
            passes=False,
            both_ways=False,
            origin=Origin(
                f"access-control-list {RED}:red",
                "rule 2 11111111-0000-4000-8000-000000000001",
                3,
            ),
        ),
        FilterRule(
            FilterMatch(),
            FilterMatch(),
            None,
            passes=True,
            both_ways=False,
            origin=Origin(
                f"access-control-list {RED}:red",
                "rule 3 11111111-0000-4000-8000-000000000001",
                3,
            ),
        ),
    )
    assert found.problems == ()


BAD_RULES = {
    "action": (rule(action="maybe"), "simple_action is 'maybe'; write pass or deny"),
    "direction": (rule(direction="<"), "direction is '<'; write > or <>"),
    "protocol": (rule("tcp"), "protocol is 'tcp'; write a number 0-255 or any"),
    "protocol number": (rule("256"), "protocol is '256'; write a number 0-255 or any"),
    "ports": (
        rule(dst_port={"start_port": 9, "end_port": 8}),
        "ports are 9 to 8; write 0 <= start <= end <= 65535",
    ),
    "ethertype": (rule(ethertype="ARP"), "ethertype is 'ARP'; write IPv4 or IPv6"),
    "icmp": (
        rule(protocol="1", dst_port={"start_port": 300, "end_port": 301}),
        "ICMP type 300 and code 301; write numbers 0-255",
    ),
    "group": (
        rule(source={"security_group": "d:p:web"}),
        "security_group is 'd:p:web'; write a group's number or any",
    ),
    "host bits": (
        rule(source={"subnet": {"ip_prefix": "10.1.1.1", "ip_prefix_len": 24}}),
        "prefix 10.1.1.1/24 has host bits set; did you mean 10.1.1.0/24?",
    ),
    "shape": ("pass", "Expected `object`, got `str`"),
}


@pytest.mark.parametrize("case", BAD_RULES)
def test_a_malformed_rule_denies_from_there_on(script, case):
    bad, text = BAD_RULES[case]
    found = read(script.network(), script.port(), script.acl([rule("1"), bad, rule()]))
    assert [one.protocol for one in found.filters[0].rules] == [1]
    assert found.ports[script.uuid(3)].acl == found.filters[0].name
    assert found.problems == (
        Problem(
            f"access-control-list {RED}:red",
            f"access_control_list_entries.acl_rule[1]: {text}; "
            "this rule and those after it are replaced by deny",
        ),
    )


@pytest.mark.parametrize(
    ("base", "length", "prefix", "version"),
    [
        ("::", 0, Prefix(0, 0, 6), 6),
        ("0.0.0.0", 0, Prefix(0, 0), 4),
        ("fd00:1::", 64, Prefix.parse("fd00:1::/64"), 6),
        ("10.1.0.0", 16, Prefix.parse("10.1.0.0/16"), 4),
        (None, None, Prefix(0, 0), 0),
    ],
)
def test_a_rule_about_a_prefix_is_of_its_ip_version(script, base, length, prefix, version):
    subnet = {"subnet": {"ip_prefix": base, "ip_prefix_len": length}}
    for sides in ({"source": subnet}, {"destination": subnet}):
        found = read(script.network(), script.port(), script.acl([rule(**sides)]))
        (one,) = found.filters[0].rules
        sides_read = (one.source.prefix, one.destination.prefix)
        assert prefix in sides_read
        assert one.version == version
        assert found.problems == ()


def test_a_rule_about_both_ip_versions_matches_nothing(script):
    four = {"subnet": {"ip_prefix": "0.0.0.0", "ip_prefix_len": 0}}
    six = {"subnet": {"ip_prefix": "::", "ip_prefix_len": 0}}
    mixed = [
        rule("1", source=four, destination=six),
        rule("2", source=six, ethertype="IPv4"),
        rule("3", source=four, destination=four, ethertype="IPv4"),
    ]
    found = read(script.network(), script.port(), script.acl(mixed))
    assert [one.protocol for one in found.filters[0].rules] == [3]
    assert found.problems == ()


def test_a_list_that_is_none_denies_all(script):
    found = read(script.network(), script.port(), script.acl("all"))
    assert found.filters[0].rules == ()
    assert "denies all" in found.problems[0].text


def test_rules_beyond_the_limit_deny(script):
    found = read(script.network(), script.acl([rule()] * (MAX_ACL_RULES + 1)))
    assert len(found.filters[0].rules) == MAX_ACL_RULES
    assert f"only {MAX_ACL_RULES} rules are evaluated" in found.problems[0].text


def test_a_list_that_becomes_too_long_stays_as_it_was(script):
    graph, reader = Graph(), ConfigReader()
    for sent in (script.network(), script.acl([rule("6")])):
        graph.receive(sent)
    before = reader.read(graph).filters
    graph.receive(script.acl([rule()] * (MAX_ACL_RULES + 1)))
    found = reader.read(graph)
    assert found.filters == before
    (problem,) = found.problems
    assert problem.text == (
        f"it has {MAX_ACL_RULES + 1} rules, and only {MAX_ACL_RULES} are evaluated: those that it"
        " had before stay"
    )


def test_filters_are_read_again_only_when_they_change(script):
    graph, reader = Graph(), ConfigReader()
    graph.receive(script.network())
    graph.receive(script.acl([rule()]))
    before = reader.read(graph).filters[0]
    graph.receive(script.port())
    assert reader.read(graph).filters[0] is before
    graph.receive(script.acl([rule(), rule("1")]))
    assert len(reader.read(graph).filters[0].rules) == 2
    graph.receive(ConfigSent(deleted_nodes=(("access-control-list", f"{RED}:red"),)))
    assert reader.read(graph).filters == ()
    assert reader._filters == {}


def test_sweeping_forgets_what_was_not_told_again(script):
    graph = Graph()
    for sent in (script.network(), script.port(), script.port(4, address="10.1.1.4")):
        graph.receive(sent)
    graph.mark_stale()
    graph.receive(script.network())
    graph.receive(script.port())
    assert len(list(graph.of_kind(VMI))) == 2
    graph.sweep()
    assert [node.name for node in graph.of_kind(VMI)] == [PORT]
    graph.receive(ConfigSent(nodes=(Node(VMI, "default-domain:demo:port-4", {}),)))
    assert (
        graph.linked(
            graph.node(VMI, "default-domain:demo:port-4"), f"instance-ip-{VMI}", "instance-ip"
        )
        == []
    )


def test_a_deleted_link_takes_only_itself(script):
    graph = Graph()
    graph.receive(script.port())
    ip = Link("instance-ip", "ip-3", VMI, PORT, f"instance-ip-{VMI}")
    graph.receive(ConfigSent(deleted_links=(ip,)))
    port = graph.node(VMI, PORT)
    assert graph.linked(port, f"instance-ip-{VMI}", "instance-ip") == []
    assert len(graph.linked(port, f"{VMI}-virtual-machine", "virtual-machine")) == 1
    graph.receive(ConfigSent(deleted_links=(ip,)))  # unknown by now: nothing to do


def test_an_edge_told_both_ways_stays_until_both_are_deleted(script):
    graph = Graph()
    graph.receive(script.port())
    metadata = f"instance-ip-{VMI}"
    there = Link("instance-ip", "ip-3", VMI, PORT, metadata)
    back = Link(VMI, PORT, "instance-ip", "ip-3", metadata)
    graph.receive(ConfigSent(links=(back,)))
    graph.receive(ConfigSent(deleted_links=(there,)))
    assert len(graph.linked(graph.node(VMI, PORT), metadata, "instance-ip")) == 1
    graph.receive(ConfigSent(deleted_links=(back,)))
    assert graph.linked(graph.node(VMI, PORT), metadata, "instance-ip") == []


def acl_named(network, name, rules, **entries):
    full = f"{network}:{name}"
    props = {"access_control_list_entries": {"acl_rule": rules, **entries}}
    node = Node("access-control-list", full, props, 7)
    link = Link("virtual-network", network, node.kind, full, f"virtual-network-{node.kind}")
    return ConfigSent(nodes=(node,), links=(link,))


def test_lists_that_clients_made_come_first_by_name_and_the_policies_last(script):
    """Whatever order they arrive in."""
    found = read(
        script.network(),
        script.port(),
        script.acl([rule("1")]),
        acl_named(RED, "zebra", [rule("6", "deny")]),
        acl_named(RED, "ape", [rule("17", "deny")]),
        acl_named(RED, "mirror", [rule("any", "deny")], dynamic="true"),
    )
    (joined,) = found.filters
    assert [(each.protocol, each.passes) for each in joined.rules] == [
        (17, False),
        (6, False),
        (1, True),
    ]
    assert found.ports[script.uuid(3)].acl == joined.name == f"{RED}:red"
    assert joined.rules[0].origin.object == f"access-control-list {RED}:ape"
    assert joined.origin == Origin(f"virtual-network {RED}", "filters", 7)


def test_a_list_that_a_client_made_is_the_only_one_where_no_policy_is(script):
    found = read(script.network(), script.port(), acl_named(RED, "ape", [rule("6")]))
    assert [one.name for one in found.filters] == [f"{RED}:ape"]
    assert found.ports[script.uuid(3)].acl == f"{RED}:ape"
    alone = read(script.network(), script.port(), acl_named(RED, "m", [rule()], dynamic=True))
    assert (alone.filters, alone.ports[script.uuid(3)].acl) == ((), None)


def test_nothing_follows_a_list_that_cannot_be_read(script):
    bad = acl_named(RED, "ape", [rule("6", "deny"), rule(action="maybe")])
    found = read(script.network(), script.port(), script.acl([rule()]), bad)
    assert [each.protocol for each in found.filters[0].rules] == [6]


def test_lists_that_are_too_long_together_end_in_deny(script):
    half = [rule()] * (MAX_ACL_RULES // 2 + 1)
    found = read(script.network(), script.port(), script.acl(half), acl_named(RED, "ape", half))
    assert len(found.filters[0].rules) == MAX_ACL_RULES
    assert found.problems == (
        Problem(
            f"virtual-network {RED}",
            f"its access control lists have {MAX_ACL_RULES + 2} rules; only {MAX_ACL_RULES} are"
            " evaluated, those after them are replaced by deny",
        ),
    )


def group_of(script, *lists, number=8000001):
    """A security group of the port, with lists by name."""
    group = "default-domain:demo:web"
    props = {"security_group_id": number, "uuid": script.uuid(8)}
    nodes = [Node("security-group", group, props, 9)]
    links = [Link(VMI, PORT, "security-group", group, f"{VMI}-security-group")]
    for name, rules in lists:
        full = f"{group}:{name}"
        entries = {"access_control_list_entries": {"acl_rule": rules}}
        nodes.append(Node("access-control-list", full, entries, 9))
        metadata = "security-group-access-control-list"
        links.append(Link("security-group", group, "access-control-list", full, metadata))
    return ConfigSent(nodes=tuple(nodes), links=tuple(links))


def test_security_groups_are_their_two_lists_and_go_with_the_port(script):
    remote = {"security_group": "8000002"}
    ping = rule("1", source={"security_group": "-1"}, dst_port={"start_port": 8, "end_port": 8})
    lists = (
        ("egress-access-control-list", [rule("17", ethertype="IPv6")]),
        ("ingress-access-control-list", [rule("6", source=remote), ping]),
    )
    found = read(script.network(), script.port(), script.acl([]), group_of(script, *lists))
    (group,) = found.security_groups
    assert found.ports[script.uuid(3)].security_groups == (group.name,)
    assert (group.number, len(group.egress), len(group.ingress)) == (8000001, 1, 2)
    assert (group.egress[0].version, group.egress[0].protocol) == (6, 17)
    assert group.ingress[0].source.security_group == 8000002
    assert (group.ingress[1].source.security_group, group.ingress[1].icmp) == (0, (8, None))


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        (None, (None, None)),
        ((-1, -1), (None, None)),
        ((0, 65535), (None, None)),
        ((0, 255), (None, None)),
        ((8, 0), (8, 0)),  # no range: the code may be the lower
        ((3, 4), (3, 4)),
        ((8, 8), (8, None)),
        ((8, 65535), (8, None)),
        ((0, -1), (0, None)),
    ],
)
def test_ports_of_icmp_are_type_and_code(script, ports, expected):
    given = dict(zip(("start_port", "end_port"), ports, strict=True)) if ports else None
    lists = (("ingress-access-control-list", [rule("1", dst_port=given)]),)
    found = read(script.network(), script.port(), script.acl([]), group_of(script, *lists))
    (group,) = found.security_groups
    assert group.ingress[0].icmp == expected


def test_a_security_group_without_lists_lets_nothing_pass(script):
    found = read(script.network(), script.port(), script.acl([]), group_of(script))
    (group,) = found.security_groups
    assert (group.egress, group.ingress) == ((), ())
    assert found.ports[script.uuid(3)].security_groups == (group.name,)


def test_groups_that_did_not_change_are_the_same_objects(script):
    graph = Graph()
    reader = ConfigReader()
    for one in (script.network(), script.port(), group_of(script)):
        graph.receive(one)
    (before,) = reader.read(graph).security_groups
    graph.receive(script.port())
    (after,) = reader.read(graph).security_groups
    assert after is before


PAIRS = "virtual_machine_interface_allowed_address_pairs"


def pair(prefix, length=None, **more):
    return {"ip": {"ip_prefix": prefix, "ip_prefix_len": length}, **more}


def test_address_pairs_are_read_and_malformed_ones_reported(script):
    given = [
        pair("10.1.1.50", 32, mac="", address_mode="active-active"),
        pair("10.1.1.51", 24, mac="00:00:5e:00:01:07", address_mode="active-standby"),
        pair("2001:db8::50", "128"),
        {"mac": "00:00:5e:00:01:07"},
        pair("10.1.1.52", 33),
        pair("10.1.1.52", mac="00:00"),
        pair("10.1.1.52", address_mode="sometimes"),
    ]
    found = read(script.network(), script.port(**{PAIRS: {"allowed_address_pair": given}}))
    assert found.ports[script.uuid(3)].pairs == (
        AddressPair(Prefix.parse("10.1.1.50/32")),
        AddressPair(Prefix.parse("10.1.1.0/24"), 0x00005E000107, is_standby=True),
        AddressPair(Prefix.parse("2001:db8::50/128"), is_standby=True),
    )
    assert found.ports[script.uuid(3)].standbys == (
        Prefix.parse("10.1.1.0/24"),
        Prefix.parse("2001:db8::50/128"),
    )
    start = f"{PAIRS}["
    assert [one.text.removeprefix(start) for one in found.problems] == [
        "3]: it has no prefix; give ip.ip_prefix and ip_prefix_len; it is not allowed",
        "4]: ip_prefix_len is 33; write 0-32 for 10.1.1.52; it is not allowed",
        "5]: '00:00' is not a MAC address; write it like 02:00:5e:10:00:01; it is not allowed",
        "6]: address_mode is 'sometimes'; write active-active or active-standby; it is not allowed",
    ]


def test_only_so_many_address_pairs_are_allowed(script):
    given = [pair(f"10.1.{index % 256}.{index // 256}", 32) for index in range(257)]
    assert len(given) > MAX_ADDRESS_PAIRS
    found = read(script.network(), script.port(**{PAIRS: {"allowed_address_pair": given}}))
    assert len(found.ports[script.uuid(3)].pairs) == MAX_ADDRESS_PAIRS
    (problem,) = found.problems
    assert problem.text == (
        f"{PAIRS}[{MAX_ADDRESS_PAIRS}]: only {MAX_ADDRESS_PAIRS} pairs are allowed;"
        " it is not allowed"
    )


def with_network(script, **props):
    """The network with properties."""
    sent = script.network()
    nodes = tuple(
        msgspec.structs.replace(node, props={**node.props, "virtual_network_properties": props})
        if node.kind == "virtual-network"
        else node
        for node in sent.nodes
    )
    return msgspec.structs.replace(sent, nodes=nodes)


@pytest.mark.parametrize(
    ("network", "port", "checks"),
    [
        ({}, {}, (True, True)),
        ({"rpf": "enable"}, {"port_security_enabled": True}, (True, True)),
        ({"rpf": "disable"}, {}, (True, False)),
        ({}, {"port_security_enabled": False}, (False, False)),
    ],
)
def test_rpf_and_port_security(script, network, port, checks):
    found = read(with_network(script, **network), script.port(**port)).ports[script.uuid(3)]
    assert (found.checks_mac, found.checks_source) == checks


@pytest.mark.parametrize(
    ("network", "port", "limit"),
    [(None, None, 0), (100, None, 100), (100, 20, 20), (100, 0, 100), (0, 20, 20), (-1, -1, 0)],
)
def test_a_ports_own_limit_of_flows_comes_before_its_networks(script, network, port, limit):
    props = {"virtual_machine_interface_properties": {"max_flows": port}}
    found = read(with_network(script, max_flows=network), script.port(**props))
    assert found.ports[script.uuid(3)].flow_limit == limit


FIELDS = "ecmp_hashing_include_fields"


@pytest.mark.parametrize(
    ("network", "port", "fields"),
    [
        (None, None, None),
        ({"source_port": False}, None, None),  # not configured
        (
            {"hashing_configured": True, "source_port": False, "destination_port": False},
            None,
            ("l3-source-address", "l3-destination-address", "l4-protocol"),
        ),
        (
            {"hashing_configured": True},
            {
                "hashing_configured": "true",
                "source_ip": False,
                "destination_ip": False,
                "ip_protocol": False,
            },
            ("l4-source-port", "l4-destination-port"),
        ),
    ],
)
def test_a_ports_own_fields_choose_before_its_networks(script, network, port, fields):
    sent = script.network()
    nodes = tuple(
        msgspec.structs.replace(node, props={**node.props, FIELDS: network})
        if node.kind == "virtual-network"
        else node
        for node in sent.nodes
    )
    network_sent = msgspec.structs.replace(sent, nodes=nodes)
    found = read(network_sent, script.port(**{FIELDS: port})).ports[script.uuid(3)]
    assert found.load_balance == fields
