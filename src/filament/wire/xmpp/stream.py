"""The XML stream under XMPP: bytes in, stanza elements out, never more than one stanza held.

Restricted XML as RFC 6120 section 11.1 asks: a document type, an entity declaration, a processing
instruction or a comment ends the stream. Size, depth and attributes of a stanza are bounded, and
a stanza over the limit is refused as soon as the limit is passed, not when it is complete.
Raises only `ProtocolError`; its condition is a stream error condition of RFC 6120 section 4.9.3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from xml.parsers import expat

import msgspec

from filament.base.errors import ProtocolError
from filament.base.limits import MAX_STANZA_ATTRIBUTES, MAX_STANZA_BYTES, MAX_STANZA_DEPTH

STREAM_NAMESPACE = "http://etherx.jabber.org/streams"
FILAMENT_NAMESPACE = "urn:filament"

_SLICE_BYTES = 16_384  # what the parser may be ahead of our size check
_MOST_KEPT_BYTES = 65_536
_MAX_TAG_BYTES = 16_384
_WHOLE_TAG = re.compile(rb"""<(?:[^>"']|"[^"]*"|'[^']*')*>""")
_CLOSINGS = {b"<?": b"?>", b"<!--": b"-->", b"<![CDATA[": b"]]>"}
_NO_ATTRIBUTES: dict[str, str] = {}


class Element:
    """One XML element of a stanza.

    `name` is the local name; `attributes` are keyed by local name when they have no namespace and
    by `namespace name` when they have one. `text` is all character content directly inside.
    """

    __slots__ = ("attributes", "children", "name", "namespace", "text")

    def __init__(self, namespace: str, name: str, attributes: dict[str, str]) -> None:
        self.namespace = namespace
        self.name = name
        self.attributes = attributes
        self.children: list[Element] = []
        self.text = ""

    def find(self, name: str) -> Element | None:
        """Return the first child with a local name."""
        for child in self.children:
            if child.name == name:
                return child
        return None

    def text_of(self, name: str, default: str = "") -> str:
        """Return the text of the first child with a local name."""
        child = self.find(name)
        return default if child is None else child.text

    def ours(self, name: str) -> str | None:
        """Return an attribute of our own namespace."""
        return self.attributes.get(f"{FILAMENT_NAMESPACE} {name}")


class StreamOpened(msgspec.Struct, frozen=True):
    """The peer's stream header arrived; `attributes` as in `Element`."""

    attributes: dict[str, str]


class StreamEnded(msgspec.Struct, frozen=True):
    """The peer closed its stream in an orderly way (`</stream:stream>`)."""


class Known(msgspec.Struct, frozen=True):
    """A stanza, or several, that `quick` read without the parser: what it made of them."""

    meaning: object


StreamEvent = StreamOpened | StreamEnded | Element | Known
# Reads what begins at an offset: what it means and where it ends, None when the parser must.
Quick = Callable[[bytes, int], tuple[object, int] | None]


class XmlStream:
    """The receiving half of one XML stream. Lives as long as the transport under it.

    `quick` is tried between stanzas, where the bytes are `quick_start`: what it reads, whole
    stanzas always, never comes to the parser. One that has not come up to its `quick_end` yet is
    kept for `quick`, as long as it is short.
    """

    def __init__(
        self,
        max_stanza_bytes: int = MAX_STANZA_BYTES,
        quick: Quick | None = None,
        quick_start: bytes = b"",
        quick_end: bytes = b"",
    ) -> None:
        self._max_stanza_bytes = max_stanza_bytes
        self._quick = quick
        self._quick_start = quick_start
        self._quick_end = quick_end
        self._kept = b""
        self._events: list[StreamEvent] = []
        self._open: list[Element] = []  # the root's own element is never kept
        self._texts: list[list[str]] = []
        self._depth = 0
        self._fed_bytes = 0
        self._held = b""  # an unfinished tag or entity reference, kept from the parser
        self._boundary = 0  # stream offset where the current stanza may have begun
        self._broken: ProtocolError | None = None
        self._parser = expat.ParserCreate("UTF-8", " ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._parser.EntityDeclHandler = self._refuse_entity
        self._parser.ProcessingInstructionHandler = self._refuse_instruction
        self._parser.CommentHandler = self._refuse_comment

    def feed(self, data: bytes) -> Iterator[StreamEvent]:
        """Take the next bytes; yield what they complete, in order (consume all of it).

        Raises `ProtocolError` after what came before the fault; every later call raises it again.
        """
        if self._broken is not None:
            raise self._broken
        data, self._kept = self._kept + data, b""
        start = 0
        while start < len(data):
            end = start + _SLICE_BYTES
            if self._quick is not None:
                if self._depth == 1 and not self._open and not self._held:
                    found = self._quick(data, start)
                    if found is not None:
                        yield Known(found[0])
                        start = found[1]
                        continue
                    if self._is_unfinished(data, start):
                        self._kept = data[start:]
                        return
                # Where another may begin, look again.
                candidate = data.find(self._quick_start, start + 1, end)
                end = candidate if candidate > 0 else end
            piece = self._take_whole(data[start:end])
            start = end
            try:
                self._parser.Parse(piece, False)
                self._fed_bytes += len(piece)
                self._require_bounds()
            except expat.ExpatError as error:
                self._broken = ProtocolError(
                    "not-well-formed", f"the XML stream cannot be parsed: {error}"
                )
            except ProtocolError as error:
                self._broken = error
            events, self._events = self._events, []
            yield from events
            if self._broken is not None:
                raise self._broken

    @property
    def inside_stanza(self) -> bool:
        """Say whether the stream would be truncated inside a stanza if it ended here."""
        return bool(self._open or self._kept)

    def _is_unfinished(self, data: bytes, start: int) -> bool:
        """Say whether what begins here may be for `quick` once more has come."""
        return (
            bool(self._quick_end)
            and len(data) - start < _MOST_KEPT_BYTES
            and data.startswith(self._quick_start, start)
            and data.find(self._quick_end, start) < 0
        )

    def _take_whole(self, piece: bytes) -> bytes:
        """Return what was held and `piece`, without the unfinished end, which is held instead.

        Expat since 2.6 (and Debian's 2.5) does not look again at a token it has seen half of until
        as many bytes have come again: the end of a stanza could wait for the next one, which may
        wait for our answer. Not every Python can switch that off, so it never sees half a token.
        """
        if self._held:
            if not any(mark in piece for mark in (b">", b";", b"<")):
                self._held += piece
                return b""
            piece = self._held + piece
        end = _end_of_whole(piece)
        self._held = piece[end:]
        return piece[:end]

    def _require_bounds(self) -> None:
        parsed = self._parser.CurrentByteIndex
        if self._fed_bytes - parsed + len(self._held) > _MAX_TAG_BYTES:
            raise ProtocolError("policy-violation", f"a tag is longer than {_MAX_TAG_BYTES} bytes")
        if not self._open:
            # White space between stanzas (keepalives) never adds up to a stanza.
            self._boundary = parsed
        elif self._fed_bytes - self._boundary > self._max_stanza_bytes:
            raise _too_big(self._max_stanza_bytes)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        self._depth += 1
        if len(attributes) > MAX_STANZA_ATTRIBUTES:
            raise ProtocolError(
                "policy-violation",
                f"<{local}> has {len(attributes)} attributes; at most {MAX_STANZA_ATTRIBUTES}"
                " are accepted",
            )
        if self._depth == 1:
            if local != "stream" or namespace != STREAM_NAMESPACE:
                raise ProtocolError(
                    "invalid-namespace",
                    f"the stream begins with <{local}> of {namespace!r}; expected <stream:stream>"
                    f" of {STREAM_NAMESPACE!r}",
                )
            self._events.append(StreamOpened(attributes))
            return
        if self._depth - 1 > MAX_STANZA_DEPTH:
            raise ProtocolError(
                "policy-violation",
                f"a stanza nests deeper than {MAX_STANZA_DEPTH} elements",
            )
        if self._depth == 2:
            self._boundary = self._parser.CurrentByteIndex
        element = Element(namespace, local, attributes or _NO_ATTRIBUTES)
        if self._open:
            self._open[-1].children.append(element)
        self._open.append(element)
        self._texts.append([])

    def _end(self, _name: str) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._events.append(StreamEnded())
            return
        element = self._open.pop()
        element.text = "".join(self._texts.pop())
        if self._depth == 1:
            offset = self._parser.CurrentByteIndex
            if offset - self._boundary > self._max_stanza_bytes:
                raise _too_big(self._max_stanza_bytes)
            self._boundary = offset
            self._events.append(element)

    def _text(self, text: str) -> None:
        if self._open:
            self._texts[-1].append(text)
        elif text.strip(" \t\r\n\u0200"):
            raise ProtocolError(
                "bad-format", f"text {text[:32]!r} stands between stanzas; only white space may"
            )

    def _refuse_doctype(self, *_: object) -> None:
        raise ProtocolError("restricted-xml", "a document type declaration is not accepted")

    def _refuse_entity(self, *_: object) -> None:
        raise ProtocolError("restricted-xml", "an entity declaration is not accepted")

    def _refuse_instruction(self, *_: object) -> None:
        raise ProtocolError("restricted-xml", "a processing instruction is not accepted")

    def _refuse_comment(self, *_: object) -> None:
        raise ProtocolError("restricted-xml", "a comment is not accepted")


def _end_of_whole(data: bytes) -> int:
    """Return where an unfinished tag or entity reference at the end of `data` begins.

    Markup begins at the last `<`: nowhere else may one stand but in a CDATA section, whose end may
    so be found only with the next tag.
    """
    tag = data.rfind(b"<")
    text = tag + 1
    if tag >= 0:
        text = _end_of_markup(data, tag)
        if text < 0:
            return tag
    entity = data.rfind(b"&", text)
    return entity if entity >= 0 and data.find(b";", entity) < 0 else len(data)


def _end_of_markup(data: bytes, start: int) -> int:
    """Return the offset after the markup that begins at `start`; -1 when it is unfinished."""
    for opening, closing in _CLOSINGS.items():
        if data.startswith(opening, start):
            found = data.find(closing, start + len(opening))
            return found + len(closing) if found >= 0 else -1
    whole = _WHOLE_TAG.match(data, start)
    return whole.end() if whole is not None else -1


def _too_big(limit: int) -> ProtocolError:
    return ProtocolError(
        "policy-violation",
        f"a stanza is larger than {limit} bytes; send it as several smaller ones",
    )


_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPECIAL = re.compile("[&<>\"'\r\n\t]")
_ESCAPES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&apos;",
    "\r": "&#13;",
    "\n": "&#10;",
    "\t": "&#9;",
}


def escape(text: str) -> str:
    """Return `text` fit for XML content and quoted attributes.

    Characters that XML 1.0 cannot carry at all become U+FFFD.
    """
    if text.isascii() and text.isprintable() and _SPECIAL.search(text) is None:
        return text
    text = _FORBIDDEN.sub("\ufffd", text)
    return _SPECIAL.sub(lambda match: _ESCAPES[match[0]], text)


def is_carriable(text: str) -> bool:
    """Say whether XML 1.0 can carry every character of `text`."""
    return _FORBIDDEN.search(text) is None
