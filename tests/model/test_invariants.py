"""Every class of problem is found, and a sound configuration has none."""

import pytest

from filament.model.change import Allocation, Object, Ref
from filament.model.invariants import CLASSES, check

PROJECT = Object("project", "p", ("d", "p"), "domain", "d", revision=1)
DOMAIN = Object("domain", "d", ("d",), revision=1)
NETWORK = Object(
    "virtual-network",
    "n",
    ("d", "p", "red"),
    "project",
    "p",
    props={"virtual_network_network_id": 4},
    revision=2,
)
ADDRESS = Object(
    "instance-ip",
    "i",
    ("ip",),
    props={"instance_ip_address": "10.1.1.3", "subnet_uuid": "s"},
    refs=(Ref("virtual-network", "n"),),
    revision=3,
)
SOUND = [DOMAIN, PROJECT, NETWORK, ADDRESS]
HELD = [
    Allocation("vn-id", 4, "n"),
    Allocation("route-target/64512", 8000000, "d:p:red:red"),
    Allocation("ip/n/s", 0x0A010103, "i"),
]


def machine(uuid, *refs, **fields):
    return Object("virtual-machine", uuid, (uuid,), refs=refs, **fields)


def test_a_sound_configuration_has_no_problem():
    assert check(3, SOUND, HELD, [1, 2, 3]) == []
    assert check(3, SOUND, HELD) == []


@pytest.mark.parametrize(
    ("of", "text", "objects", "allocations", "log"),
    [
        ("kind", "cheese x: there is no such kind", [Object("cheese", "x", ("x",))], [], []),
        ("identity", "2 objects are the domain d", [Object("domain", "e", ("d",))], [], []),
        ("identity", "2 objects have uuid i", [Object("virtual-machine", "i", ("e",))], [], []),
        (
            "parent",
            "its parent domain gone is not there",
            [Object("project", "q", ("d", "q"), "domain", "gone")],
            [],
            [],
        ),
        (
            "parent",
            "project e:q lies below the domain d",
            [Object("project", "q", ("e", "q"), "domain", "d")],
            [],
            [],
        ),
        (
            "reference",
            "refers to virtual-network gone, which is not there",
            [machine("m", Ref("virtual-network", "gone"))],
            [],
            [],
        ),
        (
            "reference",
            "refers to a project that is the domain d",
            [machine("m", Ref("project", "d"))],
            [],
            [],
        ),
        (
            "back-reference",
            "virtual-machine m refers to the virtual-machine k, which does not",
            [machine("k"), machine("m", Ref("virtual-machine", "k"))],
            [],
            [],
        ),
        ("revision", "is of revision 9, the database of 3", [machine("m", revision=9)], [], []),
        (
            "doubled-allocation",
            "value 4 of pool vn-id is held 2 times",
            [],
            [Allocation("vn-id", 4, "p")],
            [],
        ),
        (
            "leaked-allocation",
            "value 5 of pool vn-id is held by gone, which is not there",
            [],
            [Allocation("vn-id", 5, "gone")],
            [],
        ),
        (
            "leaked-allocation",
            "is held by d:p:blue:blue, which is not there",
            [],
            [Allocation("route-target/64512", 9, "d:p:blue:blue")],
            [],
        ),
        (
            "missing-allocation",
            "shows value 7 of pool vn-id and does not hold it",
            [
                Object(
                    "virtual-network",
                    "m",
                    ("d", "p", "b"),
                    "project",
                    "p",
                    props={"virtual_network_network_id": 7},
                )
            ],
            [],
            [],
        ),
        ("log", "revision 3 follows 1", [], [], [1, 3]),
        ("log", "ends at revision 2, the database is at 3", [], [], [1, 2]),
    ],
)
def test_what_is_wrong_is_said(of, text, objects, allocations, log):
    (problem,) = check(3, SOUND + objects, HELD + allocations, log)
    assert problem.of == of
    assert problem.of in CLASSES
    assert text in problem.text
