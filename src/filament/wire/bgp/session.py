"""One BGP connection as a sans-IO machine, from our OPEN to the last NOTIFICATION.

    OPEN_SENT --OPEN--> OPEN_CONFIRM --KEEPALIVE--> ESTABLISHED --> CLOSED

A session begins with a connected transport and ends with it. What comes before (connecting,
waiting) and between two connections of one peer (collision) is the business of `peer`. RFC 4271
section 8; its table is in `transitions`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from filament.base.limits import MAX_OUTPUT_QUEUE_BYTES
from filament.base.net import format_ipv4
from filament.wire.bgp.capability import (
    Capabilities,
    GracefulRestart,
    LongLived,
    encode_capabilities,
)
from filament.wire.bgp.errors import (
    ADMIN_RESET,
    ADMIN_SHUTDOWN,
    BAD_CAPABILITY,
    BAD_IDENTIFIER,
    BAD_PEER_AS,
    HARD_RESET,
    OUT_OF_RESOURCES,
    BgpError,
    Code,
)
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.message import (
    KEEPALIVE,
    REFRESH_REQUEST,
    BrokenStreamError,
    Framer,
    Kind,
    Notification,
    Open,
    RouteRefresh,
    decode_notification,
    decode_open,
    decode_route_refresh,
    encode_communication,
    encode_notification,
    encode_open,
    encode_route_refresh,
)
from filament.wire.bgp.transitions import OVER, TRANSITIONS, UNEXPECTED, Action, Input, State
from filament.wire.bgp.update import Update, UpdateDecoder

OPEN_SENT_HOLD_S = 240.0  # RFC 4271 section 8: "a large value"
DEFAULT_HOLD_TIME_S = 90
TRACE_LENGTH = 128


class Offer(msgspec.Struct, frozen=True):
    """What we say of ourselves to one peer, and what we expect of it.

    `local_as` is the AS that this peer knows us by; `peer_as` None takes any. `hold_time_s` is
    ours, the lower of both counts. `restart` and `long_lived` go into the OPEN as they are.
    """

    local_as: int
    identifier: int
    families: tuple[AddressFamily, ...]
    peer_as: int | None = None
    hold_time_s: int = DEFAULT_HOLD_TIME_S
    has_four_octet_as: bool = True
    restart: GracefulRestart | None = GracefulRestart()
    long_lived: tuple[LongLived, ...] = ()


class Agreement(msgspec.Struct, frozen=True):
    """What both sides can do, once their OPENs are exchanged."""

    peer_as: int
    peer_identifier: int
    families: tuple[AddressFamily, ...]
    hold_time_s: int
    is_as4: bool
    is_external: bool
    can_refresh: bool
    can_refresh_enhanced: bool
    restart: GracefulRestart | None
    long_lived: tuple[LongLived, ...]
    capabilities: Capabilities

    @property
    def ends_rib(self) -> bool:
        """Whether the peer says when it has told us everything (RFC 4724 section 2), and need not
        hear the same of us before: one that restarts waits for that (section 4.1).
        """
        return self.restart is not None and not self.restart.is_restarting


class OpenReceived(msgspec.Struct, frozen=True):
    """The peer's OPEN is acceptable: who it says it is. Collisions are detected now."""

    agreement: Agreement


class SessionEstablished(msgspec.Struct, frozen=True):
    """Routes may flow."""

    agreement: Agreement


class UpdateReceived(msgspec.Struct, frozen=True):
    """Routes came or went, or a family is complete."""

    update: Update


class RefreshReceived(msgspec.Struct, frozen=True):
    """The peer wants our routes again (subtype 0), or begins or ends sending its own again."""

    family: AddressFamily
    subtype: int


class SessionClosed(msgspec.Struct, frozen=True):
    """The connection is over; the last event of a session.

    `sent` or `received` is the NOTIFICATION that ended it; neither when the transport did.
    """

    reason: str
    was_established: bool
    sent: Notification | None = None
    received: Notification | None = None


SessionEvent = OpenReceived | SessionEstablished | UpdateReceived | RefreshReceived | SessionClosed


class TraceEntry(msgspec.Struct, frozen=True):
    """One thing that happened to a session: when (the owner's clock), what, with what result."""

    at: float
    input: str
    state: str
    detail: str = ""


class Counts(msgspec.Struct):
    """Messages of a session by type, in one direction."""

    total: int = 0
    updates: int = 0
    keepalives: int = 0
    refreshes: int = 0
    octets: int = 0


