"""The XMPP session between an agent (client) and a control node (server), as sans-IO machines.

    client: OPENING --header--> ESTABLISHED --> CLOSED
    server: WAITING --header--> ESTABLISHED --> CLOSED

Hold time 90 s; each side sends TF's keepalive (U+0200 as white space) whenever it has been silent
for a third of it, and gives the peer up after three misses. A broken stream is answered with a
stream error that says what was wrong (RFC 6120 section 4.9), then closed.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections import deque
from typing import Generic, NamedTuple, TypeVar

import msgspec

from filament.base.errors import ProtocolError
from filament.base.limits import (
    MAX_CONTROL_STANZA_BYTES,
    MAX_OUTPUT_QUEUE_BYTES,
    MAX_STANZA_BYTES,
)
from filament.wire.xmpp.codec import (
    AgentDecoder,
    decode_from_control,
    encode_from_agent,
    encode_from_control,
)
from filament.wire.xmpp.dialect import CONTROL_JID
from filament.wire.xmpp.quick import START, read_quickly
from filament.wire.xmpp.quick_routes import END as ROUTES_END
from filament.wire.xmpp.quick_routes import START as ROUTES_START
from filament.wire.xmpp.quick_routes import read_routes
from filament.wire.xmpp.stanza import (
    FromAgent,
    FromControl,
    RoutePublished,
    RouteRetracted,
    RoutesSent,
    Synced,
)
from filament.wire.xmpp.stream import (
    FILAMENT_NAMESPACE,
    STREAM_NAMESPACE,
    Element,
    Known,
    StreamOpened,
    XmlStream,
    escape,
)

HOLD_TIME_S = 90.0
OPEN_TIME_S = 10.0  # from the connection to the peer's header
KEEPALIVE = "\u0200".encode()
MAX_NAME_LENGTH = 255  # of an agent: a host name (RFC 1035 section 2.3.4)
_TRACE_LENGTH = 64
_STREAM_ERROR_NAMESPACE = "urn:ietf:params:xml:ns:xmpp-streams"

ReceivedT = TypeVar("ReceivedT")
SentT = TypeVar("SentT")


class State(enum.Enum):
    """Where a session is in its life."""

    OPENING = "opening"  # client: our header is sent, the server's awaited
    WAITING = "waiting"  # server: the client's header is awaited
    ESTABLISHED = "established"
    CLOSED = "closed"


class Input(enum.Enum):
    """What may happen to a session."""

    HEADER = "stream header"
    STANZA = "stanza"
    STREAM_END = "stream end"
    TRANSPORT_END = "transport end"
    HOLD_EXPIRED = "hold time expired"
    KEEPALIVE_DUE = "keepalive due"
    BROKEN = "broken stream"
    CLOSE = "close"


class Action(enum.Enum):
    """What a session does about an input."""

    OPEN = "take the peer's header"
    ACCEPT = "nothing more: the input itself is the point"
    KEEP_ALIVE = "send a keepalive"
    FINISH = "close the stream and tell the owner"
    ABANDON = "drop pending output and tell the owner"


class Step(NamedTuple):
    """A row of the transition table: what to do, and the state after it."""

    action: Action
    state: State


_FINISH = Step(Action.FINISH, State.CLOSED)
_OPEN = Step(Action.OPEN, State.ESTABLISHED)
_ENDINGS = {
    Input.STREAM_END: _FINISH,
    Input.TRANSPORT_END: Step(Action.ABANDON, State.CLOSED),
    Input.HOLD_EXPIRED: _FINISH,
    Input.BROKEN: _FINISH,
    Input.CLOSE: _FINISH,
}

# An absent key is a protocol error.
TRANSITIONS: dict[tuple[State, Input], Step] = {
    (state, happened): step
    for state in (State.OPENING, State.WAITING, State.ESTABLISHED)
    for happened, step in _ENDINGS.items()
} | {
    (State.OPENING, Input.HEADER): _OPEN,
    (State.WAITING, Input.HEADER): _OPEN,
    (State.ESTABLISHED, Input.STANZA): Step(Action.ACCEPT, State.ESTABLISHED),
    (State.ESTABLISHED, Input.KEEPALIVE_DUE): Step(Action.KEEP_ALIVE, State.ESTABLISHED),
    (State.CLOSED, Input.CLOSE): Step(Action.ACCEPT, State.CLOSED),
}


class SessionOpened(msgspec.Struct, frozen=True):
    """Both stream headers are exchanged; `peer` is the other side's name."""

    peer: str


