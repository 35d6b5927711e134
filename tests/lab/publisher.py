"""An agent without packets: publishes many routes to one control node, again in every session.

python -m tests.lab.publisher CONTROL NAME ADDRESS INSTANCE COUNT
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time

from filament.base.net import Prefix, parse_ipv4
from filament.wire.xmpp.session import ClientSession, SessionOpened, StanzaReceived
from filament.wire.xmpp.stanza import (
    ConfigSubscribed,
    EndOfRib,
    InstanceSubscribed,
    NextHop,
    RoutePublished,
    Sync,
    Synced,
)

FIRST = 10 << 24 | 64 << 16  # 10.64.0.0


def converse(end, name, address, instance, count):
    """One session, until it is lost."""
    session = ClientSession(name, time.monotonic())
    network = instance.rpartition(":")[0]
    while not session.closed:
        now = time.monotonic()
        session.handle_timer(now)
        while (event := session.next_event()) is not None:
            if isinstance(event, SessionOpened):
                router = f"default-global-system-config:{name}"
                session.send(ConfigSubscribed("virtual-router", router), now)
                session.send(InstanceSubscribed(instance, 1), now)
                for number in range(count):
                    hop = NextHop(parse_ipv4(address), 16 + number, network)
                    route = RoutePublished(instance, Prefix(FIRST + number, 32), hop)
                    session.send(route, now)
                session.send(EndOfRib(), now)
            elif isinstance(event, StanzaReceived) and isinstance(event.stanza, Sync):
                session.send(Synced(event.stanza.sequence, event.stanza.revision), now)
        end.settimeout(30.0)
        end.sendall(b"".join(session.data_to_send(now)))
        end.settimeout(1.0)
        with contextlib.suppress(TimeoutError):
            session.receive_data(end.recv(1 << 20), time.monotonic())


def main(control, name, address, instance, count):
    """Speak with the control node for ever."""
    host, _, port = control.rpartition(":")
    while True:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1.0) as end:
            converse(end, name, address, instance, int(count))
        time.sleep(0.1)


if __name__ == "__main__":
    main(*sys.argv[1:])
