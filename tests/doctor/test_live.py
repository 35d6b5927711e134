"""Both answers side by side, and what makes them differ."""

import pytest

from filament.doctor.live import compare, format_compared, requests_of, ruling_of
from filament.doctor.trace import flow_of, trace

from .two_hosts import end, plan_hosts, rule

TCP = 6


@pytest.fixture
def hosts():
    return plan_hosts([rule("red", "blue")], leaks=True)


@pytest.fixture
def heard(hosts):
    source, destination = end("red-1"), end("blue-2")
    flow = flow_of(source.address, destination.address, TCP, 443)
    return trace(source, destination, flow, hosts).heard


def as_the_kernel(one, **changed):
    """What an agent answers when its kernel does what the model did; `changed` when it does not."""
    output = one.result.output
    answer = {
        "verdict": int(one.result.verdict),
        "reason": one.result.reason.name,
        "next_hop": one.result.next_hop,
        "ifindex": output.ifindex if output is not None else 0,
        "frame": output.frame.hex() if output is not None else "",
    }
    if output is not None and output.is_to_fabric:  # MACs and device that the model cannot know
        answer |= {"ifindex": 7, "frame": "02" * 12 + answer["frame"][24:]}
    return ruling_of(answer | changed)


def rulings(heard, changed=None):
    found = {}
    for index, one in enumerate(heard):
        told = as_the_kernel(one, **(changed or {}).get(index, {}))
        found.setdefault(one.host, []).append(told)
    return found


def test_hosts_are_asked_for_their_packets_in_order(heard):
    asked = requests_of(heard)
    assert [(one.host, one.packet) for one in heard] == [
        ("host1", "question"),
        ("host2", "question"),
        ("host2", "answer"),
        ("host1", "answer"),
    ]
    assert [one["program"] for one in asked["host1"]] == ["from_port", "from_fabric"]
    assert [one["program"] for one in asked["host2"]] == ["from_fabric", "from_port"]
    assert asked["host1"][0]["ifindex"] == 11
    assert bytes.fromhex(asked["host1"][1]["frame"]) == heard[3].frame


def test_a_kernel_that_does_the_same_agrees(heard, hosts):
    compared = compare(heard, rulings(heard), hosts)
    assert [each.differences for each in compared] == [()] * 4
    assert compared[1].model == compared[1].kernel == "to blue-2 (tap22)"
    lines = format_compared(compared)
    assert lines[0].split() == ["HOST", "PACKET", "MODEL", "KERNEL"]
    assert all(line.endswith("agrees") for line in lines[1:])


@pytest.mark.parametrize(
    ("index", "changed", "difference"),
    [
        (1, {"verdict": 2, "reason": "INVALID_LABEL", "frame": ""}, "verdict"),
        (1, {"ifindex": 21}, "device"),
        (1, {"next_hop": 99}, "next hop"),
        (1, {"frame": "00" * 54}, "frame"),
    ],
)
def test_a_kernel_that_does_something_else_is_marked(heard, hosts, index, changed, difference):
    compared = compare(heard, rulings(heard, {index: changed}), hosts)
    assert [bool(each.differences) for each in compared] == [at == index for at in range(4)]
    assert compared[index].differences == (difference,)
    assert format_compared(compared)[index + 1].endswith(f"<- differs: {difference}")


def test_of_a_tunnelled_frame_all_but_the_underlays_macs_is_compared(heard, hosts):
    frame = as_the_kernel(heard[0]).frame
    other = {"frame": (frame[:-1] + bytes([frame[-1] ^ 1])).hex()}
    assert compare(heard, rulings(heard, {0: other}), hosts)[0].differences == ("frame",)


def test_a_drop_is_said_with_its_reason(heard, hosts):
    dropped = {"verdict": 2, "reason": "INVALID_LABEL", "frame": ""}
    compared = compare(heard, rulings(heard, {1: dropped}), hosts)
    assert compared[1].kernel == "dropped: INVALID_LABEL"


def test_a_host_that_does_not_answer_is_left_out(heard, hosts):
    found = rulings(heard)
    del found["host2"]
    assert [each.host for each in compare(heard, found, hosts)] == ["host1", "host1"]
    assert format_compared([]) == []
