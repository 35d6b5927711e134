"""Samples of packets with names, and who hears of them."""

import asyncio
import json

import pytest

from filament.agent.flows import flow_record, read_flows, values_of
from filament.agent.naming import Naming
from filament.agent.select import Wanted
from filament.agent.verdicts import Verdicts, verdict_of
from filament.base.errors import TransientError
from filament.base.limits import MAX_SAMPLES, MAX_VERDICT_STREAMS, MAX_VERDICTS_QUEUED
from filament.base.net import parse_ipv4, widen_address
from filament.dataplane.ring import Sample
from filament.doctor.packet import Flow, encode_frame
from filament.forward.flows import FlowKey
from filament.forward.layout import (
    FLOW_INBOUND,
    SAMPLE_DROP,
    SAMPLE_FLOW,
    SAMPLE_HEAD_BYTES,
    DropReason,
)
from filament.forward.model import Model, UnderlayPath
from filament.forward.tables import fields_of
from filament.wire.packet.ipv4 import ICMP, TCP

from .looked_at import LookedAt

PORT, FAR = parse_ipv4("10.1.1.3"), parse_ipv4("10.1.1.4")
MAC = 0x020000000003
TAP, UNDERLAY = 103, 2


def acl_rule(port, action):
    match = {
        "protocol": "6",
        "src_address": {"virtual_network": "default-domain:demo:red"},
        "src_port": {"start_port": 0, "end_port": 65535},
        "dst_address": {"virtual_network": "default-domain:demo:red"},
        "dst_port": {"start_port": port, "end_port": port},
    }
    return {
        "match_condition": match,
        "action_list": {"simple_action": action},
        "rule_uuid": f"00000000-0000-4000-8000-000000000{port:03}",
        "direction": ">",
    }


@pytest.fixture
def host(running, script):
    """A host whose port may open TCP to port 443 of its network and not to 80."""
    running.say(script.acl([acl_rule(80, "deny"), acl_rule(443, "pass")]), revision=6)
    return LookedAt(running)


class Judged:
    """A host's tables and the model's flows in them, sampled as the kernel would."""

    def __init__(self, host):
        self.naming = Naming(host.host)
        self.model = Model(host.host.tables, lambda: 1.0, _AnyWay())

    def read(self, table, key):
        assert table == "flows"
        return self.model.flows().get(key)

    def send(self, flow, *, gone=False):
        """Send a packet from the port; returns its verdict with names."""
        frame = encode_frame(flow, MAC, 0x00005E000100, answers=False)
        self.model.shown.clear()
        self.model.from_port(TAP, frame)
        (shown,) = self.model.shown
        sample = Sample(
            5, *shown[:2], TAP, int(shown.reason), len(frame), frame[:SAMPLE_HEAD_BYTES]
        )
        return verdict_of(sample, self.naming, (lambda *_: None) if gone else self.read)


class _AnyWay(dict):
    def __missing__(self, address):
        return UnderlayPath(UNDERLAY, 1, 2)

    def get(self, address, default=None):
        return self[address]


@pytest.fixture
def judged(host):
    return Judged(host)


def test_a_denied_packet_names_both_ends_and_the_rule(judged):
    record = judged.send(Flow(PORT, FAR, TCP, 40000, 80))
    assert (record["verdict"], record["reason"]) == ("dropped", "POLICY_FROM_PORT")
    assert record["text"] == "the source network's policy denies it"
    assert (record["source"], record["source_port"]) == ("10.1.1.3", 40000)
    assert record["source_interface"] == "default-domain:demo:port-3"
    assert (record["destination"], record["destination_port"]) == ("10.1.1.4", 80)
    assert record["destination_network"] == "default-domain:demo:red"
    assert (record["protocol"], record["tcp_flags"], record["outbound"]) == (6, 2, True)
    (rule,) = record["rules"]
    assert (rule["list"], rule["position"]) == ("default-domain:demo:red:red", 1)
    assert rule["object"]


def test_a_flow_that_passes_names_the_rule_and_one_that_none_lets_says_so(judged):
    record = judged.send(Flow(PORT, FAR, TCP, 40000, 443))
    assert (record["verdict"], record["denied"], record["reason"]) == ("forwarded", False, "")
    assert record["rules"][-1]["position"] == 2
    record = judged.send(Flow(PORT, FAR, ICMP, 7))
    assert record["denied"]
    assert record["rules"][-1]["position"] is None
    assert record["icmp"] == [8, 0]


def test_a_flow_that_is_gone_has_no_rule(judged):
    assert judged.send(Flow(PORT, FAR, TCP, 40000, 80), gone=True)["rules"] == []


def test_what_no_rule_decides_has_none(judged):
    record = judged.send(Flow(PORT, parse_ipv4("192.0.2.1"), TCP, 1, 2))
    assert (record["reason"], record["rules"]) == ("NO_ROUTE", [])
    assert record["destination_network"] == ""


def test_frames_that_are_not_ip_or_cut_off_are_told_all_the_same(judged):
    for head in (b"", bytes(12) + b"\x88\xcc" + bytes(46), bytes(12) + b"\x08\x00E\x00"):
        sample = Sample(5, 1, 1, TAP, DropReason.UNSUPPORTED_PROTOCOL, len(head), head)
        record = verdict_of(sample, judged.naming, judged.read)
        assert (record["protocol"], record["source"], record["destination"]) == (-1, "", "")
        assert record["interface"] == "default-domain:demo:port-3"


