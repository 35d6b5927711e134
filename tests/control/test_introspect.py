"""Every request that ist.py's `ctr` sub-commands make, by the elements that they read."""

import msgspec
import pytest

from filament.base.errors import InputError, NotFoundError
from filament.base.limits import MAX_INTROSPECT_ROWS
from filament.base.net import Prefix
from filament.rib.keys import inet
from filament.rib.path import Path

from .control_world import BLUE, RED, FakeAgent, demo_world, machine_uuid
from .introspected import Introspected, column

RED_1 = "10.1.1.3/32"
# What ist.py reads of every path without asking whether it is there.
READ_OF_PATH = [
    *("last_modified", "protocol", "source", "local_preference", "as_path", "next_hop", "label"),
    *("origin_vn", "primary_table", "sequence_no", "flags"),
]


@pytest.fixture
def asked(tmp_path):
    return Introspected(tmp_path)


def test_neighbours(asked):
    root = asked.ask("BgpNeighborReq?search_string=")
    rows = root.findall(".//BgpNeighborResp[encoding='XMPP']")
    assert [
        [row.find(field).text for field in ("peer", "peer_address", "peer_asn", "peer_type")]
        for row in rows
    ] == [["host1", "172.30.0.1", "0", "internal"], ["host2", "172.30.0.1", "0", "internal"]]
    assert column(root, ".//BgpNeighborResp", "state") == ["Established"] * 2
    assert column(root, ".//BgpNeighborResp", "send_state") == ["in sync"] * 2
    assert column(root, ".//BgpNeighborResp", "flap_time") == ["n/a"] * 2
    assert root.findall(".//BgpNeighborResp[encoding='BGP']") == []
    assert column(asked.ask("BgpNeighborReq?x=host2"), ".//BgpNeighborResp", "peer") == ["host2"]
    [one] = asked.ask("BgpNeighborReq?x=host1").iter("BgpNeighborResp")
    assert {each.text for each in one.iterfind(".//BgpNeighborRoutingInstance/name")} == {RED, BLUE}
    assert one.find("primary_path_count").text == "2"


def test_a_neighbour_that_went_away_says_why(asked):
    asked.node.connections.pop("host2")
    asked.cluster.lose("host2")
    [row] = asked.ask("BgpNeighborReq?x=host2").iter("BgpNeighborResp")
    assert (row.find("state").text, row.find("send_state").text) == ("Active", "not advertising")


def test_instances_and_their_tables(asked):
    root = asked.ask("ShowRoutingInstanceReq?search_string=demo:red")
    [row] = root.iter("ShowRoutingInstance")
    assert row.find("name").text == RED
    [target] = [one.text for one in row.iterfind("import_target/list/element")]
    assert target.startswith("target:64512:")
    assert row.find("vxlan_id").text == "0"
    assert row.find("routing_policies/list").get("size") == "0"
    tables = {one.find("name").text: one for one in row.iter("ShowRoutingInstanceTable")}
    assert tables[f"{RED}.inet.0"].find("prefixes").text == "2"
    peers = tables[f"{RED}.inet.0"].iterfind(".//ShowMembershipPeerInfo/peer")
    assert [one.text for one in peers] == ["host1", "host2"]
    short = asked.ask("ShowRoutingInstanceSummaryReq?x=demo:red")
    assert short.find(".//ShowRoutingInstance/tables") is None
    config = asked.ask("ShowBgpInstanceConfigReq?search_string=demo:red")
    [row] = config.iter("ShowBgpInstanceConfig")
    assert row.find("name").text == RED
    for field in ["virtual_network_index", "vxlan_id", "import_target", "export_target", "has_pnf"]:
        assert row.find(field) is not None
    assert row.find("last_change_at") is not None


def test_route_summary(asked):
    root = asked.ask("ShowRouteSummaryReq?search_string=demo:red")
    names = column(root, ".//ShowRouteTableSummary", "name")
    assert names == [f"{RED}.{family}.0" for family in ("inet", "inet6", "evpn", "ermvpn")]
    [inet_row] = [one for one in root.iter("ShowRouteTableSummary") if "inet.0" in one[0].text]
    counted = ("prefixes", "paths", "primary_paths", "secondary_paths", "infeasible_paths")
    assert [inet_row.find(field).text for field in counted] == ["2", "2", "2", "0", "0"]


