"""Why routes are as they are: choice, import and its policy, export, and who is told."""

import json

import pytest
from starlette.requests import Request

from filament.base.errors import InputError
from filament.base.net import Address, Prefix, RouteDistinguisher, RouteTarget, parse_ipv4
from filament.compiler.peers import PeerPlan
from filament.control.explain import covering, explain_routes
from filament.control.neighbour import Neighbour
from filament.control.peering import Peering
from filament.rib.peer import Peer, PeerKind, Speaker
from filament.wire.bgp.attributes import Approach, Attributes, Fault, Segment, SegmentKind
from filament.wire.bgp.communities import NO_ADVERTISE, NO_EXPORT
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.routes import EvpnPrefixRoute, PrefixRoute, encode_route
from filament.wire.bgp.session import Offer
from filament.wire.bgp.update import Update, Withdrawn
from filament.wire.xmpp.stanza import NextHop, RoutePublished

from .control_world import BLUE, RED, demo_world
from .introspected import Introspected, column

VPN = AddressFamily.INET_VPN
GATEWAY = "gw1"
OTHER = "gw2"


def vpn_route(text, label=300):
    route = PrefixRoute(Prefix.parse(text), RouteDistinguisher.parse("10.9.9.9:7"), label << 4 | 1)
    return encode_route(VPN, route)


class Asked(Introspected):
    """With two routers: gw1 announces, gw2 only hears and speaks route-target."""

    def __init__(self, tmp_path):
        world = demo_world()
        world.commit(
            world.network("red", "p"), world.network("blue", "p"), world.policy("p", "red", "blue")
        )
        super().__init__(tmp_path, world)
        self.node.peering = Peering(self.cluster.core.rib, listens=())
        self.rib = self.cluster.core.rib
        for number, name in enumerate((GATEWAY, OTHER), start=1):
            families = (VPN,) if name == GATEWAY else (VPN, AddressFamily.ROUTE_TARGET)
            address = Address(parse_ipv4(f"10.9.9.{number}"), 4)
            plan = PeerPlan(name, address, 179, 64512, 64999, families, password="secret")
            offer = Offer(local_as=64512, identifier=1, families=families)
            neighbour = Neighbour(plan, offer, lambda: 0.5)
            neighbour.changed_at = 1796000000.0
            self.node.peering.neighbours[name] = neighbour
            self.rib.bgp.peer_up(
                Peer(name, PeerKind.EXTERNAL, 64999, address.value), families, now=0.0
            )
        [target] = self.rib.instances[RED].exports
        self.target = RouteTarget.parse(target).encode()

    def announce(self, text, *, targets=None, ases=(64999,), peer=GATEWAY, **more):
        given = {
            "as_path": (Segment(SegmentKind.SEQUENCE, ases),) if ases else (),
            "next_hop": Address(parse_ipv4("10.9.9.9"), 4),
            "extended_communities": (self.target,) if targets is None else targets,
        }
        self.rib.bgp.announce(peer, VPN, Attributes(**given | more), (vpn_route(text),))
        self.settle()

    def internal_peer(self, name):
        peer = Peer(name, PeerKind.CLIENT, 64512, parse_ipv4("10.9.9.7"))
        self.rib.bgp.peer_up(peer, (VPN,), now=0.0)

    def publish(self, text):
        """Have an agent publish a prefix into red."""
        stanza = RoutePublished(RED, Prefix.parse(text), NextHop(parse_ipv4("172.30.0.1"), 99))
        self.cluster.core.receive("host1", stanza)
        self.settle()

    def settle(self):
        while self.rib.bgp.has_work:
            self.rib.bgp.take(1000, lambda _: True)
        self.cluster.core.take_outbox()

    async def get(self, name, query=""):
        [route] = [one for one in explain_routes(self.node) if one.path == f"/filament/{name}"]
        scope = {
            "type": "http",
            "method": "GET",
            "path": route.path,
            "query_string": query.encode(),
            "headers": [],
        }
        response = await route.endpoint(Request(scope))
        return json.loads(response.body) if response.status_code == 200 else response.body.decode()


@pytest.fixture
def asked(tmp_path):
    return Asked(tmp_path)


def test_covering_prefixes_the_longest_first():
    found = covering(Prefix.parse("10.1.1.3"))
    assert [str(one) for one in found[:2]] == ["10.1.1.3/32", "10.1.1.2/31"]
    assert str(found[-1]) == "0.0.0.0/0"
    assert len(covering(Prefix.parse("2001:db8::1"))) == 129