class StanzaReceived(msgspec.Struct, Generic[ReceivedT], frozen=True):
    """The peer said something."""

    stanza: ReceivedT


class SessionClosed(msgspec.Struct, frozen=True):
    """The session is over, for a reason a person can read; the last event of a session."""

    reason: str


SessionEvent = SessionOpened | StanzaReceived[ReceivedT] | SessionClosed


class TraceEntry(msgspec.Struct, frozen=True):
    """One thing that happened to a session: when (the owner's clock), what, with what result."""

    at: float
    input: str
    state: str
    detail: str = ""


class XmppSession(ABC, Generic[ReceivedT, SentT]):
    """One end of a session. Lives as long as its transport; see `base.machine.Machine`."""

    def __init__(self, state: State, max_stanza_bytes: int, now: float, hold_time_s: float) -> None:
        self.state = state
        self.peer = ""
        self.established_at: float | None = None
        self.trace: deque[TraceEntry] = deque(maxlen=_TRACE_LENGTH)
        self.sent_count = 0
        self.received_count = 0
        self.sent_bytes = 0
        self.received_bytes = 0
        self._hold_time_s = hold_time_s
        self._stream = XmlStream(max_stanza_bytes)
        self._events: deque[SessionEvent[ReceivedT]] = deque()
        self._output: list[bytes] = []
        self._output_bytes = 0
        self._header_sent = False
        self._heard_at = now
        self._spoke_at = now
        self._header: dict[str, str] = {}

    @property
    def closed(self) -> bool:
        """Say whether the session is over (bytes may still wait in `data_to_send`)."""
        return self.state is State.CLOSED

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes; b"" means the transport was closed."""
        if self.closed:
            return
        self.received_bytes += len(data)
        if not data:
            inside = " inside a stanza" if self._stream.inside_stanza else ""
            self._step(Input.TRANSPORT_END, now, f"the peer closed the connection{inside}")
            return
        if self.state is State.ESTABLISHED:
            self._heard_at = now
        try:
            for event in self._stream.feed(data):
                if isinstance(event, StreamOpened):
                    self._header = event.attributes
                    self._step(Input.HEADER, now)
                elif isinstance(event, Element):
                    self._take(event, now)
                elif isinstance(event, Known):
                    self._take_known(event.meaning, now)
                else:
                    self._step(Input.STREAM_END, now, "the peer closed the stream")
                if self.closed:
                    return
        except ProtocolError as error:
            self._break(error, now)

    def send(self, stanza: SentT, now: float) -> None:
        """Queue a stanza; nothing happens unless the session is established.

        A queue longer than `MAX_OUTPUT_QUEUE_BYTES` closes the session and is forgotten.
        """
        if self.state is not State.ESTABLISHED:
            return
        self.sent_count += 1
        for xml in self._encode(stanza):
            self._write(xml, now)
        if self._output_bytes > MAX_OUTPUT_QUEUE_BYTES:
            self._output, self._output_bytes = [], 0
            self._step(
                Input.CLOSE, now, f"more than {MAX_OUTPUT_QUEUE_BYTES} bytes wait for the peer"
            )

    def data_to_send(self, now: float) -> list[bytes]:
        """Return and forget the bytes to write."""
        del now
        output, self._output, self._output_bytes = self._output, [], 0
        return output

    def timer_at(self) -> float | None:
        """Return when the hold time expires or a keepalive is due, whichever is first."""
        if self.closed:
            return None
        if self.state is State.ESTABLISHED:
            return min(self._expires_at, self._spoke_at + self._hold_time_s / 3)
        return self._expires_at

    @property
    def _expires_at(self) -> float:
        """When the peer is given up: somebody who has not said who it is, sooner."""
        if self.state is State.ESTABLISHED:
            return self._heard_at + self._hold_time_s
        return self._heard_at + min(self._hold_time_s, OPEN_TIME_S)

    def handle_timer(self, now: float) -> None:
        """Give a silent peer up, or break our own silence."""
        if self.closed:
            return
        if now >= self._expires_at:
            waited_s = self._expires_at - self._heard_at
            self._step(Input.HOLD_EXPIRED, now, f"nothing was heard for {waited_s:g} seconds")
        elif self.state is State.ESTABLISHED and now >= self._spoke_at + self._hold_time_s / 3:
            self._step(Input.KEEPALIVE_DUE, now)

    def next_event(self) -> SessionEvent[ReceivedT] | None:
        """Return and forget the next event."""
        return self._events.popleft() if self._events else None

    def close(self, reason: str, now: float) -> None:
        """Close the stream in an orderly way; what was heard but not yet told is dropped."""
        self._events.clear()
        self._step(Input.CLOSE, now, reason)

    def refuse(self, error: ProtocolError, now: float) -> None:
        """Close because of what the peer said or is, telling it why; drops like `close`."""
        self._events.clear()
        self._break(error, now)

    # what a client and a server do differently ----------------------------------------------

    @abstractmethod
    def _encode(self, stanza: SentT) -> list[bytes]: ...

    @abstractmethod
    def _decode(self, element: Element) -> ReceivedT | None: ...

    @abstractmethod
    def _open(self, now: float) -> None: ...

    # steps ------------------------------------------------------------------------------------

    def _take(self, element: Element, now: float) -> None:
        if element.name == "error" and element.namespace == STREAM_NAMESPACE:
            text = element.text_of("text") or ", ".join(child.name for child in element.children)
            self._step(Input.STREAM_END, now, f"the peer refused the stream: {text}")
            return
        self.received_count += 1
        stanza = self._decode(element)
        self._step(Input.STANZA, now, element.name if stanza is None else type(stanza).__name__)
        if stanza is not None and not self.closed:
            self._events.append(StanzaReceived(stanza))

    @abstractmethod
    def _take_known(self, meaning: object, now: float) -> None:
        """Take what a quick reader understood."""

    def _break(self, error: ProtocolError, now: float) -> None:
        if self.closed:
            return
        self._begin_stream(now)
        self._write(format_stream_error(error), now)
        self._step(Input.BROKEN, now, str(error))

    def _step(self, happened: Input, now: float, detail: str = "") -> None:
        step = TRANSITIONS.get((self.state, happened))
        if step is None and self.closed:
            return
        if step is None:
            # The stream parser makes these impossible; a session must still not go on from one.
            step = _FINISH
            detail = f"{happened.value} is not expected in state {self.state.value}"
        match step.action:
            case Action.OPEN:
                self._open(now)
            case Action.KEEP_ALIVE:
                self._write(KEEPALIVE, now)
            case Action.FINISH:
                if self._header_sent:
                    self._write(b"</stream:stream>", now)
                self._events.append(SessionClosed(detail))
            case Action.ABANDON:
                self._output, self._output_bytes = [], 0
                self._events.append(SessionClosed(detail))
            case Action.ACCEPT:
                pass
        self.state = step.state
        self.trace.append(TraceEntry(now, happened.value, self.state.value, detail))

    # bytes ------------------------------------------------------------------------------------

    def _write(self, data: bytes, now: float) -> None:
        self._output.append(data)
        self._output_bytes += len(data)
        self.sent_bytes += len(data)
        self._spoke_at = now

    def _begin_stream(self, now: float) -> None:
        if not self._header_sent:
            self._header_sent = True
            self._write(self._format_header(), now)

    @abstractmethod
    def _format_header(self) -> bytes: ...


def format_stream_error(error: ProtocolError) -> bytes:
    """Return the XML that tells a peer why its stream is closed."""
    return (
        f"<stream:error><{error.condition} xmlns='{_STREAM_ERROR_NAMESPACE}'/>"
        f"<text xmlns='{_STREAM_ERROR_NAMESPACE}'>{escape(error.message)}</text></stream:error>"
    ).encode()


def format_header(sender: str, recipient: str, stream_id: str = "") -> bytes:
    """Return the XML that begins a stream."""
    identity = f" id='{stream_id}'" if stream_id else ""
    return (
        f"<?xml version='1.0'?><stream:stream from='{escape(sender)}' to='{escape(recipient)}'"
        f"{identity} version='1.0' xml:lang='en' xmlns='jabber:client'"
        f" xmlns:stream='{STREAM_NAMESPACE}' xmlns:f='{FILAMENT_NAMESPACE}'>"
    ).encode()


class ClientSession(XmppSession[FromControl, FromAgent]):
    """An agent's end: opens the stream as soon as it is made (on a connected transport)."""

    def __init__(self, agent: str, now: float, hold_time_s: float = HOLD_TIME_S) -> None:
        super().__init__(State.OPENING, MAX_CONTROL_STANZA_BYTES, now, hold_time_s)
        self._stream = XmlStream(MAX_CONTROL_STANZA_BYTES, read_routes, ROUTES_START, ROUTES_END)
        self.agent = agent
        self._serial = 0
        self._begin_stream(now)

    def _format_header(self) -> bytes:
        return format_header(self.agent, CONTROL_JID)

    def _open(self, now: float) -> None:
        self.peer = self._header.get("from", "")
        self.established_at = self._heard_at = now
        self._events.append(SessionOpened(self.peer))

    def _encode(self, stanza: FromAgent) -> list[bytes]:
        self._serial += 1
        return [encode_from_agent(stanza, self.agent, self._serial)]

    def _decode(self, element: Element) -> FromControl | None:
        if element.name == "features" and element.namespace == STREAM_NAMESPACE:
            if element.find("starttls") is None:
                return None
            raise ProtocolError(
                "policy-violation",
                "the control node requires TLS (xmpp_auth_enable): switch it on at the agent too",
            )
        return decode_from_control(element)

    def _take_known(self, meaning: object, now: float) -> None:
        assert isinstance(meaning, RoutesSent)
        self.received_count += 1
        self._step(Input.STANZA, now, type(meaning).__name__)
        self._events.append(StanzaReceived(meaning))