ROUTES = (
    "ShowRouteReq?routing_table={table}&routing_instance={instance}&prefix={prefix}"
    "&longer_match={longer}&shorter_match={shorter}&count=&start_routing_table="
    "&start_routing_instance=&start_prefix=&source={source}&protocol={protocol}&family={family}"
)


def routes(asked, **given):
    """Ask as ist.py does; return (table, prefix) pairs."""
    names = "table instance prefix longer shorter source protocol family"
    blank = dict.fromkeys(names.split(), "")
    found = []
    for root in asked.pages(ROUTES.format(**(blank | given))):
        for table in root.iter("ShowRouteTable"):
            name = table.find("routing_table_name").text
            if name.startswith("bgp.") and "table" not in given:
                continue  # copies
            found += [(name, one.find("prefix").text) for one in table.iter("ShowRoute")]
    return found


RED_TABLE, BLUE_TABLE = f"{RED}.inet.0", f"{BLUE}.inet.0"
ALL = [(BLUE_TABLE, "10.1.2.3/32"), (RED_TABLE, RED_1), (RED_TABLE, "10.1.1.4/32")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ALL),
        ({"table": BLUE_TABLE}, ALL[:1]),
        ({"instance": RED}, ALL[1:]),
        ({"prefix": RED_1}, ALL[1:2]),
        ({"prefix": "10.1.1.3%2F32", "shorter": "1"}, ALL[1:2]),
        ({"prefix": "10.1.1.9%2F32", "shorter": "1"}, []),
        ({"prefix": "10.1.1.0/24", "longer": "1"}, ALL[1:]),
        ({"prefix": "10.1.1.0/24"}, []),
        ({"prefix": "2001:db8::1/128", "shorter": "1"}, []),
        ({"prefix": "nonsense", "longer": "1"}, []),
        ({"source": "host2"}, ALL[2:]),
        ({"protocol": "xmpp"}, ALL),
        ({"protocol": "BGP"}, []),
        ({"family": "inet"}, ALL),
        ({"family": "evpn"}, []),
        ({"table": "nobody.inet.0"}, []),
    ],
)
def test_routes_as_asked_for(asked, given, expected):
    assert routes(asked, **given) == expected


def test_a_shorter_match_finds_what_covers_the_address(asked):
    path = Path("host1", RED, 1, 20)
    asked.cluster.core.rib.publish(inet(Prefix.parse("10.1.0.0/16")), path)
    asked.cluster.run()
    found = routes(asked, prefix="10.1.1.3%2F32", shorter="1")
    assert found == [(RED_TABLE, "10.1.0.0/16"), (RED_TABLE, RED_1)]


def test_a_route_has_all_that_is_read_of_it(asked):
    root = asked.ask("ShowRouteReq?x=" + RED_TABLE)
    [table] = root.iter("ShowRouteTable")
    counted = ["prefixes", "paths", "primary_paths", "secondary_paths", "infeasible_paths"]
    assert [table.find(field).text for field in counted] == ["2", "2", "2", "0", "0"]
    for route in table.iter("ShowRoute"):
        assert route.find("last_modified").text[4:5] == "-"
        for path in route.iter("ShowRoutePath"):
            for field in READ_OF_PATH:
                assert path.find(field) is not None, field
    path = next(root.iter("ShowRoutePath"))
    assert path.find("protocol").text == "XMPP (interface)"
    assert (path.find("source").text, path.find("local_preference").text) == ("host1", "200")
    assert path.find("origin_vn").text == "default-domain:demo:red"
    assert [one.text for one in path.iterfind("tunnel_encap/list/element")] == ["udp"]
    assert any(one.text.startswith("target:") for one in path.iterfind("communities/list/element"))
    assert path.findall("origin_vn_path/list/element") == []


