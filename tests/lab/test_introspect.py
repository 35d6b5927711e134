"""Introspect of real processes: ports, loopback only, and answers about what really runs."""

import sys
import xml.etree.ElementTree as ET

import pytest

pytestmark = pytest.mark.lab

RED = "default-domain:demo:red:red"
_FETCH = (
    "import sys, urllib.request as r; q = r.Request(sys.argv[1], headers={'Accept': sys.argv[2]});"
    "a = r.urlopen(q, timeout=5); print(a.headers['Content-Type']); print(a.read().decode())"
)


def fetch(lab, place, port, target, accept="*/*", address="127.0.0.1"):
    """Return the content type and the text of an answer, asked for inside a namespace."""
    url = f"http://{address}:{port}/{target}"
    done = lab.run(place, [sys.executable, "-c", _FETCH, url, accept])
    assert done.returncode == 0, done.stderr
    kind, _, text = done.stdout.partition("\n")
    return kind, text


def ask(lab, place, port, target):
    kind, text = fetch(lab, place, port, target)
    assert kind.startswith("text/xml")
    return ET.fromstring(text.strip())


def test_the_control_node_knows_its_agents_and_their_routes(lab):
    root = ask(lab, "ctl", 8083, "Snh_BgpNeighborReq?search_string=")
    found = {one.find("peer").text: one.find("state").text for one in root.iter("BgpNeighborResp")}
    assert found == {"host1": "Established", "host2": "Established"}
    root = ask(lab, "ctl", 8083, f"Snh_ShowRouteReq?x={RED}.inet.0")
    routes = {one.find("prefix").text for one in root.iter("ShowRoute")}
    assert {"10.1.1.3/32", "10.1.1.4/32"} <= routes


def test_the_agent_knows_its_ports_and_where_routes_lead(lab):
    workload = lab.plan.workload("red-1")
    root = ask(lab, "host1", 8085, f"Snh_ItfReq?name={workload.device}")
    [port] = root.iter("ItfSandeshData")
    assert (port.find("active").text, port.find("ip_addr").text) == ("Active", "10.1.1.3")
    [vrf] = ask(lab, "host1", 8085, f"Snh_VrfListReq?name={RED}").iter("VrfSandeshData")
    number = vrf.find("ucindex").text
    root = ask(
        lab, "host1", 8085, f"Snh_Inet4UcRouteReq?vrf_index={number}&src_ip=10.1.1.4&prefix_len=32"
    )
    [hop] = {one.find("dip").text for one in root.iter("NhSandeshData")}
    assert hop == "172.30.0.2"


def test_packets_are_counted(lab):
    device = lab.plan.workload("red-1").device

    def received():
        root = ask(lab, "host1", 8085, "Snh_KInterfaceReq")
        [row] = [one for one in root.iter("KInterfaceInfo") if one.find("name").text == device]
        return int(row.find("ipackets").text)

    before = received()
    assert lab.run("red-1", ["ping", "-nq", "-c3", "-i0.02", "10.1.1.4"]).returncode == 0
    assert received() >= before + 3
    flows = [
        (one.find("sip").text, one.find("dip").text)
        for one in ask(lab, "host1", 8085, "Snh_KFlowReq").iter("KFlowInfo")
    ]
    assert ("10.1.1.3", "10.1.1.4") in flows


def test_a_person_gets_pages(lab):
    for place, port, module in (("ctl", 8083, "bgp_peer"), ("host1", 8085, "agent")):
        kind, text = fetch(lab, place, port, "", "text/html")
        assert kind.startswith("text/html")
        assert f'href="{module}.xml"' in text
        kind, text = fetch(lab, place, port, f"{module}.xml", "text/html")
        assert "<form " in text


def test_nobody_else_is_answered(lab):
    """Introspect has no authentication: it listens on loopback unless it is told otherwise."""
    probe = (
        "import socket, sys; sys.exit(socket.socket().connect_ex((sys.argv[1], int(sys.argv[2]))))"
    )
    for address, port in (("172.30.0.10", 8083), ("172.30.0.2", 8085)):
        argv = [sys.executable, "-c", probe, address, str(port)]
        assert lab.run("host1", argv).returncode != 0
