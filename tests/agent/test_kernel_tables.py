"""The kernel's rows with names, whatever is in them."""

import pytest

from filament.agent.kernel_tables import KERNEL_TABLES
from filament.agent.naming import Naming
from filament.forward.layout import TABLE_BY_NAME

from .looked_at import LookedAt


class Maps:
    """The maps of a kernel: what was planned, what it counted, and what a test spoils."""

    def __init__(self, host):
        self.rows = {name: dict(rows) for name, rows in host.reconciler.actual.items()}
        self.rows["counters"] = {(1,): (5, 500, 7, 700)}
        self.rows["drops"] = {(1, 5): (2,), (1, 7): (3,), (0, 11): (9,)}

    def read_all(self, name):
        assert name in TABLE_BY_NAME
        return self.rows[name]


@pytest.fixture
def host(running):
    return LookedAt(running).host


@pytest.fixture
def maps(host):
    return Maps(host)


@pytest.fixture
def read(host, maps):
    return lambda table: [*KERNEL_TABLES[table](maps, Naming(host))]


def test_a_port_with_its_counts(read):
    (port,) = read("interfaces")
    assert (port["vif"], port["ifindex"], port["interface"]) == (
        1,
        103,
        "default-domain:demo:port-3",
    )
    assert (port["vrf"], port["address"]) == ("default-domain:demo:red:red", "10.1.1.3")
    assert port["mac"] == "02:00:00:00:00:03"
    assert "policy" in port["flags"]
    assert (port["rx_packets"], port["tx_bytes"], port["drops"]) == (5, 700, 5)


def test_a_port_with_fat_flows_by_prefix_says_so(running, script):
    grouped = {
        "protocol": "udp",
        "destination_prefix": {"ip_prefix": "10.0.0.0", "ip_prefix_len": 8},
        "destination_aggregate_prefix_length": 24,
    }
    flows = {"virtual_machine_interface_fat_flow_protocols": {"fat_flow_protocol": [grouped]}}
    running.say(script.port(**flows), revision=6)
    host = LookedAt(running).host
    (port,) = KERNEL_TABLES["interfaces"](Maps(host), Naming(host))
    assert {"fat-flows", "fat-subnets"} <= {*port["flags"]}


def test_next_hops_say_where_they_lead_and_who_uses_them(read):
    hops = read("next-hops")
    (tunnel,) = [hop for hop in hops if hop["type"] == "tunnel"]
    assert (tunnel["remote"], tunnel["encapsulation"], tunnel["routes"]) == (
        "172.30.0.2",
        "MPLSoUDP",
        1,
    )
    (port,) = [hop for hop in hops if hop["type"] == "interface"]
    assert (port["interface"], port["labels"]) == ("default-domain:demo:port-3", 1)
    assert port["flags"] == ["peer"]


def test_routes_name_vrf_and_network(read):
    routes = {row["prefix"]: row for row in read("routes")}
    far = routes["10.1.1.4/32"]
    assert (far["type"], far["next_hop"], far["label"]) == ("tunnel", "172.30.0.2", 17)
    assert (far["vrf"], far["network"]) == (
        "default-domain:demo:red:red",
        "default-domain:demo:red",
    )
    assert routes["10.1.1.0/24"]["flags"] == ["proxy"]


def test_labels_lead_to_ports(read):
    (label,) = [row for row in read("labels") if row["kind"] == "MPLS"]
    assert (label["label"], label["type"], label["interface"]) == (
        16,
        "interface",
        "default-domain:demo:port-3",
    )


def test_rows_that_point_at_nothing_or_are_of_nobody_are_shown_as_they_are(read, maps):
    maps.rows["next_hops"].clear()
    assert {row["type"] for row in read("routes")} == {"missing"}
    assert read("labels")[0]["type"] == "missing"
    maps.rows["next_hops"][9,] = (77, 0x80 | 1, 5, 0, 0, 0)
    (hop,) = read("next-hops")
    assert (hop["type"], hop["flags"], hop["interface"]) == ("#77", ["peer", "#80"], "")
    maps.rows["vnis"][5,] = (42,)
    assert read("labels")[-1]["vrf"] == "#42"