def test_an_imported_route_names_its_primary_table(tmp_path):
    world = demo_world()
    world.commit(
        world.network("red", "p"), world.network("blue", "p"), world.policy("p", "red", "blue")
    )
    asked = Introspected(tmp_path, world)
    root = asked.ask(f"ShowRouteReq?routing_table={BLUE_TABLE}&prefix={RED_1}")
    [path] = root.iter("ShowRoutePath")
    assert path.find("replicated").text == "true"
    assert path.find("primary_table").text == RED_TABLE
    root = asked.ask(f"ShowRouteReq?routing_table={RED_TABLE}&prefix={RED_1}")
    [path] = root.iter("ShowRoutePath")
    assert [one.text for one in path.iterfind("secondary_tables/list/element")] == [
        BLUE_TABLE,
        "bgp.l3vpn.0",
    ]


def test_thousands_of_routes_come_page_by_page(asked):
    rib = asked.cluster.core.rib
    for number in range(3_000):
        rib.publish(inet(Prefix(0x0B000000 + number, 32)), Path("host1", RED, 1, 20))
    asked.cluster.core.take_outbox()
    pages = list(asked.pages(f"ShowRouteReq?routing_table={RED_TABLE}"))
    sizes = [len(list(one.iter("ShowRoute"))) for one in pages]
    assert sizes == [MAX_INTROSPECT_ROWS] * 3 + [2]
    prefixes = [
        Prefix.parse(one.find("prefix").text) for page in pages for one in page.iter("ShowRoute")
    ]
    assert prefixes == sorted(prefixes)
    assert len(set(prefixes)) == 3_002
    assert {one.find(".//prefixes").text for one in pages} == {"3002"}
    only = asked.ask(f"ShowRouteReq?routing_table={RED_TABLE}&count=7&start_prefix=11.0.0.5/32")
    assert column(only, ".//ShowRoute", "prefix")[0] == "11.0.0.5/32"
    assert len(list(only.iter("ShowRoute"))) == 7


def test_paging_goes_on_from_table_to_table(asked, monkeypatch):
    monkeypatch.setattr("filament.control.introspect.routes.MAX_INTROSPECT_ROWS", 1)
    assert routes(asked) == ALL
    monkeypatch.setattr("filament.control.introspect.listing.MAX_INTROSPECT_ROWS", 1)
    pages = list(asked.pages("BgpNeighborReq?x="))
    assert [column(one, ".//BgpNeighborResp", "peer") for one in pages] == [["host1"], ["host2"]]
    summary = list(asked.pages("ShowRouteSummaryReq?x=demo:red"))
    assert sum(len(list(one.iter("ShowRouteTableSummary"))) for one in summary) == 4


def test_a_made_up_cursor_is_refused(asked):
    with pytest.raises(InputError, match="'abc' is no place to continue from; ask ShowRouteReq"):
        asked.ask("ShowRouteReqIterate?x=abc")


def test_targets(asked):
    root = asked.ask("ShowRtGroupReq?search_string=")
    [red_target] = asked.cluster.core.rib.instances[RED].imports
    rows = {one.find("rtarget").text: one for one in root.iter("ShowRtGroupInfo")}
    members = rows[red_target].findall("import_members/list/ShowRtGroupMemberTableList")
    assert members[0].find("family").text == "inet"
    assert [one.text for one in members[0].iterfind("tables/list/element")] == [RED_TABLE]
    peers = rows[red_target].iterfind("peers_interested/list/element")
    assert [one.text for one in peers] == ["host1", "host2"]
    assert list(asked.ask("ShowRtGroupSummaryReq?x=nobody").iter("ShowRtGroupInfo")) == []


def test_sessions(asked):
    root = asked.ask("ShowXmppServerReq")
    assert root.tag == "ShowXmppServerResp"
    assert root.find("current_connections").text == "2"
    assert int(root.find("rx_socket_stats/SocketIOStats/bytes").text) > 100
    assert int(root.find("tx_socket_stats/SocketIOStats/bytes").text) > 100
    root = asked.ask("ShowXmppConnectionReq")
    assert column(root, ".//ShowXmppConnection", "state") == ["Established"] * 2
    assert column(root, ".//ShowXmppConnection", "remote_endpoint")[0] == "172.30.0.1:40000"
    lines = [
        one.text for one in asked.ask("SandeshTraceRequest?x=XmppMessageTrace").iter("element")
    ]
    assert any("host1 (172.30.0.1): stanza: ConfigSubscribed" in line for line in lines)


