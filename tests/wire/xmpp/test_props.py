import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.errors import ProtocolError
from filament.wire.xmpp.props import decode_members, encode_members
from filament.wire.xmpp.stream import Element, XmlStream

HEADER = (
    b"<stream:stream xmlns='jabber:client' xmlns:f='urn:filament'"
    b" xmlns:stream='http://etherx.jabber.org/streams'>"
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=6) | st.from_regex(r"\A[a-z]{1,3}[_-]?[a-z]{0,2}\Z"),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


def parsed(xml: str) -> Element:
    events = list(XmlStream().feed(HEADER + b"<iq>" + xml.encode() + b"</iq>"))
    element = events[1]
    assert isinstance(element, Element)
    return element


@given(
    st.dictionaries(st.text(max_size=6) | st.from_regex(r"\A[a-z]{1,3}_[a-z]\Z"), JSON, max_size=5)
)
def test_any_json_object_comes_back_with_its_types(members):
    decoded = decode_members(parsed(encode_members(members)).children)
    assert json.dumps(decoded, sort_keys=True) == json.dumps(members, sort_keys=True)


def test_it_looks_like_tf():
    xml = encode_members(
        {
            "virtual_network_properties": {"forwarding_mode": "l3", "rpf": None},
            "route_target_list": {"route_target": ["target:1:1", "target:1:2"]},
            "virtual_network_network_id": 5,
            "is_shared": True,
        }
    )
    assert xml == (
        "<virtual-network-properties><forwarding-mode>l3</forwarding-mode>"
        '<rpf f:type="null"/></virtual-network-properties>'
        '<route-target-list><route-target f:list="true">target:1:1</route-target>'
        '<route-target f:list="true">target:1:2</route-target></route-target-list>'
        '<virtual-network-network-id f:type="number">5</virtual-network-network-id>'
        '<is-shared f:type="boolean">true</is-shared>'
    )


@pytest.mark.parametrize(
    "value",
    [[], [[]], [1], ["x"], [[1, 2]], {}, [{}], [{"a": [1]}], "", " x ", "\r\n\t\x00\ufffe", [None]],
)
def test_the_ambiguous_values_are_told_apart(value):
    assert decode_members(parsed(encode_members({"a_b": value})).children) == {"a_b": value}


def test_keys_that_differ_only_in_dashes_stay_two_members():
    members = {"a_b": 1, "a-b": 2, "A": 3, "": 4, "member": 5, "a__b": 6}
    assert decode_members(parsed(encode_members(members)).children) == members


def test_a_reserved_key_does_not_become_an_element_of_that_name():
    assert encode_members({"name": "x"}, {"name"}).startswith("<member f:key=")


def test_values_nested_deeper_than_a_stanza_still_arrive():
    value: object = "bottom"
    for _ in range(40):
        value = {"a": [value]}
    assert decode_members(parsed(encode_members({"deep": value})).children) == {"deep": value}


def test_tf_xml_without_types_decodes_to_strings_and_lists():
    assert decode_members(parsed("<a-b>1</a-b><c><d>x</d><d>y</d></c>").children) == {
        "a_b": "1",
        "c": {"d": ["x", "y"]},
    }


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ('<a f:type="number">true</a>', "<a> of type 'number' holds 'true'"),
        ('<a f:type="number">NaN</a>', "NaN is not a JSON number"),
        ('<a f:type="boolean">yes</a>', "<a> of type 'boolean' holds 'yes'"),
        ('<a f:type="date">x</a>', "<a> of type 'date'"),
        ('<a f:type="json">{</a>', "<a> is not JSON"),
        ('<a f:type="json">' + "[" * 100_000 + "</a>", "<a> is not JSON"),
        ('<a f:key="1">x</a>', "not a JSON string"),
        ('<a f:type="number">' + "9" * 5000 + "</a>", "<a> is not JSON"),
    ],
)
def test_bad_types_are_protocol_errors(xml, text):
    with pytest.raises(ProtocolError) as caught:
        decode_members(parsed(xml).children)
    assert text in str(caught.value)
    assert caught.value.condition == "bad-format"


@pytest.mark.parametrize("value", [math.nan, object(), {"x": {1, 2}}])
def test_what_is_no_json_value_is_our_own_error(value):
    with pytest.raises(ValueError):
        encode_members({"a": value})
