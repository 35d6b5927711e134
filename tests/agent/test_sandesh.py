"""Every request that ist.py's `vr` sub-commands make, by the elements that they read."""

import inspect

import pytest

from filament.agent.introspect import AgentView
from filament.agent.sandesh.kernel import DROP_FIELDS
from filament.agent.sandesh.pages import PAGE_ROWS
from filament.base.errors import InputError
from filament.base.limits import MAX_INTROSPECT_ROWS
from filament.base.net import Prefix, format_ipv4, parse_ipv4
from filament.forward.layout import TABLE_BY_NAME, DropReason
from filament.wire.sandesh.vrouter import AGENT
from filament.wire.xmpp.stanza import (
    BROADCAST_MAC,
    ConfigSent,
    Link,
    MacKey,
    NextHop,
    Node,
    RouteItem,
)

from .looked_at import LookedAt, texts

VMI, APS = "virtual-machine-interface", "application-policy-set"
POLICY, RULE = "firewall-policy", "firewall-rule"
MAC = "2:0:0:0:0:3"
OTHER = "172.30.0.2"
UCAST = ".//RouteUcSandeshData"
PATH = ".//PathSandeshData"


@pytest.fixture
def looked(running):
    return LookedAt(running)


def test_interfaces(looked):
    root = looked.ask("ItfReq?name=&type=&uuid=&vn=&mac=&ipv4_address=")
    fields = ("index", "name", "active", "mac_addr", "ip_addr", "vn_name")
    assert texts(root, ".//ItfSandeshData", *fields) == [
        ["0", "eth0", "Active", None, "172.30.0.1", None],
        ["1", "tap3", "Active", MAC, "10.1.1.3", "default-domain:demo:red"],
    ]
    for field in ("mdata_ip_addr", "vm_name"):
        assert root.find(f".//ItfSandeshData/{field}") is not None


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("name=tap3", ["tap3"]),
        ("name=eth0", ["eth0"]),
        ("type=vport", ["tap3"]),
        ("uuid=00000000-0000-4000-8000-000000000003", ["tap3"]),
        ("vn=default-domain:demo:red", ["tap3"]),
        ("vn=00000000-0000-4000-8000-000000000900", ["tap3"]),
        ("vn=default-domain:demo:blue", []),
        ("mac=2:0:0:0:0:3", ["tap3"]),
        ("ipv4_address=10.1.1.3", ["tap3"]),
        ("ipv4_address=10.1.1.4", []),
    ],
)
def test_interfaces_as_asked_for(looked, query, names):
    root = looked.ask(f"ItfReq?{query}")
    assert [name for (name,) in texts(root, ".//ItfSandeshData", "name")] == names


def firewalled(script):
    """Port 3 has two tags, each of which selects a policy set, one of them for FWaaS."""
    port, nodes, links = f"{script.network_name('port-3')}", [], []
    for tag, number, name in (
        ("tier=web", "0x00020001", "web"),
        ("neutron_fwaas=group", "0x00050001", "fwaas"),
    ):
        policy_set, policy, rule = (f"{kind}-{name}" for kind in ("set", "policy", "rule"))
        nodes.append(Node("tag", tag, {"tag_id": number}))
        links.append(Link(VMI, port, "tag", tag, f"{VMI}-tag"))
        links.append(Link(APS, policy_set, "tag", tag, f"{APS}-tag"))
        nodes.append(Node(APS, policy_set, {"uuid": f"uuid of {policy_set}"}))
        nodes.append(Node(POLICY, policy, {"uuid": f"uuid of {policy}"}))
        action = {"simple_action": "pass"}
        nodes.append(Node(RULE, rule, {"action_list": action, "direction": ">"}))
        for left, right, names in (
            (APS, POLICY, (policy_set, policy)),
            (POLICY, RULE, (policy, rule)),
        ):
            metadata, middle = f"{left}-{right}", f"attr({','.join(names)})"
            nodes.append(Node(metadata, middle, {"value": {"sequence": "1.0"}}))
            links.append(Link(left, names[0], metadata, middle, metadata))
            links.append(Link(metadata, middle, right, names[1], metadata))
    return ConfigSent(nodes=tuple(nodes), links=tuple(links))


