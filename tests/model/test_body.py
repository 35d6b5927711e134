"""Bytes to meaning: types from the registry, and errors that say where and what would be right."""

import contextlib
import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filament.base.errors import InputError
from filament.base.limits import MAX_JSON_DEPTH
from filament.model.body import Body, RefBody, convert_attribute, decode, decode_body
from filament.model.kinds import KINDS

NETWORK = KINDS["virtual-network"]


def network(**fields):
    return json.dumps({"virtual-network": fields}).encode()


def test_a_body_says_only_what_it_names():
    subnet = {"subnet": {"ip_prefix": "10.1.1.0", "ip_prefix_len": 24}, "dns_nameservers": None}
    raw = network(
        fq_name=["d", "p", "red"],
        parent_type="project",
        mtu=1500,
        display_name=None,
        network_ipam_refs=[{"to": ["d", "p", "ipam"], "attr": {"ipam_subnets": [subnet]}}],
        network_policy_refs=None,
    )
    assert decode_body(NETWORK, raw) == Body(
        fq_name=("d", "p", "red"),
        parent_kind="project",
        props={"mtu": 1500, "display_name": None},
        refs={
            "network-ipam": [
                RefBody(
                    "network-ipam",
                    ("d", "p", "ipam"),
                    None,
                    # nulls inside values mean absent
                    {"ipam_subnets": [{"subnet": {"ip_prefix": "10.1.1.0", "ip_prefix_len": 24}}]},
                )
            ],
            "network-policy": [],
        },
    )


@pytest.mark.parametrize("raw", [b"", b"  ", b"{}", b'{"virtual-network": {}}'])
def test_an_empty_body_changes_nothing(raw):
    assert decode_body(NETWORK, raw) == Body()


def test_what_a_get_answered_may_be_sent_back():
    raw = network(
        name="red",
        href="http://api/virtual-network/u",
        parent_href="http://api/project/p",
        routing_instances=[{"to": ["a"], "uuid": "u", "href": "h"}],
        virtual_machine_interface_back_refs=[{"to": ["a"], "attr": None}],
    )
    assert decode_body(NETWORK, raw) == Body()


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (
            b'{"virtual-network": {"mtu": }}',
            "the body is not JSON: invalid character at line 1 column 29 (byte 28)",
        ),
        (b'{"virtual-network": {\n "mtu": x}}', "at line 2 column 9"),
        (b'{"virtual-network": ', "the body is not JSON: it ends too early"),
        (b"\xff\xfe", "the body is not JSON: invalid character at line 1 column 1"),
        (b'{"virtual-network": {"display_name": "\xff"}}', "the body is not JSON"),
        (b"[" * 65, "the JSON is nested more than 64 levels deep"),
        (network(mtu="big"), "expected `int`, got `str` at $.virtual-network.mtu"),
        (network(mtu=9217), "expected `int` <= 9216 at $.virtual-network.mtu"),
        (b'{"virtual-network": []}', "expected `object`, got `array` at $.virtual-network"),
        (
            network(network_ipam_refs=[{"to": ["a"], "attr": {"ipam_subnets": [{"subnet": 7}]}}]),
            "got `int` at $.virtual-network.network_ipam_refs[0].attr.ipam_subnets[0].subnet",
        ),
        (
            network(displayname="x"),
            "unknown field 'displayname' at $.virtual-network; did you mean display_name?",
        ),
        (
            b'{"virtual-netwrk": {}}',
            "unknown field 'virtual-netwrk' at $; did you mean virtual-network?",
        ),
        (
            network(network_ipam_refs=[{"to": ["a"], "attr": {"ipam_subnet": []}}]),
            "network_ipam_refs[0].attr; did you mean ipam_subnets?",
        ),
        (
            network(virtual_network_properties={"rpf": "maybe"}),
            "'maybe' is not allowed at $.virtual-network.virtual_network_properties.rpf; one of",
        ),
        (
            network(network_policy_refs=[{"attr": None}]),
            "a reference in network_policy_refs names no object",
        ),
        (network(uuid="42"), "Invalid uuid format '42' at $.virtual-network.uuid"),
    ],
)
def test_bad_bodies_are_explained(raw, text):
    with pytest.raises(InputError, match=re.escape(text)):
        decode_body(NETWORK, raw)


ANY_JSON = msgspec.json.Decoder(dict[str, Any])


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":1}',
        b'{"a" :1,"a":1}',
        b'{"a"\n:1,"b":{"c":1,"c":2}}',
        rb'{"a":"\u0022:","b":[{"c":1,"c":2}]}',
        rb'{"a":"x\":","a":1}',
        rb'{"a":1,"\u0061":2}',
    ],
)
def test_a_key_given_twice_is_refused_however_it_is_written(raw):
    with pytest.raises(InputError, match="is given twice"):
        decode(ANY_JSON, raw)


@pytest.mark.parametrize("raw", [b'{"a":"x :y","b":"::"}', rb'{"a":"\":","b":[{"a":1},{"a":1}]}'])
def test_a_key_in_several_objects_is_not_given_twice(raw):
    assert decode(ANY_JSON, raw) == json.loads(raw)


def test_brackets_in_strings_are_not_depth():
    assert decode_body(NETWORK, network(display_name="[{" * 200)).props == {
        "display_name": "[{" * 200
    }


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_bytes_raise_anything_but_input_errors(raw):
    with contextlib.suppress(InputError):
        decode_body(NETWORK, raw)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(NETWORK.properties)) | st.text(max_size=4), _json))
def test_no_json_raises_anything_but_input_errors(fields):
    with contextlib.suppress(InputError):
        decode_body(NETWORK, network(**fields))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_decodes_its_common_fields(kind):
    raw = json.dumps({kind.name: {"fq_name": ["a"], "display_name": "A"}}).encode()
    assert decode_body(kind, raw) == Body(fq_name=("a",), props={"display_name": "A"})


def test_attributes_are_checked_against_their_kind():
    attr = {"sequence": {"major": 1, "minor": None}}
    assert convert_attribute(NETWORK, "network-policy", attr) == {"sequence": {"major": 1}}
    assert convert_attribute(NETWORK, "virtual-network", {}) is None
    with pytest.raises(InputError, match=r"unknown field 'sequense'.*did you mean sequence"):
        convert_attribute(NETWORK, "network-policy", {"sequense": {}})


@st.composite
def nested(draw):
    """Brackets and strings full of brackets, and how deep the brackets are."""
    parts, opened, deepest = [], [], 0
    for what in draw(st.lists(st.sampled_from('{{[[}}"'), max_size=150)):
        if what == '"':
            parts.append('"[{]"')
        elif what == "}":
            parts.append(opened.pop() if opened else '""')
        else:
            parts.append(what)
            opened.append({"{": "}", "[": "]"}[what])
            deepest = max(deepest, len(opened))
    more = draw(st.sampled_from([0, 0, 30, 62, 63, 64, 65, 66]))
    parts += ["["] * more + ["]"] * more
    deepest = max(deepest, len(opened) + more)
    if draw(st.booleans()):
        parts += reversed(opened)
    return "".join(parts).encode(), deepest


@settings(max_examples=300)
@given(nested())
def test_depth_is_counted_whatever_strings_hold(case):
    raw, depth = case
    text = ""
    try:
        decode(msgspec.json.Decoder(), raw)
    except InputError as error:
        text = str(error)
    assert ("nested more than 64 levels deep" in text) == (depth > MAX_JSON_DEPTH)
