"""Witnesses of keepalives: agents and BGP peers that have nothing to hear but them.

    python -m bench.keepalives XMPP_PORT CONTROL PEERS AGENTS

A process of its own, so that what it sees late was sent late. `CONTROL` and `PEERS` are addresses,
`AGENTS` names of virtual-routers, with commas between them. It prints a line when all sessions are
up; when its input ends it prints, by protocol, how many keepalives came and by how many seconds the
latest came later than a third of the hold time after what came before it.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time

from filament.base.net import parse_ipv4
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.session import BgpSession, Offer
from filament.wire.xmpp.session import ClientSession, SessionOpened, StanzaReceived
from filament.wire.xmpp.stanza import ConfigSubscribed, EndOfRib, Sync, Synced

ASN = 64512
BGP_PORT = 179
XMPP_HOLD_S = 9.0  # of every agent of the control node that is measured: the least that suits all
BGP_HOLD_S = 3
_PATIENCE_S = 30.0
_SPREAD_S = 0.1  # between two agents' beginnings, so that their keepalives fall apart


class Witness:
    """One session. What comes before it is up and quiet does not count."""

    def __init__(self, machine: ClientSession | BgpSession, end: socket.socket) -> None:
        self.machine = machine
        self.end = end
        self.kind = "bgp" if isinstance(machine, BgpSession) else "xmpp"
        self.interval_s = (BGP_HOLD_S if self.kind == "bgp" else XMPP_HOLD_S) / 3
        self.heard_at = time.monotonic()
        self.count = 0
        self.latest_s = 0.0
        self.flush()

    @property
    def is_up(self) -> bool:
        """Whether the session is established."""
        return self.machine.established_at is not None

    def hear(self) -> None:
        """Read what has come; note when."""
        octets = self.end.recv(1 << 16)
        now = time.monotonic()
        self.note(now)
        self.count += 1
        self.heard_at = now
        self.machine.receive_data(octets, now)
        if not octets or self.machine.closed:
            sys.exit(f"a {self.kind} session was lost")
        self.flush()

    def note(self, now: float) -> None:
        """Note how late a keepalive is that has come, or has not."""
        self.latest_s = max(self.latest_s, now - self.heard_at - self.interval_s)

    def flush(self) -> None:
        """Answer, and say what is due."""
        now = time.monotonic()
        self.machine.handle_timer(now)
        while (event := self.machine.next_event()) is not None:
            if not isinstance(self.machine, ClientSession):
                continue
            if isinstance(event, SessionOpened):
                name = f"default-global-system-config:{self.machine.agent}"
                self.machine.send(ConfigSubscribed("virtual-router", name), now)
                self.machine.send(EndOfRib(), now)
            elif isinstance(event, StanzaReceived) and isinstance(event.stanza, Sync):
                said = Synced(event.stanza.sequence, event.stanza.revision)
                self.machine.send(said, now)
        self.end.sendall(b"".join(self.machine.data_to_send(now)))


def _connect(target: str, port: int, source: str = "") -> socket.socket:
    return socket.create_connection((target, port), _PATIENCE_S, (source, 0) if source else None)


def _watch(witnesses: list[Witness], poll: selectors.BaseSelector, until: float | None) -> None:
    """Let sessions go on until a moment, or until the input ends."""
    while until is None or time.monotonic() < until:
        for key, _ in poll.select(0.05):
            if key.data is None:
                return
            key.data.hear()
        for each in witnesses:
            each.flush()


def main(xmpp_port: str, control: str, peers: str, agents: str) -> None:
    """Watch until the input ends."""
    witnesses: list[Witness] = []
    poll = selectors.DefaultSelector()
    poll.register(sys.stdin, selectors.EVENT_READ, None)

    def add(machine: ClientSession | BgpSession, end: socket.socket) -> None:
        witnesses.append(Witness(machine, end))
        poll.register(end, selectors.EVENT_READ, witnesses[-1])
        _watch(witnesses, poll, time.monotonic() + _SPREAD_S)

    for address in peers.split(","):
        offer = Offer(ASN, parse_ipv4(address), (AddressFamily.E_VPN,), hold_time_s=BGP_HOLD_S)
        add(BgpSession(offer, time.monotonic()), _connect(control, BGP_PORT, address))
    for name in agents.split(","):
        machine = ClientSession(name, time.monotonic(), XMPP_HOLD_S)
        add(machine, _connect("127.0.0.1", int(xmpp_port)))
    deadline = time.monotonic() + _PATIENCE_S
    while not all(each.is_up for each in witnesses):
        if time.monotonic() > deadline:
            sys.exit("not all sessions came up")
        _watch(witnesses, poll, time.monotonic() + _SPREAD_S)
    for each in witnesses:
        each.heard_at, each.count, each.latest_s = time.monotonic(), 0, 0.0
    print("up", flush=True)
    _watch(witnesses, poll, None)
    now = time.monotonic()
    found = {}
    for kind in ("bgp", "xmpp"):
        mine = [each for each in witnesses if each.kind == kind]
        for each in mine:
            each.note(now)
        found[kind] = {
            "count": sum(each.count for each in mine),
            "latest_s": round(max(each.latest_s for each in mine), 3),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