def test_tags_of_an_interface_and_what_they_select(running, script):
    fat = [{"protocol": "udp", "port": 53}, {"protocol": "tcp", "ignore_address": "source"}]
    flows = {"virtual_machine_interface_fat_flow_protocols": {"fat_flow_protocol": fat}}
    limit = {"virtual_machine_interface_properties": {"max_flows": 77}}
    running.say(script.port(**flows, **limit), firewalled(script), revision=6)
    looked = LookedAt(running)
    root = looked.ask("ItfReq?type=vport")
    [row] = root.iter("ItfSandeshData")
    assert texts(root, ".//VmiTagData", "name", "id") == [
        ["tier=web", str(0x20001)],
        ["neutron_fwaas=group", str(0x50001)],
    ]
    [one, other] = texts(root, ".//ApplicationPolicySetLink", "application_policy_set")
    assert (one, other) == (["uuid of set-web"], ["uuid of set-fwaas"])
    lists = {
        field: [element.text for element in row.find(field).iter("element")]
        for field in ("policy_set_acl_list", "policy_set_fwaas_list", "fat_flow_list")
    }
    assert lists == {
        "policy_set_acl_list": ["uuid of policy-web"],
        "policy_set_fwaas_list": ["uuid of policy-fwaas"],
        "fat_flow_list": ["17:53:3", "6:0:1"],
    }
    assert row.find("max_flows").text == "77"
    [shown] = AgentView(looked.host, looked.connections).interfaces()["interfaces"]
    assert shown["tags"] == ["tier=web", "neutron_fwaas=group"]
    assert (shown["policy_sets"], shown["fwaas_sets"]) == (("set-web",), ("set-fwaas",))
    assert shown["fat_flows"] == [
        "protocol 17 port 53",
        "protocol 6 port any, any local address",
    ]


def test_an_inactive_interface_says_what_it_waits_for(talk, script):
    talk.core.plug(script.plug())
    [row] = texts(LookedAt(talk).ask("ItfReq?type=vport"), ".//ItfSandeshData", "active")
    assert row[0].startswith("Inactive < waiting for ")


def test_interfaces_in_the_kernel(looked):
    looked.maps.owned["counters"] = {(1,): (5, 500, 7, 700), (0,): (1, 100, 2, 200)}
    root = looked.ask("KInterfaceReq")
    fields = ("idx", "type", "vrf", "os_idx", "mtu", "name", "ipackets", "obytes")
    assert texts(root, ".//KInterfaceInfo", *fields) == [
        ["0", "PHYSICAL", "0", "2", "1600", "eth0", "1", "200"],
        ["1", "VIRTUAL", "1", "103", "1600", "tap3", "5", "700"],
    ]
    assert len(list(looked.ask("KInterfaceReq?if_id=1").iter("KInterfaceInfo"))) == 1
    assert len(list(looked.ask("KInterfaceReq?if_id=-1").iter("KInterfaceInfo"))) == 2


def test_networks_and_vrfs(looked):
    root = looked.ask("VnListReq?name=&uuid=")
    fields = ("name", "ipv4_forwarding", "enable_rpf", "vrf_name")
    red = "default-domain:demo:red"
    assert texts(root, ".//VnSandeshData", *fields) == [[red, "true", "true", f"{red}:red"]]
    for field in ("uuid", "layer2_forwarding", "bridging"):
        assert root.find(f".//VnSandeshData/{field}").text
    assert texts(root, ".//VnIpamData", "ip_prefix", "prefix_len", "gateway") == [
        ["10.1.1.0", "24", "10.1.1.1"]
    ]
    assert texts(looked.ask("VnListReq?name=blue"), ".//VnSandeshData", "name") == []
    root = looked.ask("VrfListReq?name=")
    tables = ("ucindex", "mcindex", "brindex", "evpnindex")
    assert texts(root, ".//VrfSandeshData", "name", "vn", *tables) == [
        [f"{red}:red", red, "1", "1", "1", "1"]
    ]
    assert root.find(".//VrfSandeshData/vxlan_id") is not None