def test_a_packet_in_a_tunnel_is_read_inside(judged):
    frame = encode_frame(Flow(PORT, FAR, TCP, 40000, 443), MAC, 0x00005E000100, answers=False)
    tunnelled = judged.model.from_port(TAP, frame).output.frame
    head = tunnelled[:SAMPLE_HEAD_BYTES]
    sample = Sample(5, 0, 0, UNDERLAY, DropReason.INVALID_LABEL, len(tunnelled), head)
    record = verdict_of(sample, judged.naming, judged.read)
    assert (record["source"], record["destination"]) == ("10.1.1.3", "10.1.1.4")
    assert (record["interface"], record["vrf"], record["outbound"]) == ("fabric", "-", False)
    assert (record["source_port"], record["destination_port"]) == (40000, 443)


def test_flows_are_records_with_names_and_only_those_wanted(host, judged):
    judged.send(Flow(PORT, FAR, TCP, 40000, 443))
    judged.send(Flow(PORT, FAR, TCP, 40001, 80))
    host.maps.owned["flows"] = {tuple(key): row for key, row in judged.model.flows().items()}
    everything = read_flows(host.maps, judged.naming, Wanted(), 10)
    assert everything["count"] == len(everything["flows"]) == 2
    (denied,) = read_flows(host.maps, judged.naming, Wanted(is_denied=True), 10)["flows"]
    assert (denied["destination_port"], denied["rules"][-1]["position"]) == (80, 1)
    assert (denied["local"], denied["remote"], denied["inbound"]) == ("10.1.1.3", "10.1.1.4", False)
    assert len(read_flows(host.maps, judged.naming, Wanted(), 1)["flows"]) == 1
    assert read_flows(host.maps, judged.naming, Wanted(ports=(1,)), 10)["flows"] == []


@pytest.mark.parametrize("flags", [0, FLOW_INBOUND])
def test_an_echo_has_its_identifier_at_who_started_it(judged, flags):
    key = FlowKey(1, 1, widen_address(PORT, 4), widen_address(FAR, 4), 7, 0, ICMP)
    record = flow_record(
        key, values_of((0,) * len(fields_of("flows"))) | {"flags": flags}, judged.naming
    )
    assert (record["source_port"], record["destination_port"]) == (7, 0)
    assert (record["source"] == "10.1.1.3") == (not flags)
    assert (record["local_port"], record["remote_port"]) == (7, 0)


# streams -----------------------------------------------------------------------------------------


class Kernel:
    """The maps of a kernel that took samples."""

    def __init__(self):
        self.samplings = {SAMPLE_DROP: (0, 0, 5, 0, 0), SAMPLE_FLOW: (0, 0, 5, 1, 1)}

    def read(self, table, key):
        return self.samplings[key[0]] if table == "samplings" else None


@pytest.fixture
def kernel():
    return Kernel()


@pytest.fixture
def verdicts(host, kernel):
    return Verdicts("host1", lambda: Naming(host.host), kernel.read)


def dropped(number=0):
    return Sample(number, 1, 1, TAP, DropReason.MALFORMED, 60, bytes(60))


async def lines(stream):
    """What the next write of a stream says."""
    return [json.loads(line) for line in (await anext(stream)).splitlines()]


async def test_who_listens_hears_of_what_comes_then_and_is_told_what_is_missing(verdicts, kernel):
    verdicts.take([dropped()])
    stream = verdicts.listen(Wanted())
    assert await lines(stream) == [{"verdict": "listening", "host": "host1"}]
    assert verdicts.is_heard
    verdicts.take([dropped(), dropped()._replace(reason=0)])
    told = await lines(stream)
    assert [(one["host"], one["verdict"]) for one in told] == [
        ("host1", "dropped"),
        ("host1", "forwarded"),
    ]
    kernel.samplings[SAMPLE_DROP] = (0, 0, 9, 40, 2)
    verdicts.take([])
    assert await lines(stream) == [{"host": "host1", "verdict": "lost", "drop": 42, "flow": 0}]
    await stream.aclose()
    assert not verdicts.is_heard


async def test_who_wants_drops_hears_of_nothing_else(verdicts):
    stream = verdicts.listen(Wanted(is_denied=True))
    await lines(stream)
    verdicts.take([dropped()._replace(reason=0), dropped()])
    assert [one["verdict"] for one in await lines(stream)] == ["dropped"]
    await stream.aclose()


async def test_who_reads_too_slowly_loses_the_oldest_and_is_told_how_many(verdicts):
    stream = verdicts.listen(Wanted())
    await lines(stream)
    verdicts.take(dropped(number) for number in range(MAX_VERDICTS_QUEUED + 7))
    told = await lines(stream)
    assert told[-1] == {"host": "host1", "verdict": "lost", "unread": 7}
    await stream.aclose()


async def test_listeners_are_bounded_and_make_room(verdicts):
    streams = [verdicts.listen(Wanted()) for _ in range(MAX_VERDICT_STREAMS)]
    for stream in streams:
        await lines(stream)
    with pytest.raises(TransientError, match="16 listen to this agent's verdicts already"):
        verdicts.listen(Wanted())
    await streams[0].aclose()
    verdicts.listen(Wanted())
    for stream in streams[1:]:
        await stream.aclose()


async def test_streams_end_with_the_agent(verdicts):
    stream = verdicts.listen(Wanted())
    await lines(stream)
    ending = asyncio.create_task(anext(stream, None))
    await asyncio.sleep(0)
    verdicts.close()
    assert await ending is None


def test_the_last_drops_are_kept(verdicts):
    verdicts.take(dropped(number) for number in range(MAX_SAMPLES + 5))
    verdicts.take([dropped()._replace(reason=0)])
    assert [one.at_ns for one in verdicts.drops] == list(range(5, MAX_SAMPLES + 5))


def test_losses_are_said_by_kind(verdicts):
    assert verdicts.losses()["flow"].skipped == 1
