import contextlib
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.errors import ProtocolError
from filament.base.limits import MAX_STANZA_ATTRIBUTES, MAX_STANZA_BYTES, MAX_STANZA_DEPTH
from filament.wire.xmpp.stream import Element, StreamEnded, StreamOpened, XmlStream, escape

HEADER = (
    b"<?xml version='1.0'?><stream:stream from='a' xmlns='jabber:client' xmlns:f='urn:filament'"
    b" xmlns:stream='http://etherx.jabber.org/streams'>"
)


def shape(event):
    if isinstance(event, Element):
        return (
            event.name,
            event.attributes,
            event.text,
            [shape(child) for child in event.children],
        )
    return type(event)


def fed(*pieces: bytes):
    stream = XmlStream()
    return [shape(event) for piece in pieces for event in stream.feed(piece)]


def refusal(*pieces: bytes) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        fed(*pieces)
    return caught.value


WHOLE = (
    HEADER + "<iq f:x='1' b='2'>é&lt;<a>\u0200</a></iq>\u0200\u0200\n<b/></stream:stream>".encode()
)
SHAPES = [
    StreamOpened,
    ("iq", {"urn:filament x": "1", "b": "2"}, "é<", [("a", {}, "\u0200", [])]),
    ("b", {}, "", []),
    StreamEnded,
]


@given(st.lists(st.integers(0, len(WHOLE)), max_size=12).map(sorted))
def test_any_cut_of_the_bytes_gives_the_same_stanzas(cuts):
    ends = [*cuts, len(WHOLE)]
    assert fed(*(WHOLE[a:b] for a, b in zip([0, *cuts], ends, strict=True))) == SHAPES


def test_a_stanza_is_known_at_its_last_byte():
    stream = XmlStream()
    list(stream.feed(HEADER))
    text = b"<iq><a/></iq>"
    for byte in text[:-1]:
        assert list(stream.feed(bytes([byte]))) == []
        assert byte == text[0] or stream.inside_stanza or byte in b"<iq"
    assert [shape(event) for event in stream.feed(text[-1:])] == [
        ("iq", {}, "", [("a", {}, "", [])])
    ]
    assert not stream.inside_stanza


@pytest.mark.parametrize(
    "unfinished",
    [b"<", b"<iq a='1", b"<iq a='>'", b"<iq a=\"'>", b"<!", b"<!-- >", b"<?x >", b"</a", b"&#x41"],
)
def test_the_parser_never_sees_half_a_token(unfinished):
    """Expat since 2.6 waits for more bytes after it has; the Expat of this Python may not."""
    stream = XmlStream()
    list(stream.feed(HEADER + b"<a>text"))
    for byte in unfinished:
        list(stream.feed(bytes([byte])))
    assert stream._held == unfinished
    assert stream._fed_bytes == len(HEADER) + 7


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: HEADER + tail))
def test_whatever_the_bytes_only_protocol_errors(data):
    stream = XmlStream()
    with contextlib.suppress(ProtocolError):
        list(stream.feed(data))
        return
    with pytest.raises(ProtocolError):  # broken once is broken for good
        list(stream.feed(b" "))


def test_what_came_before_the_fault_is_delivered():
    events = XmlStream().feed(HEADER + b"<a/><b></c>")
    assert [shape(next(events)), shape(next(events))] == [StreamOpened, ("a", {}, "", [])]
    with pytest.raises(ProtocolError):
        next(events)


@pytest.mark.parametrize(
    ("data", "condition", "text"),
    [
        (b"<!DOCTYPE x>", "restricted-xml", "a document type declaration is not accepted"),
        (
            b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + HEADER,
            "restricted-xml",
            "a document type declaration is not accepted",
        ),
        (HEADER + b"<?php x?>", "restricted-xml", "a processing instruction is not accepted"),
        (HEADER + b"<!-- x -->", "restricted-xml", "a comment is not accepted"),
        (HEADER + b"<a>&lol;</a>", "not-well-formed", "undefined entity"),
        (HEADER + b"<a></b>", "not-well-formed", "mismatched tag"),
        (HEADER + b"hello", "bad-format", "stands between stanzas; only white space may"),
        (b"GET / HTTP/1.1\r\n", "not-well-formed", "the XML stream cannot be parsed"),
        (b"<stream/>", "invalid-namespace", "expected <stream:stream>"),
        (HEADER + b"<a x='" + b"y" * 40_000 + b"'/>", "policy-violation", "a tag is longer than"),
        (
            HEADER + b"<a>" * (MAX_STANZA_DEPTH + 1),
            "policy-violation",
            f"nests deeper than {MAX_STANZA_DEPTH}",
        ),
        (
            HEADER + b"<a " + b" ".join(b"a%d='1'" % n for n in range(65)) + b"/>",
            "policy-violation",
            f"has 65 attributes; at most {MAX_STANZA_ATTRIBUTES}",
        ),
        (WHOLE + b"<again/>", "not-well-formed", "junk after document element"),
    ],
)
def test_refusals(data, condition, text):
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))]):
        error = refusal(*pieces)
        assert error.condition == condition
        assert text in error.message


def test_a_stanza_at_the_limit_passes_and_one_byte_more_does_not():
    fits = b"<a>" + b"x" * (MAX_STANZA_BYTES - 3) + b"</a>"
    assert len(fed(HEADER, fits)) == 2
    assert "larger than 1048576 bytes" in refusal(HEADER, fits.replace(b"</a>", b"x</a>")).message


def test_a_stanza_of_100_mb_is_refused_early_and_not_held():
    stream = XmlStream()
    list(stream.feed(HEADER + b"<iq><x>"))
    piece = b"y" * 65536
    given_bytes = 0

    def deliver():
        nonlocal given_bytes
        for _ in range(100 * 1024 * 1024 // len(piece)):
            given_bytes += len(piece)
            list(stream.feed(piece))

    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError) as caught:
            deliver()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.condition == "policy-violation"
    assert "send it as several smaller ones" in caught.value.message
    assert given_bytes <= MAX_STANZA_BYTES + len(piece)
    assert peak < 8 * MAX_STANZA_BYTES


def test_keepalives_never_add_up_to_a_stanza():
    stream = XmlStream()
    list(stream.feed(HEADER))
    for _ in range(40):
        assert list(stream.feed("\u0200".encode() * 32_768)) == []
    assert [shape(event) for event in stream.feed(b"<a/>")] == [("a", {}, "", [])]


@given(st.text())
def test_escaped_text_survives_content_and_attributes(text):
    events = fed(HEADER, f"<a b='{escape(text)}'>{escape(text)}</a>".encode())
    _, attributes, content, _ = events[1]
    assert content == attributes["b"]
    if "\ufffd" not in escape(text):
        assert content == text