class ServerSession(XmppSession[FromAgent, FromControl]):
    """A control node's end: answers the header of an agent, whose name becomes `peer`."""

    def __init__(self, now: float, hold_time_s: float = HOLD_TIME_S) -> None:
        super().__init__(State.WAITING, MAX_STANZA_BYTES, now, hold_time_s)
        self._stream = XmlStream(MAX_STANZA_BYTES, read_quickly, START)
        self._serial = 0
        self._decoder = AgentDecoder()

    def _format_header(self) -> bytes:
        return format_header(CONTROL_JID, self.peer, "++123")  # TF's servers all use this id

    def _open(self, now: float) -> None:
        name, recipient = self._header.get("from", ""), self._header.get("to", "")
        if not name or len(name) > MAX_NAME_LENGTH:
            raise ProtocolError(
                "invalid-from",
                f"the stream is from {name[:64]!r}; expected an agent's host name of 1 to"
                f" {MAX_NAME_LENGTH} characters",
            )
        if recipient != CONTROL_JID:
            raise ProtocolError(
                "host-unknown",
                f"the stream is to {recipient[:128]!r}; this control node is {CONTROL_JID!r}",
            )
        self.peer = name
        self.established_at = self._heard_at = now
        self._begin_stream(now)
        self._events.append(SessionOpened(name))

    def _encode(self, stanza: FromControl) -> list[bytes]:
        self._serial += 1
        return encode_from_control(stanza, self.peer, self._serial)

    def _decode(self, element: Element) -> FromAgent | None:
        return self._decoder.decode(element)

    def _take_known(self, meaning: object, now: float) -> None:
        assert isinstance(meaning, RoutePublished | RouteRetracted | Synced)
        self.received_count += 1 if isinstance(meaning, Synced) else 2
        self._step(Input.STANZA, now, type(meaning).__name__)
        self._events.append(StanzaReceived(meaning))
