import contextlib
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.errors import InputError, NotFoundError
from filament.wire.sandesh import page
from filament.wire.sandesh.query import (
    MAX_PARAMETERS,
    Cursor,
    find_request,
    format_cursor,
    parse_cursor,
    read_query,
)
from filament.wire.sandesh.routing import CONTROL
from filament.wire.sandesh.schema import Schema
from filament.wire.sandesh.text import format_ago, format_short_mac, format_time
from filament.wire.sandesh.vrouter import AGENT
from filament.wire.sandesh.xml import HEAD, Message, write

ZOO = Schema(
    """
module zoo: animals
request AnimalsReq(name string, legs u32, tame bool, longer_name string): what lives here
request OneReq(x string): one of them
response AnimalsResp(1 animals list<Animal>, 2 next_batch string? >OneReq)
response Closed(1 why string)
struct Animal(
    4 name string >OneReq, 2 legs u32, 3 tame bool?, 7 cage Cage, 5 foods list<string>)
struct Cage(1 size i32)
"""
)
CAT = {"name": "cat", "legs": 4, "tame": True, "cage": {"size": 2}, "foods": ["fish", "<milk>"]}


def text_of(messages, **options):
    return "".join(write(ZOO, messages, **options))


def parse(text):
    assert text.startswith(HEAD)
    assert "encoding" not in text
    return ET.fromstring(text)


def test_one_message_is_written_as_tf_writes_it():
    assert text_of([Message("AnimalsResp", {"animals": [CAT], "next_batch": "a b"})]) == (
        '<?xml-stylesheet type="text/xsl" href="/universal_parse.xsl"?>'
        '<AnimalsResp type="sandesh">'
        '<animals type="list" identifier="1"><list type="struct" size="1"><Animal>'
        '<name type="string" identifier="4" link="OneReq">cat</name>'
        '<legs type="u32" identifier="2">4</legs><tame type="bool" identifier="3">true</tame>'
        '<cage type="struct" identifier="7"><Cage><size type="i32" identifier="1">2</size></Cage>'
        '</cage><foods type="list" identifier="5"><list type="string" size="2">'
        "<element>fish</element><element>&lt;milk&gt;</element></list></foods>"
        "</Animal></list></animals>"
        '<next_batch type="string" identifier="2" link="OneReq">a b</next_batch>'
        '<more type="bool" identifier="0">false</more></AnimalsResp>'
    )


def test_what_is_required_and_missing_is_zero_and_what_is_optional_is_left_out():
    root = parse(text_of([Message("AnimalsResp", {"animals": [{}]})]))
    animal = root.find("animals/list/Animal")
    assert [(one.tag, one.text) for one in animal] == [
        ("name", None), ("legs", "0"), ("cage", None), ("foods", None),
    ]  # fmt: skip
    assert animal.find("cage/Cage/size").text == "0"
    assert animal.find("foods/list").attrib == {"type": "string", "size": "0"}
    assert root.find("next_batch") is None


def test_several_messages_stand_in_a_list_that_tells_the_last():
    root = parse(text_of([Message("Closed", {"why": "a"}), Message("AnimalsResp", {})]))
    assert (root.tag, root.attrib) == ("__Closed_list", {"type": "slist"})
    assert [one.find("more").text for one in root] == ["true", "false"]


def test_an_answer_that_is_a_list_always_is_one():
    root = parse(text_of([Message("Closed", {})], is_list=True))
    assert (root.tag, len(root)) == ("__Closed_list", 1)
    assert parse(text_of([])).tag == "__list"


def test_a_misspelt_field_of_ours_is_a_bug():
    with pytest.raises(AssertionError, match=r"Closed has no \['wy'\]"):
        text_of([Message("Closed", {"wy": "x"})])


def test_lists_may_be_generators_with_pauses_and_every_item_is_a_piece():
    def animals():
        for _ in range(5):
            yield None
            yield CAT

    pieces = list(write(ZOO, iter([None, Message("AnimalsResp", {"animals": animals()})])))
    assert len(pieces) > 10
    assert len(parse("".join(pieces)).findall("animals/list/Animal")) == 5
    assert parse("".join(pieces)).find("animals/list").get("size") == "5"


@given(st.text())
def test_any_text_is_well_formed_and_keeps_what_xml_can_say(text):
    root = parse(text_of([Message("Closed", {"why": text})]))
    unsayable = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
    expected = re.sub(unsayable, "\ufffd", text).replace("\r\n", "\n").replace("\r", "\n")
    assert (root.find("why").text or "") == expected


# requests -------------------------------------------------------------------------------------