async def test_why_a_route_of_an_agent_is_where_it_is(asked):
    asked.announce("192.0.2.0/24")  # so that there are BGP tables to speak of
    answer = await asked.get("why", "prefix=10.1.1.3")
    routes = {one["instance"]: one for one in answer["routes"]}
    assert routes.keys() == {RED, BLUE}
    [own] = routes[RED]["candidates"]
    assert (own["chosen"], own["reason"], own["import"]) == (True, "best", None)
    assert own["origin"]["object"] == "virtual-machine-interface default-domain:demo:red-1"
    [imported] = routes[BLUE]["candidates"]
    assert imported["import"] == {
        "target": min(asked.rib.instances[RED].exports),
        "from": RED,
        "because": "network-policy default-domain:demo:p joins the two networks",
    }
    assert routes[RED]["agents"] == ["host1", "host2"]
    vpn = own["vpn"]
    assert vpn["table"] == "bgp.l3vpn.0"
    assert vpn["route"].startswith("172.30.0.1:")
    assert vpn["route"].endswith(":10.1.1.3/32")
    told = {one["peer"]: (one["is_sent"], one["reason"]) for one in vpn["told"]}
    assert told == {
        GATEWAY: (True, ""),
        OTHER: (False, "the peer has not said yet which targets it wants"),
    }


async def test_why_a_route_of_a_router_is_imported(asked):
    asked.announce("192.0.2.0/24")
    answer = await asked.get("why", f"prefix=192.0.2.7&instance={RED}")
    [route] = answer["routes"]
    [candidate] = route["candidates"]
    assert (candidate["protocol"], candidate["as_path"]) == ("BGP", "64999")
    assert candidate["import"]["because"] == "it is the network's own target"
    told = {one["peer"]: one["reason"] for one in candidate["vpn"]["told"]}
    assert told[GATEWAY] == "split horizon: it came from this peer"


async def test_why_a_route_is_nowhere(asked):
    other = b"\x00\x02\xfc\x00\x00\x00\x00\x09"  # target:64512:9
    asked.announce("192.0.2.0/24", targets=(other,))
    answer = await asked.get("why", "prefix=192.0.2.0/24")
    assert answer["routes"] == []
    [found] = answer["unimported"]
    assert found["not_imported"] == "no routing instance here imports target:64512:9"
    assert found["candidates"][0]["peer"] == GATEWAY


async def test_a_path_that_cannot_be_used_says_so(asked):
    asked.announce("192.0.2.0/24", ases=(64999, 64512))
    answer = await asked.get("rejected")
    [one] = answer["rejected"]
    assert one["peer"] == GATEWAY
    assert one["reason"] == "AS path loop: our AS 64512 is in its AS path"
    root = asked.ask("ShowRouteReq?routing_table=bgp.l3vpn.0&prefix=192.0.2.0/24")
    [path] = root.iter("ShowRoutePath")
    assert [flag.text for flag in path.iterfind("flags/list/element")] == ["AsPathLooped"]
    answer = await asked.get("why", "prefix=192.0.2.0/24&unimported=1")
    assert "AS path loop" in json.dumps(answer["unimported"])


OTHER_TARGET = b"\x00\x02\xfc\x00\x00\x00\x00\x09"  # target:64512:9


@pytest.mark.parametrize(
    ("announced", "reason"),
    [
        ({"ases": (64999, 64512)}, "not usable: AS path loop: our AS 64512 is in its AS path"),
        (
            {"ases": (64998,)},
            "not usable: the first AS of its path is 64998, not the peer's, 64999",
        ),
        (
            {"peer": "rr", "ases": (), "originator_id": 0x0A000001},
            "not usable: originator loop: we originated it",
        ),
        (
            {"peer": "rr", "ases": (), "cluster_list": (77,)},
            "not usable: cluster list loop: we reflected it before",
        ),
        ({"targets": ()}, "it has no route target"),
        ({"targets": (OTHER_TARGET,)}, "no routing instance here imports target:64512:9"),
        (
            {"next_hop": Address(1 << 96, 6)},
            "not usable: its next hop is IPv6, and tunnels here are IPv4",
        ),
    ],
    ids=["as-loop", "first-as", "originator", "cluster", "no-target", "nobody", "next-hop"],
)
async def test_why_a_route_is_not_used(asked, announced, reason):
    """Also where the prefix is known by another route, which another distinguisher makes."""
    asked.rib.bgp.configure(Speaker(64512, 0x0A000001, 1, cluster_id=77))
    asked.internal_peer("rr")
    asked.publish("192.0.2.0/24")
    asked.announce("192.0.2.0/24", **announced)
    answer = await asked.get("why", "prefix=192.0.2.0/24")
    assert {one["instance"] for one in answer["routes"]} == {RED, BLUE}
    found = json.dumps(answer)
    assert reason in found
    assert "10.9.9.9:7:192.0.2.0/24" in found