def test_routes_have_all_that_is_read_of_them(looked):
    root = looked.ask("Inet4UcRouteReq?vrf_index=1&src_ip=&prefix_len=&stale=")
    assert texts(root, UCAST, "src_ip", "src_plen") == [
        ["10.1.1.0", "24"],
        ["10.1.1.1", "32"],
        ["10.1.1.3", "32"],
        ["10.1.1.4", "32"],
    ]
    for path in root.iterfind(PATH):
        for field in ("peer", "label", "active_label", "vxlan_id"):
            assert path.find(field).text, field
        assert path.find("path_preference_data/PathPreferenceSandeshData/preference").text
        hop = path.find("nh/NhSandeshData")
        assert hop.find("nh_index").text
        match hop.find("type").text:
            case "interface":
                assert (hop.find("mac").text, hop.find("itf").text) == (MAC, "tap3")
            case "tunnel":
                read = [hop.find(one).text for one in ("tunnel_type", "dip", "sip")]
                assert read == ["MPLSoUDP", OTHER, "172.30.0.1"]
            case "receive":
                assert hop.find("itf").text == "gateway"
            case kind:
                assert kind == "discard"


def test_a_route_has_a_path_for_everybody_who_told_of_it(looked):
    root = looked.ask("Inet4UcRouteReq?vrf_index=1&src_ip=10.1.1.3&prefix_len=32")
    assert texts(root, PATH, "peer", "label") == [["LocalVmPort", "16"]]
    root = looked.ask("Inet4UcRouteReq?vrf_index=1&src_ip=10.1.1.4&prefix_len=32")
    assert texts(root, PATH, "peer", "label") == [["ctl1", "17"]]
    assert [one.text for one in root.iterfind(f"{PATH}/dest_vn_list/list/element")] == [
        "default-domain:demo:red"
    ]
    root = looked.ask("Inet4UcRouteReq?vrf_index=1&src_ip=10.1.1.0&prefix_len=24")
    assert texts(root, PATH, "peer") == [["Local"]]


@pytest.mark.parametrize(
    "target",
    ["Inet4UcRouteReq", "Inet4UcRouteReq?vrf_index=9", "Inet6UcRouteReq?vrf_index=1"],
)
def test_a_vrf_without_routes_is_empty(looked, target):
    assert list(looked.ask(target).iter("RouteUcSandeshData")) == []


def test_an_impossible_prefix_is_refused(looked):
    with pytest.raises(InputError, match=r"did you mean 10\.1\.1\.0/24\?"):
        looked.ask("Inet4UcRouteReq?vrf_index=1&src_ip=10.1.1.3&prefix_len=24")
    with pytest.raises(InputError, match="is not IPv4; ask the other request"):
        looked.ask("Inet4UcRouteReq?vrf_index=1&src_ip=2001:db8::&prefix_len=32")


def mac_item(mac, address, **more):
    hop = NextHop(parse_ipv4(OTHER), 40, "default-domain:demo:red", mac=mac)
    return RouteItem(MacKey(mac, address), (hop,), "default-domain:demo:red", **more)


@pytest.fixture
def bridged(running, script):
    flood = (NextHop(parse_ipv4(OTHER), 41),)
    running.say(
        script.routes(
            mac_item(0x020000000004, Prefix.parse("10.1.1.4/32"), security_groups=(8000004,)),
            mac_item(BROADCAST_MAC, Prefix(0, 32), flood=flood),
        ),
        revision=6,
    )
    return LookedAt(running)


