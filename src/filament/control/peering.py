"""BGP peers of a control node: sessions from configuration, routes between them and the RIB.

Everything here runs on the node's event loop and does not await between looking and changing.
Input comes in slices of one read each; output is what the RIB gives in steps (`run`), encoded once
for all peers that are told the same, with the loop free in between: no step is long enough to make
a keepalive late. A peer that does not read is not given whole tables, and is dropped when changes
pile up.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine

import msgspec

from filament.base.errors import TransientError
from filament.base.limits import MAX_BGP_CONNECTIONS, MAX_OUTPUT_QUEUE_BYTES
from filament.base.net import Address, parse_address
from filament.base.origin import NOWHERE
from filament.compiler.peers import PeerPlan, RestartPlan, SpeakerPlan
from filament.control.bgp_socket import connect
from filament.control.entrance import Entrance
from filament.control.neighbour import Neighbour
from filament.control.retention import Deed
from filament.rib.adjout import OutBatch, OutKind
from filament.rib.peer import Speaker
from filament.rib.rib import Rib
from filament.runtime.clock import now, wall
from filament.runtime.drive import Driver, Turnstile
from filament.runtime.log import logger
from filament.wire.bgp.capability import GracefulRestart, LongLived
from filament.wire.bgp.errors import (
    ADMIN_SHUTDOWN,
    CONFIGURATION_CHANGE,
    MAX_PREFIXES,
    PEER_DECONFIGURED,
)
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.message import REFRESH_BEGINS, REFRESH_ENDS, REFRESH_REQUEST
from filament.wire.bgp.session import (
    BgpSession,
    Offer,
    OpenReceived,
    RefreshReceived,
    SessionClosed,
    SessionEstablished,
    SessionEvent,
    UpdateReceived,
)
from filament.wire.bgp.update import Update, encode_end_of_rib, encode_updates, encode_withdrawals

STEP_ROUTES = 5_000
MAX_BACKLOG_BYTES = 1 << 20  # a peer with more unread is given no whole tables meanwhile

_log = logger("bgp")


class Peering:
    """One per control node. `on_change` is called when routes of instances may have changed,
    `is_complete` says whether this node knows again what it knew before it was restarted;
    `on_session` is told of a session that came or went, `on_told_all` of a peer's last End-of-RIB
    once all before it is in the RIB.
    """

    def __init__(
        self,
        rib: Rib,
        *,
        listens: tuple[Address, ...],
        on_change: Callable[[], None] = lambda: None,
        is_complete: Callable[[], bool] = lambda: True,
        on_session: Callable[[Neighbour], None] = lambda _: None,
        on_told_all: Callable[[str], None] = lambda _: None,
        max_queue_bytes: int = MAX_OUTPUT_QUEUE_BYTES,
    ) -> None:
        self.speaker = SpeakerPlan()
        self.neighbours: dict[str, Neighbour] = {}
        self._rib = rib
        self._bgp = rib.bgp
        self.entrance = Entrance(listens, self._accept)
        self._on_change = on_change
        self._is_complete = is_complete
        self._on_session = on_session
        self._on_told_all = on_told_all
        self._told_all: dict[str, None] = {}
        self._max_queue_bytes = max_queue_bytes
        self._turnstile = Turnstile(is_shut=lambda: self._bgp.is_behind)
        self._wake = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._held_ends: dict[tuple[str, AddressFamily], None] = {}
        self._connection_count = 0
        self._is_closed = False

    # configuration ------------------------------------------------------------------------

    def configure(self, plan: SpeakerPlan) -> None:
        """Follow the configuration: sessions that it does not touch go on."""
        before, self.speaker = self.speaker, plan
        us = Speaker(plan.asn, plan.identifier, plan.address.value, plan.cluster_id)
        if us != self._bgp.us:
            for name in list(self.neighbours):
                self._remove(name, CONFIGURATION_CHANGE, "our AS, identifier or cluster id changed")
            self._rib.configure(us)
        elif _offered(before.restart) != _offered(plan.restart):
            for name in list(self.neighbours):
                self._remove(name, CONFIGURATION_CHANGE, "graceful restart is configured anew")
        elif before.restart.is_helper and not plan.restart.is_helper:
            for neighbour in self.neighbours.values():
                self._sweep(neighbour, neighbour.retention.forget())
        for problem in plan.problems:
            if problem not in before.problems:
                _log.warning("bgp-misconfigured", problem=problem)
        for name in list(self.neighbours):
            if name not in plan.peers:
                self._remove(name, PEER_DECONFIGURED, f"bgp-router {name} is no peer any more")
        for name, peer in plan.peers.items():
            self._put(name, peer)
        self.entrance.reopen_at = now()
        self.wake()

    def _put(self, name: str, plan: PeerPlan) -> None:
        known = self.neighbours.get(name)
        if known is not None and _session_of(known.plan) != _session_of(plan):
            self._remove(name, CONFIGURATION_CHANGE, f"the session with {name} is configured anew")
            known = None
        if known is None:
            known = Neighbour(plan, self._offer(plan), random.random)
            self.neighbours[name] = known
        known.plan = plan
        known.machine.rule = msgspec.structs.replace(known.machine.rule, is_passive=plan.is_passive)
        if plan.is_admin_down:
            known.kept_away_until = None
            known.machine.stop(ADMIN_SHUTDOWN, f"admin_down is set for {name}", now())
            known.flush()
            self._sweep(known, known.retention.forget())
        elif known.kept_away_until is None and not self._is_closed:
            known.machine.start(now())

    def _remove(self, name: str, subcode: int, reason: str) -> None:
        neighbour = self.neighbours.pop(name)
        neighbour.machine.stop(subcode, reason, now())
        neighbour.flush()
        self._sweep(neighbour, neighbour.retention.forget())
        if neighbour.connecting is not None:
            neighbour.connecting.cancel()

    def _offer(self, plan: PeerPlan) -> Offer:
        restart = self.speaker.restart
        long_lived: tuple[LongLived, ...] = ()
        offered = GracefulRestart()  # says that we send End-of-RIB
        if restart.is_enabled:
            offered = GracefulRestart(
                min(restart.restart_time_s, 4095),
                is_restarting=not self._is_complete(),
                is_for_notifications=True,
                preserved=tuple((family, True) for family in plan.families),
            )
            if restart.long_lived_time_s:
                long_lived = tuple(
                    LongLived(family, True, restart.long_lived_time_s) for family in plan.families
                )
        return Offer(
            local_as=plan.local_as,
            identifier=self.speaker.identifier,
            families=plan.families,
            peer_as=plan.peer_as,
            hold_time_s=plan.hold_time_s,
            restart=offered,
            long_lived=long_lived,
        )

    # connections --------------------------------------------------------------------------

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = parse_address(str(writer.get_extra_info("peername")[0]).partition("%")[0])
        neighbour = next(
            (each for each in self.neighbours.values() if each.plan.address == address), None
        )
        problem = ""
        if neighbour is None:
            problem = "no bgp-router that we peer with has this address"
        elif self._connection_count >= MAX_BGP_CONNECTIONS:
            problem = f"there are {MAX_BGP_CONNECTIONS} connections already"
        else:
            neighbour.machine.offer = self._offer(neighbour.plan)
            session = neighbour.machine.accepted(now())
            neighbour.flush()
            if session is not None:
                self._serve(neighbour, session, reader, writer)
            else:
                why = neighbour.machine.reason or "it is up"
                problem = f"peer {neighbour.name} is {_idle(neighbour)}: {why}"
        if problem:
            self.entrance.refuse(writer, address, problem)
        self.wake()

    def _serve(
        self,
        neighbour: Neighbour,
        session: BgpSession,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        driver: Driver[SessionEvent] = Driver(
            session,
            reader,
            writer,
            lambda event: self._take_event(neighbour, session, event),
            max_queue_bytes=self._max_queue_bytes,
            turnstile=self._turnstile,
        )
        neighbour.drivers[session] = driver
        self._start(self._drive(neighbour, session, driver))

    async def _drive(
        self, neighbour: Neighbour, session: BgpSession, driver: Driver[SessionEvent]
    ) -> None:
        self._connection_count += 1
        try:
            await driver.run()
        finally:
            self._connection_count -= 1
            del neighbour.drivers[session]
            if not session.closed:
                session.abandon("the control node stops", now())
                while (event := session.next_event()) is not None:
                    self._take_event(neighbour, session, event)
            self.wake()

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        assert self._tasks is not None, "connections come about only while `run` runs"
        return self._tasks.create_task(work)

    async def _connect(self, neighbour: Neighbour) -> None:
        plan, machine = neighbour.plan, neighbour.machine
        try:
            streams = await connect(plan.address, plan.port, self.speaker.address, plan.password)
        except TransientError as error:
            machine.connect_failed(str(error), now())
        else:
            machine.offer = self._offer(plan)
            session = machine.connected(now())
            if session is None:
                streams[1].close()
            else:
                self._serve(neighbour, session, *streams)
        finally:
            neighbour.connecting = None
            self.wake()

    # what sessions tell -------------------------------------------------------------------

    def _take_event(self, neighbour: Neighbour, session: BgpSession, event: SessionEvent) -> None:
        if isinstance(event, UpdateReceived):
            if neighbour.session is session:
                self._take_update(neighbour, event.update)
            return
        neighbour.machine.take_event(session, event, now())
        match event:
            case OpenReceived():
                # What a collision ended must be over before this one can be established.
                neighbour.flush(but=session)
            case SessionEstablished():
                self._up(neighbour, session)
            case RefreshReceived(family=family, subtype=subtype):
                self._take_refresh(neighbour, family, subtype)
            case SessionClosed():
                self._down(neighbour, session, event)
                neighbour.flush(but=session)
        self.wake()

    def _up(self, neighbour: Neighbour, session: BgpSession) -> None:
        agreement = session.agreement
        assert agreement is not None, "it is established"
        neighbour.session, neighbour.agreement = session, agreement
        neighbour.changed_at = wall()
        neighbour.warned.clear()
        neighbour.ended.clear()
        self._bgp.peer_up(
            neighbour.rib_peer(agreement, self.speaker.asn),
            agreement.families,
            now(),
            has_llgr=bool(agreement.long_lived),
            ends_rib=agreement.ends_rib,
        )
        dropped = neighbour.retention.back(agreement, self.speaker.restart, now())
        self._sweep(neighbour, dropped)
        _log.info(
            "bgp-established",
            peer=neighbour.name,
            address=str(neighbour.plan.address),
            families=[str(family) for family in agreement.families],
        )
        self._on_session(neighbour)

    def _down(self, neighbour: Neighbour, session: BgpSession, event: SessionClosed) -> None:
        driver = neighbour.drivers.get(session)
        reason = event.reason
        if driver is not None and driver.overflowed:
            reason = f"it did not read: over {self._max_queue_bytes} bytes waited for it"
            neighbour.machine.reason = reason
        if neighbour.session is not session:
            return
        agreement = neighbour.agreement
        assert agreement is not None, "it was established"
        neighbour.session = None
        neighbour.changed_at = wall()
        kept = neighbour.retention.lost(agreement, event, self.speaker.restart, now())
        self._bgp.peer_down(neighbour.name, keep=kept)
        self._held_ends = {held: None for held in self._held_ends if held[0] != neighbour.name}
        _log.info(
            "bgp-lost",
            peer=neighbour.name,
            reason=reason,
            kept=sorted(str(family) for family in kept),
        )
        self._on_session(neighbour)

    def _take_update(self, neighbour: Neighbour, update: Update) -> None:
        name, bgp = neighbour.name, self._bgp
        for family, keys in update.withdrawn:
            bgp.withdraw(name, family, keys)
        for family, keys in update.refused:
            text = "; ".join(str(fault) for fault in update.faults)
            bgp.reject(name, family, keys, f"malformed attributes: {text}")
        for family, attributes, routes, field in update.announced:
            bgp.announce(name, family, attributes, routes, field)
            if neighbour.take_room(family, len(routes)):
                self._check_limit(neighbour, family)
        if update.end_of_rib is not None:
            neighbour.retention.end_of_rib(update.end_of_rib)
            neighbour.ended.add(update.end_of_rib)
            bgp.end_of_rib(name, update.end_of_rib)
            agreement = neighbour.agreement
            if agreement is not None and neighbour.ended.issuperset(agreement.families):
                self._told_all[name] = None
        self._wake.set()

    def _check_limit(self, neighbour: Neighbour, family: AddressFamily) -> None:
        count = self._bgp.tables[family].count_of(neighbour.name)
        neighbour.note_count(family, count)
        limit = neighbour.limit(family)
        if neighbour.is_near_limit(family, count):
            _log.warning(
                "bgp-prefix-limit-near",
                peer=neighbour.name,
                family=str(family),
                routes=count,
                maximum=limit.maximum,
            )
        if count <= limit.maximum:
            return
        text = f"more than {limit.maximum} {family} routes, the most that {neighbour.name} may have"
        self._bgp.reject(neighbour.name, family, (), text)
        _log.warning("bgp-prefix-limit-exceeded", peer=neighbour.name, problem=text)
        if limit.idle_s:
            neighbour.kept_away_until = now() + limit.idle_s
            neighbour.machine.stop(MAX_PREFIXES, text, now())
        elif neighbour.session is not None:
            neighbour.session.cease(MAX_PREFIXES, text, now())

    def _take_refresh(self, neighbour: Neighbour, family: AddressFamily, subtype: int) -> None:
        agreement = neighbour.agreement
        assert agreement is not None, "it is established"
        if subtype == REFRESH_REQUEST:
            is_enhanced = agreement.can_refresh_enhanced
            self._bgp.refresh(neighbour.name, family, is_enhanced=is_enhanced)
        elif subtype == REFRESH_BEGINS:
            self._bgp.tables[family].mark_stale(neighbour.name)
        elif subtype == REFRESH_ENDS:
            self._bgp.sweep(neighbour.name, family)

    def _sweep(self, neighbour: Neighbour, families: list[AddressFamily]) -> None:
        for family in families:
            self._bgp.sweep(neighbour.name, family)

    def ask_refresh(self, name: str, family: AddressFamily) -> bool:
        """Ask a peer to announce a family again; say whether it can."""
        neighbour = self.neighbours.get(name)
        if neighbour is None or neighbour.session is None:
            return False
        asked = neighbour.session.send_refresh(family, now())
        neighbour.flush()
        return asked

    # what they are told -------------------------------------------------------------------

    def wake(self) -> None:
        """Have `run` look whether there is something to do."""
        self._wake.set()

    async def run(self) -> None:
        """Connect, run timers and send what changes, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                while True:
                    try:
                        async with asyncio.timeout_at(self._timer_at()):
                            await self._wake.wait()
                    except TimeoutError:
                        pass  # a timer is due
                    self._wake.clear()
                    await self._step()
            finally:
                await self.entrance.close()

    def _timer_at(self) -> float | None:
        times = [each.timer_at() for each in self.neighbours.values()]
        times += [self._bgp.timer_at(), self.entrance.reopen_at]
        return min((each for each in times if each is not None), default=None)

    async def _step(self) -> None:
        at = now()
        if self.entrance.reopen_at is not None and at >= self.entrance.reopen_at:
            peers = [each.plan for each in self.neighbours.values()]
            await self.entrance.open(self.speaker.port if self.speaker.name else 0, peers)
        for neighbour in list(self.neighbours.values()):
            self._run_timers(neighbour, at)
            if neighbour.machine.take_wish() and neighbour.connecting is None:
                neighbour.connecting = self._start(self._connect(neighbour))
        self._bgp.handle_timer(at)
        if self._held_ends and self._is_complete():
            self._release_ends()
        while self._bgp.has_work:
            batches = self._bgp.take(STEP_ROUTES, self._can_write)
            self._send(batches)
            if self._rib.has_changes:
                self._on_change()
            await asyncio.sleep(0)
            if not batches and not self._bgp.is_busy:
                break  # all that is left is for peers that do not read just now
        told, self._told_all = self._told_all, {}
        for name in told:
            self._on_told_all(name)

    def _run_timers(self, neighbour: Neighbour, at: float) -> None:
        if neighbour.kept_away_until is not None and at >= neighbour.kept_away_until:
            neighbour.kept_away_until = None
            neighbour.machine.start(at)
        had_wish = neighbour.connecting is not None
        neighbour.machine.handle_timer(at)
        if had_wish and neighbour.machine.state == "Active" and neighbour.connecting is not None:
            neighbour.connecting.cancel()  # it took too long
        for family, deed in neighbour.retention.expire(at):
            if deed is Deed.MAKE_LONG_LIVED:
                self._bgp.make_long_lived(neighbour.name, family)
            else:
                self._bgp.sweep(neighbour.name, family)

    def _can_write(self, name: str) -> bool:
        neighbour = self.neighbours.get(name)
        driver = neighbour.driver if neighbour is not None else None
        if neighbour is None or driver is None:
            return False
        if driver.backlog_bytes <= MAX_BACKLOG_BYTES:
            return True
        if not neighbour.is_draining:
            neighbour.is_draining = True
            self._start(self._await_drained(neighbour, driver))
        return False

    async def _await_drained(self, neighbour: Neighbour, driver: Driver[SessionEvent]) -> None:
        try:
            await driver.drained()
        finally:
            neighbour.is_draining = False
            self.wake()

    def _send(self, batches: list[OutBatch]) -> None:
        at = now()
        told: dict[Neighbour, None] = {}
        for batch in batches:
            encoded: dict[bool, list[bytes]] = {}
            for name in batch.members:
                neighbour = self.neighbours.get(name)
                session = neighbour.session if neighbour is not None else None
                if neighbour is None or session is None or session.agreement is None:
                    continue
                told[neighbour] = None
                if batch.kind is OutKind.REFRESH_BEGINS:
                    session.send_refresh(batch.family, at, REFRESH_BEGINS)
                elif batch.kind is OutKind.REFRESH_ENDS:
                    session.send_refresh(batch.family, at, REFRESH_ENDS)
                elif batch.kind is OutKind.END_OF_RIB:
                    self._end_rib(neighbour, session, batch.family, at)
                else:
                    is_as4 = session.agreement.is_as4
                    if is_as4 not in encoded:
                        encoded[is_as4] = _encode(batch, is_as4=is_as4)
                    session.send_updates(encoded[is_as4], at)
        for neighbour in told:
            neighbour.flush()

    def _end_rib(
        self, neighbour: Neighbour, session: BgpSession, family: AddressFamily, at: float
    ) -> None:
        """Say that all is told, unless we are restarting and do not know all yet.

        The peer would throw away what it kept for us. Memberships are not held: it withholds its
        routes until it has ours.
        """
        if family is AddressFamily.ROUTE_TARGET or self._is_complete():
            session.send_updates((encode_end_of_rib(family),), at)
        else:
            self._held_ends[neighbour.name, family] = None

    def _release_ends(self) -> None:
        held, self._held_ends = self._held_ends, {}
        for name, family in held:
            neighbour = self.neighbours.get(name)
            if neighbour is not None and neighbour.session is not None:
                neighbour.session.send_updates((encode_end_of_rib(family),), now())
                neighbour.flush()

    # the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """End every session: without a word where peers are to keep our routes (RFC 4724)."""
        self._is_closed = True
        reason = "the control node stops"
        for neighbour in self.neighbours.values():
            for connection in neighbour.machine.connections:
                if self.speaker.restart.is_enabled:
                    connection.session.abandon(reason, now())
            neighbour.machine.stop(ADMIN_SHUTDOWN, reason, now())
            neighbour.flush()


def _offered(restart: RestartPlan) -> tuple[bool, int, int]:
    """Return what an OPEN says of graceful restart: it takes another to change that."""
    if not restart.is_enabled:
        return False, 0, 0
    return True, restart.restart_time_s, restart.long_lived_time_s


def _session_of(plan: PeerPlan) -> PeerPlan:
    """Return of a plan what its session depends on; the rest may change under it."""
    return msgspec.structs.replace(
        plan,
        prefix_limits=(),
        is_passive=False,
        is_admin_down=False,
        vendor="",
        router_type="",
        origin=NOWHERE,
    )


def _idle(neighbour: Neighbour) -> str:
    return "administratively down" if neighbour.plan.is_admin_down else neighbour.machine.state


def _encode(batch: OutBatch, *, is_as4: bool) -> list[bytes]:
    if batch.attributes is None:
        return encode_withdrawals(batch.family, batch.routes)
    try:
        return encode_updates(batch.family, batch.attributes, batch.routes, is_as4=is_as4)
    except ValueError as error:
        _log.warning(
            "bgp-not-announced", family=str(batch.family), routes=batch.route_count, why=str(error)
        )
        return []