async def test_why_of_two_routes_with_one_key_one_is_not_used(asked):
    asked.internal_peer("rr")
    asked.announce("192.0.2.0/24")
    asked.announce("192.0.2.0/24", peer="rr", ases=(), local_preference=50)
    answer = await asked.get("why", f"prefix=192.0.2.0/24&instance={RED}")
    [candidate] = answer["routes"][0]["candidates"]
    assert candidate["peer"] == GATEWAY
    [other] = candidate["vpn"]["others"]
    assert (other["peer"], other["chosen"]) == ("rr", False)
    assert other["reason"] == "local preference: 50, best has 100"


@pytest.mark.parametrize(
    ("announced", "reason"),
    [
        ({"communities": (NO_EXPORT,)}, "it has the community no-export"),
        ({"communities": (NO_ADVERTISE,)}, "it has the community no-advertise"),
        ({"ases": (64999, 64997)}, "AS path loop: the peer's AS 64997 is in its AS path"),
        (None, "the peer did not ask for target:64512:"),
    ],
    ids=["no-export", "no-advertise", "as-loop", "membership"],
)
async def test_why_a_peer_is_not_told(asked, announced, reason):
    peer = Peer("gw3", PeerKind.EXTERNAL, 64997, parse_ipv4("10.9.9.3"))
    asked.rib.bgp.peer_up(peer, (VPN,), now=0.0)
    asked.rib.bgp.end_of_rib(OTHER, AddressFamily.ROUTE_TARGET)
    prefix = "10.1.1.3/32"
    if announced is not None:
        prefix = "192.0.2.0/24"
        asked.announce(prefix, **announced)
    asked.settle()
    answer = await asked.get("why", f"prefix={prefix}&instance={RED}")
    told = answer["routes"][0]["candidates"][0]["vpn"]["told"]
    assert any(each["reason"].startswith(reason) for each in told if not each["is_sent"])


async def test_why_a_route_is_not_held_at_all(asked):
    """Its attributes were malformed, so that it counts as withdrawn; or its peer is away."""
    update = Update(
        refused=(Withdrawn(VPN, [vpn_route("192.0.2.0/24")[0]]),),
        faults=(Fault(Approach.WITHDRAW, 1, "it is missing"),),
    )
    neighbours = asked.node.peering.neighbours
    asked.node.peering._take_update(neighbours[GATEWAY], update)
    neighbours[OTHER].machine.reason = "more than 5 inet-vpn routes, the most that gw2 may have"
    answer = await asked.get("why", "prefix=192.0.2.0/24")
    assert answer["routes"] == answer["unimported"] == []
    [one] = answer["rejected"]
    assert (one["peer"], one["first"]) == (GATEWAY, "10.9.9.9:7:192.0.2.0/24")
    assert one["reason"] == "malformed attributes: ORIGIN: it is missing (treated as withdraw)"
    silent = {each["peer"]: each["reason"] for each in answer["silent"]}
    assert silent[OTHER] == "more than 5 inet-vpn routes, the most that gw2 may have"
    asked.announce("192.0.2.0/24")
    answer = await asked.get("why", "prefix=192.0.2.0/24")
    assert (answer["rejected"], answer["silent"]) == ([], [])


async def test_why_of_an_evpn_prefix(asked):
    route = EvpnPrefixRoute(RouteDistinguisher.parse("1:7"), 0, Prefix.parse("192.0.2.0/24"), 5)
    for targets in ((asked.target,), (OTHER_TARGET,)):
        attributes = Attributes(
            as_path=(Segment(SegmentKind.SEQUENCE, (64999,)),),
            next_hop=Address(parse_ipv4("10.9.9.9"), 4),
            extended_communities=targets,
        )
        told = encode_route(AddressFamily.E_VPN, route)
        asked.rib.bgp.announce(GATEWAY, AddressFamily.E_VPN, attributes, (told,))
        asked.settle()
        answer = await asked.get("why", "prefix=192.0.2.9")
        if targets == (asked.target,):
            assert {one["instance"] for one in answer["routes"]} == {RED, BLUE}
        else:
            assert answer["routes"] == []
            [one] = answer["unimported"]
            assert one["not_imported"] == "no routing instance here imports target:64512:9"


async def test_a_prefix_that_is_none_is_refused(asked):
    assert "no prefix was asked for" in await asked.get("why")
    assert "is not an IP address" in await asked.get("why", "prefix=x")
    assert "no routing instance is called 'x'" in await asked.get(
        "why", "prefix=10.0.0.1&instance=x"
    )


async def test_tables_and_routes_as_json(asked):
    asked.announce("192.0.2.0/24")
    answer = await asked.get("tables", "name=bgp.l3vpn.0")
    [table] = answer["tables"]
    assert (table["prefixes"], table["primary"], table["secondary"]) == (4, 1, 3)
    answer = await asked.get("table-routes", "routing_table=bgp.l3vpn.0&prefix=192.0.2.0/24")
    [route] = answer["routes"]
    assert (route["table"], route["prefix"]) == ("bgp.l3vpn.0", "10.9.9.9:7:192.0.2.0/24")
    assert (route["paths"][0]["source"], route["paths"][0]["label"]) == ("10.9.9.1", 300)
    assert answer["next"] == ""