@pytest.mark.parametrize("request_name", ["BridgeRouteReq", "Layer2RouteReq"])
def test_mac_addresses(bridged, request_name):
    root = bridged.ask(f"{request_name}?vrf_index=1")
    rows = {one.find("mac").text: one for one in root.iter("RouteL2SandeshData")}
    assert list(rows) == [MAC, "2:0:0:0:0:4", "ff:ff:ff:ff:ff:ff"]
    hop = rows[MAC].find(f"{PATH}/nh/NhSandeshData")
    assert (hop.find("type").text, hop.find("itf").text) == ("interface", "tap3")
    hop = rows["2:0:0:0:0:4"].find(f"{PATH}/nh/NhSandeshData")
    assert (hop.find("type").text, hop.find("dip").text) == ("tunnel", OTHER)
    hop = rows["ff:ff:ff:ff:ff:ff"].find(f"{PATH}/nh/NhSandeshData")
    assert "Composite" in hop.find("type").text
    assert hop.find("mc_list/list/McastData/dip").text == OTHER
    assert [one.text for one in rows["2:0:0:0:0:4"].iterfind(f"{PATH}/sg_list/list/element")] == [
        "8000004"
    ]


def test_mac_addresses_with_their_ip_addresses(bridged):
    root = bridged.ask("EvpnRouteReq?vrf_index=1")
    assert texts(root, ".//RouteEvpnSandeshData", "mac", "ip_addr") == [
        [MAC, "0.0.0.0"],
        [MAC, "10.1.1.3"],
        ["2:0:0:0:0:4", "10.1.1.4"],
        ["ff:ff:ff:ff:ff:ff", "0.0.0.0"],
    ]
    only = bridged.ask("EvpnRouteReq?vrf_index=1&mac=2:0:0:0:0:4")
    assert texts(only, ".//RouteEvpnSandeshData", "ip_addr") == [["10.1.1.4"]]
    assert list(bridged.ask("EvpnRouteReq?vrf_index=7").iter("RouteEvpnSandeshData")) == []


def test_next_hops(looked):
    root = looked.ask("NhListReq?type=&policy_enabled=")
    kinds = [kind for (kind,) in texts(root, ".//NhSandeshData", "type")]
    assert sorted(kinds) == ["discard", "interface", "receive", "tunnel"]
    for field in ("nh_index", "policy", "valid", "ref_count"):
        assert all(one.find(field).text for one in root.iterfind(".//NhSandeshData"))
    [[itf, mac, vrf]] = texts(
        looked.ask("NhListReq?type=interface"), ".//NhSandeshData", "itf", "mac", "vrf"
    )
    assert (itf, mac, vrf) == ("tap3", MAC, "default-domain:demo:red:red")
    [[index]] = texts(looked.ask("NhListReq?type=tunnel"), ".//NhSandeshData", "nh_index")
    one = looked.ask(f"NhListReq?type=&nh_index={index}&policy_enabled=")
    assert texts(one, ".//NhSandeshData", "type") == [["tunnel"]]
    assert texts(looked.ask("NhListReq?policy_enabled=enabled"), ".//NhSandeshData", "type") == [
        ["interface"]
    ]
    with pytest.raises(InputError, match="'x' is no number"):
        looked.ask("NhListReq?nh_index=x")


def test_labels(looked):
    root = looked.ask("MplsReq?type=&label=16")
    assert texts(root, ".//MplsSandeshData", "label", "type") == [["16", "interface"]]
    assert root.find(".//MplsSandeshData/nh/NhSandeshData/itf").text == "tap3"
    assert texts(looked.ask("MplsReq?type=tunnel"), ".//MplsSandeshData", "label") == []


def test_access_lists_and_security_groups(running, script):
    rule = {
        "match_condition": {
            "protocol": "6",
            "src_address": {"virtual_network": "default-domain:demo:red"},
            "dst_address": {"virtual_network": "any"},
            "src_port": {"start_port": 0, "end_port": 65535},
            "dst_port": {"start_port": 80, "end_port": 80},
        },
        "action_list": {"simple_action": "pass"},
        "direction": ">",
        "rule_uuid": "r1",
    }
    group = Node(
        "security-group", "default-domain:demo:web", {"uuid": "u1", "security_group_id": 8}
    )
    running.say(script.acl([rule]), ConfigSent(nodes=(group,)), revision=6)
    looked = LookedAt(running)
    root = looked.ask("AclReq?uuid=")
    [[name, dynamic]] = texts(root, ".//AclSandeshData", "name", "dynamic_acl")
    assert (name, dynamic) == ("default-domain:demo:red:red", "true")
    [[source, destination]] = texts(root, ".//AclEntrySandeshData", "src", "dst")
    assert (source, destination) == ("default-domain:demo:red", "any")
    assert [one.find("min").text for one in root.iterfind(".//dst_port_l/list/SandeshRange")] == [
        "80"
    ]
    assert root.find(".//ActionStr/action").text == "pass"
    assert texts(looked.ask("SgListReq"), ".//SgSandeshData", "sg_id", "sg_uuid") == [["8", "u1"]]