class BgpSession:
    """One end of a connection; see `base.machine.Machine`. Our OPEN waits to be sent at once.

    `trace` is the ring to write history to, when it shall outlive the connection.
    """

    def __init__(self, offer: Offer, now: float, trace: deque[TraceEntry] | None = None) -> None:
        self.offer = offer
        self.state = State.OPEN_SENT
        self.agreement: Agreement | None = None
        self.established_at: float | None = None
        self.trace = deque[TraceEntry](maxlen=TRACE_LENGTH) if trace is None else trace
        self.sent = Counts()
        self.received = Counts()
        self.fault_count = 0  # what RFC 7606 forgave
        self.last_fault = ""
        self._events: deque[SessionEvent] = deque()
        self._output: list[bytes] = []
        self._output_bytes = 0
        self._framer = Framer()
        self._decoder = UpdateDecoder(frozenset())
        self._hold_time_s = OPEN_SENT_HOLD_S
        self._heard_at = now
        self._spoke_at = now
        self._pending: Notification | None = None  # what NOTIFY is to say
        self._notified: Notification | None = None  # what the peer said
        self._write(encode_open(self._our_open()), now)
        self._note(now, "sent OPEN")

    def _our_open(self) -> Open:
        offer = self.offer
        return Open(
            offer.local_as,
            offer.hold_time_s,
            offer.identifier,
            Capabilities(
                families=offer.families,
                asn=offer.local_as if offer.has_four_octet_as else None,
                can_refresh=True,
                can_refresh_enhanced=True,
                graceful_restart=offer.restart,
                long_lived=offer.long_lived,
            ),
        )

    @property
    def closed(self) -> bool:
        """Say whether the session is over (bytes may still wait in `data_to_send`)."""
        return self.state is State.CLOSED

    @property
    def is_established(self) -> bool:
        """Say whether routes may flow."""
        return self.state is State.ESTABLISHED

    # input ------------------------------------------------------------------------------------

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes; b"" means that the transport was closed."""
        if self.closed:
            return
        if not data:
            inside = " inside a message" if self._framer.pending_size else ""
            self._step(Input.TRANSPORT_END, now, f"the peer closed the connection{inside}")
            return
        self.received.octets += len(data)
        broken: BrokenStreamError | None = None
        try:
            messages = self._framer.feed(data)
        except BrokenStreamError as error:
            broken, messages = error, error.complete
        try:
            for kind, body in messages:
                self._take(kind, body, now)
                if self.closed:
                    return
            if broken is not None:
                raise broken
        except BgpError as error:
            self._fail(error, now)

    def _take(self, kind: Kind, body: bytes, now: float) -> None:
        self.received.total += 1
        self._heard_at = now
        if kind is Kind.UPDATE:
            self.received.updates += 1
            if self.state is not State.ESTABLISHED:
                self._step(Input.UPDATE, now)
                return
            update = self._decoder.decode(body)
            if update.faults:
                self._note_faults(update, now)
            if update.end_of_rib is not None:
                self._note(now, f"End-of-RIB {update.end_of_rib}")
            self._events.append(UpdateReceived(update))
        elif kind is Kind.KEEPALIVE:
            self.received.keepalives += 1
            self._step(Input.KEEPALIVE, now)
        elif kind is Kind.OPEN:
            self._take_open(body, now)
        elif kind is Kind.NOTIFICATION:
            self._notified = decode_notification(body)
            self._step(Input.NOTIFICATION, now, f"the peer said {self._notified}")
        else:
            self.received.refreshes += 1
            self._take_refresh(decode_route_refresh(body), now)

    def _take_open(self, body: bytes, now: float) -> None:
        if self.state is not State.OPEN_SENT:
            self._step(Input.OPEN, now)
            return
        opened = decode_open(body)
        self._require_expected(opened)
        self.agreement = agreement = agree(self.offer, opened)
        _require_common(self.offer, opened, agreement)
        shown = ", ".join(str(family) for family in agreement.families) or "none"
        self._step(
            Input.OPEN,
            now,
            f"AS {agreement.peer_as}, identifier {format_ipv4(agreement.peer_identifier)},"
            f" hold time {agreement.hold_time_s} s, families {shown}",
        )

    def _require_expected(self, opened: Open) -> None:
        offer = self.offer
        if offer.peer_as is not None and opened.asn != offer.peer_as:
            raise BgpError(
                Code.OPEN,
                BAD_PEER_AS,
                f"the peer is of AS {opened.asn}; it is configured as of AS {offer.peer_as}",
            )
        if opened.identifier == offer.identifier and opened.asn == offer.local_as:
            raise BgpError(
                Code.OPEN,
                BAD_IDENTIFIER,
                f"the peer has our identifier {format_ipv4(offer.identifier)}",
            )

    def _take_refresh(self, refresh: RouteRefresh, now: float) -> None:
        family = refresh.family
        agreed = self.agreement.families if self.agreement is not None else ()
        detail = f"{family or 'unknown family'} subtype {refresh.subtype}"
        self._step(Input.ROUTE_REFRESH, now, detail)
        if self.closed or family not in agreed or refresh.subtype > 2:
            return  # RFC 2918 section 4, RFC 7313 section 5: ignored
        assert family is not None, "None was not agreed on"
        self._events.append(RefreshReceived(family, refresh.subtype))

    def _note_faults(self, update: Update, now: float) -> None:
        self.fault_count += len(update.faults)
        text = "; ".join(str(fault) for fault in update.faults)
        if text != self.last_fault:  # a peer that repeats itself must not flood the ring
            self.last_fault = text
            self._note(now, Input.UPDATE.value, text)

    # output -----------------------------------------------------------------------------------

    def send_updates(self, messages: Iterable[bytes], now: float) -> None:
        """Queue encoded UPDATEs; nothing happens unless the session is established.

        A queue longer than `MAX_OUTPUT_QUEUE_BYTES` closes the session and is forgotten.
        """
        if self.state is not State.ESTABLISHED:
            return
        for message in messages:
            self.sent.updates += 1
            self._write(message, now)
        if self._output_bytes > MAX_OUTPUT_QUEUE_BYTES:
            self._output, self._output_bytes = [], 0
            text = f"more than {MAX_OUTPUT_QUEUE_BYTES} bytes wait for the peer"
            self._fail(BgpError(Code.CEASE, OUT_OF_RESOURCES, text), now)

    def send_refresh(
        self, family: AddressFamily, now: float, subtype: int = REFRESH_REQUEST
    ) -> bool:
        """Ask for the peer's routes again, or mark ours; say whether the peer understands it."""
        agreement = self.agreement
        if self.state is not State.ESTABLISHED or agreement is None:
            return False
        able = agreement.can_refresh_enhanced if subtype else agreement.can_refresh
        if not able or family not in agreement.families:
            return False
        self.sent.refreshes += 1
        self._write(encode_route_refresh(family, subtype), now)
        self._note(now, "sent ROUTE-REFRESH", f"{family} subtype {subtype}")
        return True

    def data_to_send(self, now: float) -> list[bytes]:
        """Return and forget the bytes to write."""
        del now
        output, self._output, self._output_bytes = self._output, [], 0
        return output

    def _write(self, message: bytes, now: float) -> None:
        self._output.append(message)
        self._output_bytes += len(message)
        self.sent.total += 1
        self.sent.octets += len(message)
        self._spoke_at = now

    # time -------------------------------------------------------------------------------------

    def timer_at(self) -> float | None:
        """Return when the hold time expires or a KEEPALIVE is due, whichever is first."""
        if self.closed or not self._hold_time_s:
            return None
        expires_at = self._heard_at + self._hold_time_s
        if self.state is State.OPEN_SENT:
            return expires_at
        return min(expires_at, self._spoke_at + self._hold_time_s / 3)

    def handle_timer(self, now: float) -> None:
        """Break our silence, and give a silent peer up."""
        if self.closed or not self._hold_time_s:
            return
        if self.state is not State.OPEN_SENT and now >= self._spoke_at + self._hold_time_s / 3:
            self._step(Input.KEEPALIVE_DUE, now)
        if now >= self._heard_at + self._hold_time_s:
            self._pending = Notification(Code.HOLD_TIME, 0)
            self._step(
                Input.HOLD_EXPIRED, now, f"nothing was heard for {self._hold_time_s:g} seconds"
            )

    # the owner --------------------------------------------------------------------------------

    def next_event(self) -> SessionEvent | None:
        """Return and forget the next event."""
        return self._events.popleft() if self._events else None

    def close(self, reason: str, now: float) -> None:
        """Shut down in an orderly way, telling the peer's operator why (RFC 9003)."""
        self.cease(ADMIN_SHUTDOWN, reason, now)

    def cease(self, subcode: int, reason: str, now: float) -> None:
        """End the session with a Cease; what was heard but not yet told is dropped.

        A peer that would keep our routes through notifications is told that this one is meant: a
        hard reset around the subcode (RFC 8538 section 3.1).
        """
        has_words = subcode in (ADMIN_SHUTDOWN, ADMIN_RESET)
        octets = encode_communication(reason) if has_words and reason else b""
        restart = self.agreement.restart if self.agreement is not None else None
        if (
            self.is_established
            and restart is not None
            and restart.is_for_notifications
            and self.offer.restart is not None
            and self.offer.restart.is_for_notifications
        ):
            octets = bytes((Code.CEASE, subcode)) + octets
            subcode = HARD_RESET
        self._events.clear()
        self._pending = Notification(Code.CEASE, subcode, octets)
        self._step(Input.CLOSE, now, reason)

    def abandon(self, reason: str, now: float) -> None:
        """End the session without a word, as a crash would: the peer keeps our routes (GR)."""
        self._events.clear()
        self._step(Input.TRANSPORT_END, now, reason)

    # steps ------------------------------------------------------------------------------------

    def _fail(self, error: BgpError, now: float) -> None:
        self._pending = Notification(error.code, error.subcode, error.octets)
        self._step(Input.BROKEN, now, str(error))

    def _step(self, happened: Input, now: float, detail: str = "") -> None:
        before = self.state
        step = TRANSITIONS.get((before, happened))
        if step is None and self.closed:
            return
        if step is None:
            step = OVER
            self._pending = Notification(Code.FSM, UNEXPECTED[before])
            detail = f"{happened.value} is not expected in state {before.value}"
        self.state = step.state
        match step.action:
            case Action.NEGOTIATE:
                self._negotiate(now)
            case Action.ESTABLISH:
                self._establish(now)
            case Action.KEEP_ALIVE:
                self._keep_alive(now)
            case Action.NOTIFY:
                self._notify(before, detail, now)
            case Action.END:
                self._output, self._output_bytes = [], 0
                self._end(before, detail, None)
            case Action.TAKE | Action.ACCEPT:
                pass
        if before is not self.state or happened is Input.ROUTE_REFRESH:
            self._note(now, happened.value, detail)

    def _negotiate(self, now: float) -> None:
        agreement = self.agreement
        assert agreement is not None, "an OPEN was taken"
        self._hold_time_s = float(agreement.hold_time_s)
        self._decoder = UpdateDecoder(
            frozenset(agreement.families),
            is_as4=agreement.is_as4,
            is_external=agreement.is_external,
        )
        self._keep_alive(now)
        self._events.append(OpenReceived(agreement))

    def _establish(self, now: float) -> None:
        assert self.agreement is not None, "OpenConfirm comes after an OPEN"
        self.established_at = now
        self._events.append(SessionEstablished(self.agreement))

    def _keep_alive(self, now: float) -> None:
        self.sent.keepalives += 1
        self._write(KEEPALIVE, now)

    def _notify(self, before: State, detail: str, now: float) -> None:
        notification = self._pending or Notification(Code.CEASE, 0)
        self._write(encode_notification(notification), now)
        self._end(before, detail or str(notification), notification)

    def _end(self, before: State, reason: str, sent: Notification | None) -> None:
        self._events.append(
            SessionClosed(reason, before is State.ESTABLISHED, sent, self._notified)
        )

    def _note(self, now: float, happened: str, detail: str = "") -> None:
        self.trace.append(TraceEntry(now, happened, self.state.value, detail))