def test_the_configuration_as_a_database(asked):
    kinds = {
        one.find("table_name").text: one.find("size").text
        for one in asked.ask("IFMapNodeTableListShowReq").iter("IFMapNodeTableListShowEntry")
    }
    assert kinds["virtual-network"] == "2"
    root = asked.ask("IFMapTableShowReq?table_name=virtual-network&search_string=")
    assert column(root, ".//IFMapNodeShowInfo", "node_name") == [
        "virtual-network:default-domain:demo:blue",
        "virtual-network:default-domain:demo:red",
    ]
    assert column(root, ".//IFMapNodeShowInfo", "advertised") == ["host1", "host1, host2"]
    for field in ("interests", "dbentryflags", "last_modified"):
        assert root.find(f".//IFMapNodeShowInfo/{field}") is not None
    root = asked.ask("IFMapTableShowReq?search_string=demo:red")
    names = [one.text for one in root.iter("node_name")]
    assert "virtual-machine-interface:default-domain:demo:red-1" in names
    root = asked.ask("IFMapNodeShowReq?fq_node_name=instance-ip:red-1")
    assert '"instance_ip_address": "10.1.1.3"' in root.find(".//IFMapObjectShowInfo/data").text
    neighbours = [one.text for one in root.iterfind(".//neighbors/list/element")]
    assert neighbours == ["virtual-machine-interface:default-domain:demo:red-1"]
    with pytest.raises(NotFoundError, match="there is no object 'x:y'; write KIND:FQ_NAME"):
        asked.ask("IFMapNodeShowReq?x=x:y")


def test_links(asked):
    root = asked.ask("IFMapLinkTableShowReq?search_string=red-1&metadata=")
    rows = {
        (one.find("metadata").text, one.find("left").text, one.find("right").text)
        for one in root.iter("IFMapLinkShowInfo")
    }
    interface = "virtual-machine-interface:default-domain:demo:red-1"
    assert ("instance-ip-virtual-machine-interface", "instance-ip:red-1", interface) in rows
    only = asked.ask("IFMapLinkTableShowReq?search_string=red-1&metadata=instance-ip")
    assert len(list(only.iter("IFMapLinkShowInfo"))) == 1


def test_clients(asked):
    root = asked.ask("IFMapXmppClientInfoShowReq")
    rows = list(root.iter("IFMapXmppClientInfo"))
    assert [one.find("client_name").text for one in rows] == ["host1", "host2"]
    assert [one.find("vm_reg_info/VmRegInfo/vm_count").text for one in rows] == ["2", "1"]
    assert {one.find("is_blocked").text for one in rows} == {"false"}
    root = asked.ask("IFMapServerClientShowReq")
    assert column(root, ".//IFMapServerClientMapShowEntry", "client_name") == ["host1", "host2"]
    assert column(root, ".//IFMapServerIndexMapShowEntry", "client_index") == ["0", "1"]
    assert column(root, ".//IFMapServerClientHistoryEntry", "deletion_time_ago") == ["-", "-"]
    by_name = asked.ask("IFMapPerClientNodesShowReq?client_index_or_name=host1&search_string=")
    by_index = asked.ask("IFMapPerClientNodesShowReq?client_index_or_name=0&search_string=")
    names = column(by_name, ".//IFMapPerClientNodesShowInfo", "node_name")
    assert names == column(by_index, ".//IFMapPerClientNodesShowInfo", "node_name")
    assert "instance-ip:blue-1" in names
    links = asked.ask("IFMapPerClientLinksShowReq?client_index_or_name=host1&search_string=blue-1")
    assert "instance-ip:blue-1" in column(links, ".//IFMapPerClientLinksShowInfo", "left")
    with pytest.raises(InputError, match="no agent 'host9' is connected"):
        asked.ask("IFMapPerClientNodesShowReq?x=host9")