def test_sessions_with_control_nodes(looked):
    root = looked.ask("AgentXmppConnectionStatusReq")
    fields = ("controller_ip", "state", "peer_address", "cfg_controller", "flap_count")
    assert texts(root, ".//AgentXmppData", *fields) == [
        ["ctl1", "Established", "ctl1", "Yes", "2"],
        ["ctl2", "Connect", "ctl2", "No", "0"],
    ]
    [[peer, first], [_, second]] = texts(root, ".//AgentXmppData", "peer_name", "flap_time")
    assert peer == "network-control@contrailsystems.com"
    assert first[4:5] == "-"
    assert second == "n/a"
    root = looked.ask("SandeshUVECacheReq?tname=NodeStatus")
    assert root.find(".//ProcessStatus/state").text == "Non-Functional"
    assert texts(root, ".//ConnectionInfo", "name", "status", "description") == [
        ["control-node:ctl1", "Up", "Established"],
        ["control-node:ctl2", "Down", "Connection refused"],
    ]
    lines = [one.text for one in looked.ask("SandeshTraceRequest?x=Controller").iter("element")]
    assert lines[0].endswith("Controller: ctl1: established")


def test_the_configuration_as_received(looked):
    target = "ShowIFMapAgentReq?table_name={}&node_sub_string={}&link_type_sub_string={}"

    def lines(table="", node="", link="", tail=""):
        root = looked.ask(target.format(table, node, link) + tail)
        return [one.text for one in root.iter("element")]

    [network] = lines(table="virtual-network")
    assert network.startswith("virtual-network default-domain:demo:red revision 1\n{")
    assert [one.split()[0] for one in lines(node="ip-3")] == ["instance-ip"]
    assert len(lines()) > 8
    # ist.py leaves out the & before the fourth parameter.
    [link] = lines(link="instance-ip", tail="link_node_sub_string=ip-3")
    assert link.startswith("instance-ip-virtual-machine-interface: instance-ip ip-3 --")
    assert lines(link="instance-ip", tail="link_node_sub_string=ip-9") == []


async def test_statistics(looked):
    looked.maps.owned["flows_entered"] = {(1,): (7,), (2,): (5,)}
    looked.maps.owned["flows_swept"] = {(1,): (4,)}
    root = await looked.ask_slow("AgentStatsReq")
    counted = ("flow_active", "flow_created", "flow_aged")
    assert texts(root, ".//FlowStatsResp", *counted) == [["0", "12", "4"]]
    for name in ("IpcStatsResp", "PktTrapStatsResp", "FlowStatsResp", "SandeshStatsResp"):
        assert root.find(f".//{name}") is not None
    assert texts(root, ".//XmppStatsInfo", "ip", "in_msgs", "out_msgs", "reconnect") == [
        ["ctl1", "4", "3", "2"],
        ["ctl2", "4", "3", "0"],
    ]
    assert looked.ask("ShowIFMapAgentStatsReq").find("node_updates_processed").text != "0"


@pytest.mark.parametrize("name", "Icmp Icmpv6 Dhcp Dhcpv6 Dns Arp".split())  # noqa: SIM905
def test_services(looked, name):
    assert looked.ask(f"{name}Info").tag == f"{name}Stats"