ASKED = ZOO.requests["AnimalsReq"]
TAKES = "it takes name, legs, tame, longer_name"


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("", {}),
        ("x=", {}),
        ("x=cat", {"name": "cat"}),
        ("x=cat&y=4&z=1", {"name": "cat", "legs": 4, "tame": True}),
        ("name=&legs=&tame=", {}),
        ("tame=0&name=a%26b%2Fc+d", {"tame": False, "name": "a&b/c d"}),
        ("name=a=b", {"name": "a=b"}),
        ("longer_name=q", {"longer_name": "q"}),
        ("legsX=2", {"legs": 2}),  # TF compares beginnings
        ("legs=-1", {"legs": -1}),
        ("ip_address=&domain=&a=&b=&c=&d=", {}),  # older clients send fields that are gone
    ],
)
def test_queries_are_read_by_tfs_rules(query, values):
    assert read_query(ASKED, query) == values


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("nmae=cat", "AnimalsReq has no parameter 'nmae'; did you mean name?"),
        (
            "a=1&b=2&c=1&d=x&e=5",
            f"AnimalsReq has no parameter 'e' and no 5th one; {TAKES}",
        ),
        ("legs=many", "legs of AnimalsReq is 'many'; write a whole number"),
        ("legs=" + "9" * 30, "legs of AnimalsReq is '" + "9" * 30 + "'; write a whole number"),
        ("tame=maybe", "tame of AnimalsReq is 'maybe'; write 1 or 0"),
        (
            "&" * MAX_PARAMETERS,
            f"AnimalsReq was given 65 parameters; {TAKES}",
        ),
    ],
)
def test_a_wrong_query_is_told_what_would_be_right(query, complaint):
    with pytest.raises(InputError) as caught:
        read_query(ASKED, query)
    assert str(caught.value) == complaint


def test_an_unknown_request_is_told_the_nearest():
    with pytest.raises(NotFoundError) as caught:
        find_request(CONTROL, "ShowRouteeReq")
    assert str(caught.value) == (
        "there is no request 'ShowRouteeReq'; did you mean ShowRouteReq or"
        " ShowStaticRouteReq or ShowRouteAggregateReq?; / lists them all"
    )


@given(st.text(max_size=300))
def test_any_query_is_read_or_refused(query):
    with contextlib.suppress(InputError):
        assert read_query(ASKED, query).keys() <= {one.name for one in ASKED.parameters}


QUERIES = st.fixed_dictionaries(
    {}, optional={"name": st.text(), "legs": st.integers(-9, 9), "tame": st.booleans()}
)
CURSORS = st.builds(Cursor, QUERIES, st.text(), st.text(), st.lists(st.integers(0, 9)))


@given(CURSORS)
def test_cursors_go_into_urls_as_they_are_and_come_back(cursor):
    text = format_cursor(cursor)
    assert re.fullmatch(r"[A-Za-z0-9_-]*", text)
    assert parse_cursor(ASKED, text) == cursor


@given(st.text(max_size=100))
def test_a_made_up_cursor_is_refused(text):
    with contextlib.suppress(InputError):
        assert isinstance(parse_cursor(ASKED, text), Cursor)


def test_a_refused_cursor_is_told_where_cursors_come_from():
    others = [format_cursor(Cursor(query)) for query in ({"legs": "x"}, {"wings": 2}, {"name": 1})]
    for text in ("nonsense", *others):
        with pytest.raises(InputError, match="ask AnimalsReq for what next_batch said, or begin"):
            parse_cursor(ASKED, text)


# texts ----------------------------------------------------------------------------------------


def test_times_have_microseconds_in_english_and_utc():
    assert format_time(0.0) == "1970-Jan-01 00:00:00.000000"
    assert format_time(1796000462.25) == "2026-Nov-30 01:01:02.250000"
    assert format_time(1e30).startswith("9999-Dec-31")


def test_ages_and_macs():
    assert format_ago(3723.5) == "01:02:03.500000"
    assert format_ago(2 * 86400 + 1) == "2 days, 00:00:01.000000"
    assert format_short_mac(0x02346661A296) == "2:34:66:61:a2:96"


# pages ----------------------------------------------------------------------------------------


def test_the_index_links_every_module_and_request():
    for schema in (CONTROL, AGENT):
        text = page.index_page(schema, "a node")
        for module in schema.modules.values():
            assert f'href="{module.name}.xml"' in text
        for request in schema.requests.values():
            assert f'href="Snh_{request.name}"' in text
            assert request.text, f"{request.name} does not say what it answers"


def test_a_module_page_has_a_form_per_request():
    text = page.module_page(ZOO, ZOO.modules["zoo"], "a zoo")
    assert '<form action="Snh_AnimalsReq">' in text
    assert "<input name='legs' placeholder=\"number\">" in text


def test_an_answer_page_shows_tables_with_links_and_escapes():
    evil = {**CAT, "name": "<script>&'\""}
    text = "".join(
        page.answer_page(
            ZOO,
            ASKED,
            "name=%3Cscript%3E&y='\"",
            [None, Message("AnimalsResp", {"animals": iter([None, CAT, evil])})],
            "a zoo",
        )
    )
    assert '<a href="Snh_OneReq?x=cat">cat</a>' in text
    assert "<script>" not in text
    assert "<th>legs</th>" in text
    assert "next_batch" not in text
    assert 'href="xml/Snh_AnimalsReq?name=%3Cscript%3E&amp;y=&apos;&quot;"' in text


def test_declarations_that_cannot_be_are_refused():
    for text, complaint in (
        ("struct A(1 b Nothing)", "A.b is of an unknown type Nothing"),
        ("struct A(1 b string >Nobody)", "A.b links to Nobody, which is no request"),
        ("struct A(1 b string)\nstruct A(1 c string)", "A is declared twice"),
        ("struct A(b c d)", "declares no field"),
        ("structure A(1 b string)", "not understood"),
    ):
        with pytest.raises(AssertionError, match=complaint):
            Schema(text)


def test_field_numbers_are_unique():
    for schema in (CONTROL, AGENT):
        for struct in schema.structs.values():
            numbers = [field.number for field in struct.fields]
            assert len(numbers) == len(set(numbers)), struct.name