def test_a_machine_that_is_not_configured_is_pending(tmp_path):
    asked = Introspected(tmp_path, None, FakeAgent("host1", "red-1", "ghost"))
    root = asked.ask("IFMapPendingVmRegReq?")
    assert root.tag == "IFMapPendingVmRegResp"
    assert column(root, ".//IFMapPendingVmRegEntry", "vm_uuid") == [machine_uuid("ghost")]
    channels = asked.ask("IFMapXmppShowReq?")
    assert channels.find(".//IFMapChannelManagerStats") is not None
    assert column(channels, ".//IFMapXmppChannelMapEntry", "client_name") == ["host1"]


def test_where_the_configuration_comes_from(asked):
    root = asked.ask("IFMapPeerServerInfoReq?")
    for name in ("server", "server_conn", "stats", "sm", "ds_peer"):
        assert root.find(f".//{name}_info") is not None
    assert root.find(".//IFMapPeerServerInfoUI/url").text == "unix:/api.sock"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("ShowServiceChainReq?search_string=", ".//ShowServicechainInfo"),
        ("ShowStaticRouteReq?search_string=", ".//StaticRouteEntriesInfo"),
        ("ShowBgpRoutingPolicyConfigReq?search_string=", ".//ShowBgpRoutingPolicyConfig"),
        ("ShowMulticastManagerReq?search_string=", ".//ShowMulticastManager"),
        ("ShowMulticastManagerDetailReq?x=T", ".//ShowMulticastTree"),
    ],
)
def test_of_what_there_is_nothing_the_answer_is_empty(asked, target, path):
    root = asked.ask(target)
    assert root.findall(path) == []
    assert root[0].find("list").get("size") == "0"


def test_what_is_read_without_a_row_is_there(asked):
    assert asked.ask("ShowRouteAggregateReq?x=").find(".//aggregate_route_entries/list") is not None
    assert len(asked.ask("ShowBgpServerReq")) > 1


def test_node_status_and_observations(asked):
    root = asked.ask("SandeshUVECacheReq?tname=NodeStatus")
    assert root.find(".//ProcessStatus/state").text == "Functional"
    asked.node.api.connected, asked.node.api.error = False, "refused"
    root = asked.ask("SandeshUVECacheReq?tname=NodeStatus")
    assert root.find(".//ProcessStatus/state").text == "Non-Functional"
    assert root.find(".//ProcessStatus/description").text == "ApiServer connection down"
    assert root.find(".//ConnectionInfo/description").text == "refused"
    root = asked.ask("SandeshUVECacheReq?x=BgpRouterState")
    assert root.find("*[@type='sandesh']/data/BgpRouterState/num_up_xmpp_peer").text == "2"


def test_every_request_answers_well_formed(asked):
    for name in asked.introspect.schema.requests:
        if name.endswith("Iterate") or name in ("IFMapNodeShowReq", "SandeshTraceRequest"):
            continue
        query = "?client_index_or_name=0" if "PerClient" in name else ""
        assert list(asked.pages(name + query))


def test_a_stale_path_and_one_that_cannot_be_used_say_so(asked):
    rib = asked.cluster.core.rib
    path = Path("host1", RED, 1, 20, encapsulations=("nvgre",))
    rib.publish(inet(Prefix.parse("10.9.9.9/32")), path)
    rib.publish(inet(Prefix.parse("10.9.9.8/32")), msgspec.structs.replace(path, stale=True))
    asked.cluster.core.take_outbox()
    root = asked.ask(f"ShowRouteReq?routing_table={RED_TABLE}&prefix=10.9.9.0/24&longer_match=1")
    flags = [
        [one.text for one in path.iterfind("flags/list/element")]
        for path in root.iter("ShowRoutePath")
    ]
    assert flags == [["Stale", "NoTunnelEncap"], ["NoTunnelEncap"]]
    assert root.find(".//infeasible_paths").text == "2"