def test_all_services_in_one_answer(looked):
    root = looked.ask("ShowAllInfo")
    assert [one.tag for one in root] == [
        *("PktStats", "DhcpStats", "ArpStats", "DnsStats", "IcmpStats", "MetadataResponse")
    ]
    assert looked.ask("MetadataInfo").tag == "MetadataResponse"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("InterfaceArpStatsReq", ".//InterfaceArpStats"),
        ("InterfaceIcmpv6StatsReq", ".//InterfaceIcmpv6Stats"),
        ("VmVdnsListReq", ".//VmVdnsListEntry"),
        ("ShowArpCache", ".//ArpSandeshData"),
        ("ShowGratuitousArpCache", ".//ArpSandeshData"),
        ("ServiceInstanceReq?uuid=", ".//ServiceInstanceSandeshData"),
        ("HealthCheckSandeshReq?uuid=", ".//HealthCheckSandeshData"),
        ("BgpAsAServiceSandeshReq", ".//BgpAsAServiceSandeshList"),
        ("AgentDnsXmppConnectionStatusReq", ".//AgentXmppDnsData"),
        ("VxLanReq", ".//VxLanSandeshData"),
        ("MirrorCfgVnInfoReq?vn_name=", ".//VnAclInfo"),
        ("IntfMirrorCfgDisplayReq?handle=", ".//IntfMirrorCfgSandesh"),
    ],
)
def test_of_what_there_is_nothing_the_answer_is_empty(looked, target, path):
    assert looked.ask(target).findall(path) == []


def test_what_is_read_without_a_row_is_there(looked):
    assert looked.ask("VrfAssignReq?uuid=").find(".//vrf_assign_list") is not None


def test_link_local_services(running):
    service = {
        "linklocal_service_name": "metadata",
        "linklocal_service_ip": "169.254.169.254",
        "linklocal_service_port": "80",
        "ip_fabric_service_ip": ["10.0.0.1"],
        "ip_fabric_service_port": 8775,
    }
    props = {"linklocal_services": {"linklocal_service_entry": [service, "nonsense"]}}
    node = Node("global-vrouter-config", "default-global-system-config:x", props)
    running.say(ConfigSent(nodes=(node,)), revision=6)
    root = LookedAt(running).ask("LinkLocalServiceInfo")
    fields = ("linklocal_service_name", "linklocal_service_port", "ipfabric_port")
    assert texts(root, ".//LinkLocalServiceData", *fields) == [["metadata", "80", "8775"]]


def test_machines(looked):
    uuid = "00000000-0000-4000-8000-000000000503"
    assert texts(looked.ask("VmListReq?uuid="), ".//VmSandeshData", "uuid") == [[uuid]]
    assert texts(looked.ask("VmListReq?uuid=other"), ".//VmSandeshData", "uuid") == []


# the kernel's tables --------------------------------------------------------------------------


def test_rows_in_the_kernel(looked):
    root = looked.ask("KRouteReq?vrf_id=1")
    assert texts(root, ".//KRouteInfo", "prefix", "prefix_len") == [
        [prefix, length] for prefix, length in texts(root, ".//KRouteInfo", "prefix", "prefix_len")
    ]
    assert ["10.1.1.4", "32", "17"] in texts(root, ".//KRouteInfo", "prefix", "prefix_len", "label")
    kinds = [kind for (kind,) in texts(looked.ask("KNHReq"), ".//KNHInfo", "type")]
    assert "TUNNEL" in kinds
    assert texts(looked.ask("KMplsReq"), ".//KMplsInfo", "label") == [["16"]]
    assert texts(looked.ask("KVrfReq"), ".//KVrfInfo", "vrf_idx") == [["1"]]


def test_drops_by_tfs_counters(looked):
    assert {reason.tf for reason in DropReason if reason.tf} <= DROP_FIELDS.keys()
    fields = {one.name for one in AGENT.structs["KDropStatsResp"].fields}
    assert set(DROP_FIELDS.values()) <= fields
    looked.maps.owned["drops"] = {
        (1, DropReason.NO_ROUTE.value): (3,),
        (1, DropReason.UNASSIGNED.value): (4,),
        (0, DropReason.INVALID_LABEL.value): (5,),
    }
    root = looked.ask("KDropStatsReq")
    assert (root.find("ds_discard").text, root.find("ds_invalid_label").text) == ("7", "5")


