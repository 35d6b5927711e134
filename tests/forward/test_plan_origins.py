"""Every row names the object that made it, with that object's revision."""

from filament.base.net import Prefix, parse_ipv4
from filament.base.origin import Origin
from filament.forward.ids import Ids
from filament.forward.inputs import Host, Inputs, Route, Subnet
from filament.forward.plan import plan

HERE, THERE = parse_ipv4("172.30.0.1"), parse_ipv4("172.30.0.2")
ROUTER = Origin("virtual-router default-global-system-config:host1", "host", 4)
NEWER = Origin("virtual-machine-interface d:p:b", "route", 8)
OLDER = Origin("virtual-machine-interface d:p:c", "route", 6)
RED = Origin("virtual-network d:p:red", "subnet", 5)


def route(address, origin):
    return Route("red", Prefix(parse_ipv4(address), 32), THERE, 17, "red", origin)


def subnet(text, origin):
    prefix = Prefix.parse(text)
    return Subnet("red", "red", prefix, prefix.address + 1, 0, origin)


def planned(host, *, routes=(), subnets=()):
    ids = Ids()
    inputs = Inputs(host, 99, routes=tuple(routes), subnets=tuple(subnets))
    return plan(inputs, ids), ids


def origin_of(tables, ids, key):
    return tables.rows["next_hops"][ids.get("next_hop", key),].origin


def test_a_tunnel_is_there_because_of_its_oldest_route_in_any_order():
    routes = [route("10.1.1.4", NEWER), route("10.1.1.5", OLDER)]
    for each in (routes, routes[::-1]):
        tables, ids = planned(Host("host1", HERE), routes=each)
        assert origin_of(tables, ids, "tunnel 172.30.0.2") == Origin(OLDER.object, "tunnel", 6)


def test_shared_next_hops_are_there_because_of_the_oldest_subnet():
    newer = Origin("virtual-network d:p:blue", "subnet", 7)
    subnets = [subnet("10.1.2.0/24", newer), subnet("10.1.1.0/24", RED)]
    tables, ids = planned(Host("host1", HERE), subnets=subnets)
    assert origin_of(tables, ids, "discard") == Origin(RED.object, "discard", 5)
    assert origin_of(tables, ids, "receive") == Origin(RED.object, "receive", 5)


def test_the_hosts_row_comes_from_its_virtual_router():
    tables, _ = planned(Host("host1", HERE, ROUTER))
    assert tables.rows["host"][0,].origin == ROUTER
    assert tables.rows["host"][0,].values[2] == 99


def test_a_host_that_has_not_heard_of_itself_says_no_revision():
    tables, _ = planned(Host("host1", HERE))
    assert tables.rows["host"][0,].origin == Origin("virtual-router host1", "host", 0)