def _require_common(offer: Offer, opened: Open, agreement: Agreement) -> None:
    if not agreement.families:
        ours, theirs = (
            ", ".join(str(family) for family in each) or "none that we know"
            for each in (offer.families, opened.capabilities.families)
        )
        raise BgpError(
            Code.OPEN,
            BAD_CAPABILITY,
            f"no common address family: the peer has {theirs}; we have {ours}",
            encode_capabilities(Capabilities(families=offer.families)),
        )


def agree(offer: Offer, opened: Open) -> Agreement:
    """Return what both sides can do: families of both, the lower hold time, ASes of both widths."""
    theirs = opened.capabilities
    return Agreement(
        peer_as=opened.asn,
        peer_identifier=opened.identifier,
        families=tuple(family for family in offer.families if family in theirs.families),
        hold_time_s=min(offer.hold_time_s, opened.hold_time_s),
        is_as4=offer.has_four_octet_as and theirs.asn is not None,
        is_external=opened.asn != offer.local_as,
        can_refresh=theirs.can_refresh,
        can_refresh_enhanced=theirs.can_refresh_enhanced,
        restart=theirs.graceful_restart,
        long_lived=theirs.long_lived,
        capabilities=theirs,
    )


def keeps_ours(local: tuple[int, int], remote: tuple[int, int]) -> bool:
    """Decide a collision: whether the connection that we opened is kept, theirs closed.

    Each side is (identifier, AS); the higher identifier wins, with equal ones the higher AS (RFC
    4271 section 6.8, RFC 6286 section 2.3).
    """
    return local > remote
