import json
from pathlib import Path

import pytest

from filament.base.origin import Origin
from filament.doctor.explain import (
    explanation_json,
    format_explanation,
    format_origin,
    shorten,
)
from filament.doctor.trace import flow_of, trace

from .two_hosts import end, plan_hosts, rule

ICMP, TCP, UDP = 1, 6, 17
DELIVERED = Path(__file__).with_name("delivered.txt")
INTERFACE_LINE = (
    "    interface  red-1 (tap11) in VRF red, address 10.1.1.3"
    "  <- virtual-machine-interface red-1, port, r7"
)


def explain(hosts, source, destination, protocol=ICMP, port=None, **options):
    flow = flow_of(end(source).address, end(destination).address, protocol, port)
    return trace(end(source), end(destination), flow, hosts, **options)


def test_a_delivery_and_its_answer_read_line_by_line():
    hosts = plan_hosts([rule("red", "blue")], leaks=True)
    explanation = explain(hosts, "red-1", "blue-2", TCP, 443)
    assert explanation.is_delivered
    text = "\n".join(format_explanation(explanation, hosts))
    assert text == DELIVERED.read_text().rstrip()


def test_a_drop_says_the_reason_and_what_would_help():
    hosts = plan_hosts()
    explanation = explain(hosts, "red-1", "blue-2", UDP, 53)
    assert not explanation.is_delivered
    assert format_explanation(explanation, hosts) == [
        "red-1 (10.1.1.3) sends a UDP datagram, port 49152 to 53, to blue-2 (10.1.2.4)",
        "  host1 (172.30.0.1), rows of revision 9",
        "    arp        10.1.1.1 is at 00:00:5e:00:01:00",
        INTERFACE_LINE,
        "    route      VRF red has none to 10.1.2.4",
        "    drop       the VRF has no route to the destination",
        "  => dropped on host1: the VRF has no route to the destination (NO_ROUTE)",
        "     red and blue need a network-policy that joins them, attached to both",
    ]


def test_no_hint_where_nobody_knows_what_was_meant():
    assert explain(plan_hosts(), "red-1", "192.0.2.1").hint == ""
    assert explain(plan_hosts([], leaks=True), "red-1", "blue-1").hint == ""


def test_the_gateways_answer():
    hosts = plan_hosts()
    explanation = explain(hosts, "red-1", "10.1.1.1")
    assert explanation.is_delivered
    assert explanation.answer is None
    lines = format_explanation(explanation, hosts)
    assert lines[0] == "red-1 (10.1.1.3) sends an ICMP echo request to 10.1.1.1"
    assert lines[-1] == "  => answered by the gateway on host1"


def test_other_protocols_are_named_by_number():
    hosts = plan_hosts()
    lines = format_explanation(explain(hosts, "red-1", "red-2", 47), hosts)
    assert lines[0] == "red-1 (10.1.1.3) sends a packet of protocol 47 to red-2 (10.1.1.4)"


def test_rows_are_shown_when_asked():
    hosts = plan_hosts()
    lines = format_explanation(explain(hosts, "red-1", "red-2"), hosts, shows_keys=True)
    assert lines[3].endswith("<- virtual-machine-interface red-1, port, r7  interfaces[11]")
    assert not lines[2].endswith("]")


def test_notes_come_first_and_hosts_behind_are_named():
    hosts = plan_hosts(revision=9)
    explanation = explain(hosts, "red-1", "red-2", notes=["host3 is silent"], revision=12)
    assert format_explanation(explanation, hosts)[:5] == [
        "note: host3 is silent",
        "note: host1 shows revision 9, the API is at 12",
        "note: host2 shows revision 9, the API is at 12",
        "",
        "red-1 (10.1.1.3) sends an ICMP echo request to red-2 (10.1.1.4)",
    ]


def test_an_address_may_be_somebody_elses_in_the_senders_network():
    hosts = plan_hosts()
    blue = end("blue-2")._replace(address=end("red-2").address)  # overlapping subnets
    flow = flow_of(end("red-1").address, blue.address, ICMP, None)
    explanation = trace(end("red-1"), blue, flow, hosts)
    assert not explanation.is_delivered
    assert explanation.notes == ("in the sender's network 10.1.1.4 is red-2, not blue-2",)


def test_the_answer_can_be_left_out():
    hosts = plan_hosts()
    explanation = explain(hosts, "red-1", "red-2", walks_answer=False)
    assert explanation.answer is None
    assert explanation.is_delivered


def test_a_lost_packet_is_neither_delivered_nor_dropped():
    hosts = plan_hosts()
    del hosts["host2"]
    explanation = explain(hosts, "red-1", "red-2")
    assert explanation.is_lost
    assert not explanation.is_delivered
    assert format_explanation(explanation, hosts)[-1] == (
        "  => followed as far as host2: its agent does not answer: nobody can tell"
    )


def test_json_has_whole_names_rows_and_origins():
    hosts = plan_hosts([rule("red", "blue")], leaks=True)
    value = json.loads(json.dumps(explanation_json(explain(hosts, "red-1", "blue-2"), hosts)))
    assert value["delivered"] is True
    assert value["hosts"] == {"host1": {"applied": 9}, "host2": {"applied": 9}}
    question = value["question"]
    assert question["flow"] == {
        "source": "10.1.1.3",
        "destination": "10.1.2.4",
        "protocol": 1,
        "source_port": 1,
        "destination_port": 0,
    }
    assert (question["outcome"], question["reason"], question["host"]) == (
        "delivered",
        "",
        "host2",
    )
    (policy, _) = [step for step in question["steps"] if step["stage"] == "policy"]
    assert policy == {
        "host": "host1",
        "stage": "policy",
        "text": "rule 1 passes any protocol from red to blue",
        "row": {"table": "rules", "key": policy["row"]["key"]},
        "origin": {
            "object": "network-policy default-domain:demo:open",
            "rule": "rule 1",
            "revision": 9,
        },
    }
    dropped = explanation_json(explain(plan_hosts(), "red-1", "blue-2"), hosts)
    assert dropped["question"]["reason"] == "NO_ROUTE"
    assert dropped["answer"] is None


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("virtual-network default-domain:demo:red", "virtual-network red"),
        (
            "imported from default-domain:demo:blue:blue by target:64512:8000004",
            "imported from blue by target:64512:8000004",
        ),
        ("policy-rule 419403c9-435a-4bf4-b242-fc7976a91d07", "policy-rule 419403c9"),
        ("virtual-router host1", "virtual-router host1"),
        ("", ""),
    ],
)
def test_names_and_uuids_are_shortened(text, short):
    assert shorten(text) == short


def test_an_origin_without_a_revision_has_none():
    assert format_origin(Origin("virtual-router host1", "tunnel")) == "virtual-router host1, tunnel"