async def test_routes_as_json_go_on_where_they_ended(asked, monkeypatch):
    monkeypatch.setattr("filament.control.introspect.routes.MAX_INTROSPECT_ROWS", 2)
    seen = []
    query = "routing_table=bgp.l3vpn.0"
    while query:
        answer = await asked.get("table-routes", query)
        seen += [one["prefix"] for one in answer["routes"]]
        query = f"next={answer['next']}" if answer["next"] else ""
    assert len(seen) == len(set(seen)) == 3


# the same, as TF shows it ---------------------------------------------------------------------


def test_tables_of_bgp_are_tables_too(asked):
    asked.announce("192.0.2.0/24")
    root = asked.ask("ShowRouteSummaryReq?search_string=l3vpn.0")
    assert column(root, ".//ShowRouteTableSummary", "prefixes") == ["4"]
    root = asked.ask("ShowRouteReq?family=l3vpn&prefix=192.0.2.0/24")
    [route] = root.iter("ShowRoute")
    assert route.find("prefix").text == "10.9.9.9:7:192.0.2.0/24"
    [path] = route.iter("ShowRoutePath")
    read = ("protocol", "source", "as_path", "next_hop", "label", "peer_as")
    assert [path.find(one).text for one in read] == [
        *("BGP", "10.9.9.1", "64999", "10.9.9.9", "300", "64999")
    ]
    assert path.find("last_modified").text.startswith("2026-Nov-30")
    exact = asked.ask("ShowRouteReq?routing_table=bgp.l3vpn.0&prefix=10.9.9.9:7:192.0.2.0/24")
    assert len(list(exact.iter("ShowRoute"))) == 1
    root = asked.ask(f"ShowRouteReq?routing_table={RED}.inet.0&prefix=192.0.2.0/24")
    [path] = root.iter("ShowRoutePath")
    assert path.find("primary_table").text == "bgp.l3vpn.0"
    root = asked.ask("ShowRouteReq?protocol=bgp")
    tables = [one.text for one in root.iter("routing_table_name")]
    assert tables == ["bgp.l3vpn.0", f"{BLUE}.inet.0", f"{RED}.inet.0"][: len(tables)]
    root = asked.ask("ShowRouteReq?source=10.9.9.1&routing_table=bgp.l3vpn.0")
    assert len(list(root.iter("ShowRoute"))) == 1
    root = asked.ask("ShowRouteReq?family=rtarget")
    assert {one.text for one in root.iter("protocol")} == {"Local"}
    assert any(one.text.startswith("64512:target:") for one in root.iter("prefix"))


def test_bgp_neighbours(asked):
    root = asked.ask("BgpNeighborReq?search_string=gw1")
    [row] = root.findall(".//BgpNeighborResp[encoding='BGP']")
    read = ("peer", "peer_address", "peer_asn", "peer_type", "send_state", "flap_time", "auth_type")
    assert [row.find(one).text for one in read] == [
        *("gw1", "10.9.9.1", "64999", "external", "not advertising", "n/a", "md5")
    ]
    families = row.iterfind("configured_address_families/list/element")
    assert [one.text for one in families] == ["inet-vpn"]
    both = asked.ask("ShowBgpNeighborSummaryReq?x=")
    assert column(both, ".//BgpNeighborResp", "encoding") == ["BGP", "BGP", "XMPP", "XMPP"]
    root = asked.ask("ShowBgpNeighborConfigReq?search_string=")
    rows = root.findall(".//ShowBgpNeighborConfig")
    assert [one.find("address").text for one in rows] == ["10.9.9.1", "10.9.9.2"]
    for field in ("name", "admin_down", "passive", "local_as", "autonomous_system"):
        assert rows[0].find(field).text
    assert (rows[0].find("router_type").text or "").strip() == ""
    assert "secret" not in asked.text("ShowBgpNeighborConfigReq?search_string=")
    observed = asked.ask("SandeshUVECacheReq?x=BgpPeerInfoData")
    assert len(list(observed.iter("BgpPeerInfoData"))) == 2


def test_who_wants_a_target(asked):
    [target] = asked.rib.instances[RED].exports
    root = asked.ask(f"ShowRtGroupReq?x={target}")
    peers = [one.text for one in root.iterfind(".//peers_interested/list/element")]
    assert peers == ["host1", "host2"]


def test_a_cursor_of_another_table_is_refused(asked):
    with pytest.raises(InputError, match=r"bgp\.l3vpn\.0 has no route 'x'"):
        asked.ask("ShowRouteReq?routing_table=bgp.l3vpn.0&start_prefix=x")
