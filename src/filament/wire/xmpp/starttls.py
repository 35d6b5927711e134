"""Agreeing on TLS before an XMPP session begins: RFC 6120 section 5, as TF's dialect has it.

    client: header            server: header, features with <starttls><required/></starttls>
    client: <starttls/>       server: <proceed/>
    both: the TLS handshake, then the session from its own header on

Sans-IO, one object per transport; what follows the last element in the clear is refused, because
whoever sent it is not the one who will have proved itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from filament.base.errors import ProtocolError
from filament.base.limits import MAX_PREFACE_BYTES
from filament.wire.xmpp.dialect import CONTROL_JID
from filament.wire.xmpp.session import format_header, format_stream_error
from filament.wire.xmpp.stream import STREAM_NAMESPACE, Element, StreamOpened, XmlStream

TLS_NAMESPACE = "urn:ietf:params:xml:ns:xmpp-tls"
_START = f"<starttls xmlns='{TLS_NAMESPACE}'/>".encode()
_PROCEED = f"<proceed xmlns='{TLS_NAMESPACE}'/>".encode()
_FEATURES = (
    f"<stream:features><starttls xmlns='{TLS_NAMESPACE}'><required/></starttls></stream:features>"
).encode()


class StartTls(ABC):
    """One end of the agreement. `is_agreed` once the handshake may begin, `peer` who said so.

    `receive_data` raises `ProtocolError`; what `data_to_send` then returns tells the peer why.
    """

    def __init__(self) -> None:
        self.is_agreed = False
        self.peer = ""
        self._stream = XmlStream(MAX_PREFACE_BYTES)
        self._received = 0
        self._output: list[bytes] = []

    def data_to_send(self) -> bytes:
        """Return and forget what to write."""
        output, self._output = b"".join(self._output), []
        return output

    def receive_data(self, data: bytes) -> None:
        """Take bytes in the clear; b"" means that the transport was closed."""
        if not data:
            raise ProtocolError("reset", "the connection was closed before TLS was agreed on")
        self._received += len(data)
        try:
            if self._received > MAX_PREFACE_BYTES:
                raise ProtocolError(
                    "policy-violation", f"more than {MAX_PREFACE_BYTES} bytes came before TLS"
                )
            for event in self._stream.feed(data):
                if self.is_agreed:
                    raise ProtocolError("policy-violation", "nothing may follow")
                if isinstance(event, StreamOpened):
                    self._open(event.attributes)
                elif isinstance(event, Element):
                    self._take(event)
            if self.is_agreed and not data.endswith(b">"):
                raise ProtocolError("policy-violation", "nothing may follow")
        except ProtocolError as fault:
            early = ProtocolError("policy-violation", "something was said before TLS began")
            error = early if self.is_agreed else fault
            self._refuse(error)
            raise error from None

    @abstractmethod
    def _open(self, header: dict[str, str]) -> None: ...

    @abstractmethod
    def _take(self, element: Element) -> None: ...

    def _refuse(self, error: ProtocolError) -> None:
        self._output.append(format_stream_error(error) + b"</stream:stream>")


class TlsServer(StartTls):
    """A control node's end: TLS is required of every agent."""

    def __init__(self) -> None:
        super().__init__()
        self._is_open = False

    def _open(self, header: dict[str, str]) -> None:
        self.peer = header.get("from", "")
        self._say_header()
        self._output.append(_FEATURES)

    def _take(self, element: Element) -> None:
        if element.name != "starttls" or element.namespace != TLS_NAMESPACE:
            raise ProtocolError(
                "policy-violation",
                f"<{element.name[:64]}> came before TLS; this control node requires TLS"
                " (xmpp_auth_enable): switch it on at the agent too",
            )
        self._output.append(_PROCEED)
        self.is_agreed = True

    def _refuse(self, error: ProtocolError) -> None:
        self._say_header()
        super()._refuse(error)

    def _say_header(self) -> None:
        if not self._is_open:
            self._is_open = True
            self._output.append(format_header(CONTROL_JID, self.peer, "++123"))


class TlsClient(StartTls):
    """An agent's end: it speaks first, and never goes on in the clear."""

    def __init__(self, agent: str) -> None:
        super().__init__()
        self._output.append(format_header(agent, CONTROL_JID))

    def _open(self, header: dict[str, str]) -> None:
        self.peer = header.get("from", "")

    def _take(self, element: Element) -> None:
        if element.namespace == TLS_NAMESPACE and element.name == "proceed":
            self.is_agreed = True
        elif element.name == "features" and element.find("starttls") is not None:
            self._output.append(_START)
        elif element.namespace == STREAM_NAMESPACE and element.name == "error":
            raise ProtocolError("reset", f"the peer refused the stream: {element.text_of('text')}")
        else:
            raise ProtocolError(
                "policy-violation",
                f"<{element.name[:64]}> came instead of an offer of TLS; this agent requires TLS"
                " (xmpp_auth_enable): switch it on at the control node too",
            )