def flow_rows(count):
    """Flow rows in whatever format the layout has."""
    keys, values = TABLE_BY_NAME["flows"].key, TABLE_BY_NAME["flows"].value
    keys = [one for one in keys if not one.type.startswith("pad")]
    values = [one for one in values if not one.type.startswith("pad")]
    return {
        tuple(number if one.name.endswith("_port") else 1 for one in keys): tuple(1 for _ in values)
        for number in range(1, count + 1)
    }


async def test_flows_come_a_thousand_at_a_time(looked):
    looked.maps.owned["flows"] = flow_rows(MAX_INTROSPECT_ROWS + 1)
    root = await looked.ask_slow("KFlowReq")
    assert len(list(root.iter("KFlowInfo"))) == MAX_INTROSPECT_ROWS
    handle = root.find("flow_handle").text
    root = await looked.ask_slow(f"NextKFlowReq?x={handle}")
    assert len(list(root.iter("KFlowInfo"))) == 1
    assert root.find("flow_handle") is None
    assert int(root.find(".//KFlowInfo/pkts").text) >= 1


# pages ----------------------------------------------------------------------------------------


@pytest.fixture
def large(running, script):
    """A VRF with many routes: more than a page, more than a message."""
    first = parse_ipv4("10.1.1.16")
    routes = [
        script.route(f"{format_ipv4(first + number)}/32")
        for number in range(MAX_INTROSPECT_ROWS + 50)
    ]
    running.say(script.routes(*routes), revision=6)
    return LookedAt(running)


def test_a_long_list_comes_page_by_page(large):
    root = large.ask("Inet4UcRouteReq?vrf_index=1")
    assert root.tag == "__Inet4UcRouteResp_list"
    total = int(root.find(".//Pagination/req/PageReqData/table_size").text)
    seen = []
    while True:
        rows = [one.text for one in root.iterfind(f"{UCAST}/src_ip")]
        assert len(rows) <= PAGE_ROWS
        seen += rows
        following = root.find(".//Pagination/req/PageReqData/next_page").text
        if not following:
            break
        root = large.ask(f"PageReq?x={following}")
    assert len(seen) == total == len(set(seen))


def test_all_of_a_long_list_is_what_ist_asks_for_next(large):
    first = large.ask("Inet4UcRouteReq?vrf_index=1")
    page = first.find(".//Pagination/req/PageReqData")
    assert page.find("next_page").text
    root = large.ask(f"PageReq?x={page.find('all').text}")
    messages = root.findall("Inet4UcRouteResp")
    sizes = [len(list(one.iter("RouteUcSandeshData"))) for one in messages]
    assert sizes[0] == MAX_INTROSPECT_ROWS
    assert sum(sizes) == int(page.find("table_size").text)
    addresses = [Prefix.parse(one.text) for one in root.iterfind(f"{UCAST}/src_ip")]
    assert addresses == sorted(addresses)


@pytest.mark.parametrize("key", ["", "abc", "WyJ7fSJd", "W3t9LCJOb2JvZHlSZXEiLCIiLFtdXQ"])
def test_a_made_up_page_is_refused(looked, key):
    with pytest.raises(InputError, match="is no place to continue from"):
        looked.ask(f"PageReq?x={key}")


async def test_every_request_answers_well_formed(looked):
    for name in looked.introspect.schema.requests:
        if name in ("PageReq", "SandeshTraceRequest"):
            continue
        _, messages = looked.messages(name)
        if inspect.isawaitable(messages):
            messages = await messages
        looked.written(name, messages)


def test_observations(looked):
    root = looked.ask("SandeshUVECacheReq?x=VrouterAgent")
    agent = root.find("*[@type='sandesh']/data/VrouterAgent")
    assert agent.find("self_ip_list/list/element").text == "172.30.0.1"
    root = looked.ask("SandeshUVECacheReq?x=UveVMInterfaceAgent")
    assert texts(root, ".//UveVMInterfaceAgent", "ip_address") == [["10.1.1.3"]]
