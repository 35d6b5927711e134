"""What a BGP connection does about what happens to it: RFC 4271 section 8 as a table.

An input that the table does not have is the FSM error that RFC 6608 numbers.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from filament.wire.bgp.errors import (
    UNEXPECTED_IN_ESTABLISHED,
    UNEXPECTED_IN_OPEN_CONFIRM,
    UNEXPECTED_IN_OPEN_SENT,
)


class State(enum.Enum):
    """Where a connection is in its life."""

    OPEN_SENT = "OpenSent"
    OPEN_CONFIRM = "OpenConfirm"
    ESTABLISHED = "Established"
    CLOSED = "Closed"


class Input(enum.Enum):
    """What may happen to a connection."""

    OPEN = "OPEN"
    KEEPALIVE = "KEEPALIVE"
    UPDATE = "UPDATE"
    NOTIFICATION = "NOTIFICATION"
    ROUTE_REFRESH = "ROUTE-REFRESH"
    TRANSPORT_END = "transport end"
    HOLD_EXPIRED = "hold time expired"
    KEEPALIVE_DUE = "keepalive due"
    BROKEN = "protocol error"
    CLOSE = "close"

    __hash__ = object.__hash__


class Action(enum.Enum):
    """What a connection does about an input."""

    NEGOTIATE = "find what both can do, and say KEEPALIVE"
    ESTABLISH = "tell the owner that routes may flow"
    TAKE = "hand the message to the owner"
    ACCEPT = "nothing more: the input itself is the point"
    KEEP_ALIVE = "send a KEEPALIVE"
    NOTIFY = "send a NOTIFICATION, and tell the owner that it is over"
    END = "drop what waits, and tell the owner that it is over"


class Step(NamedTuple):
    """A row of the transition table: what to do, and the state after it."""

    action: Action
    state: State


OVER = Step(Action.NOTIFY, State.CLOSED)
_END = Step(Action.END, State.CLOSED)
_ENDINGS = {
    Input.NOTIFICATION: _END,
    Input.TRANSPORT_END: _END,
    Input.HOLD_EXPIRED: OVER,
    Input.BROKEN: OVER,
    Input.CLOSE: OVER,
}

# An absent key is a finite state machine error.
TRANSITIONS: dict[tuple[State, Input], Step] = {
    (state, happened): step
    for state in (State.OPEN_SENT, State.OPEN_CONFIRM, State.ESTABLISHED)
    for happened, step in _ENDINGS.items()
} | {
    (State.OPEN_SENT, Input.OPEN): Step(Action.NEGOTIATE, State.OPEN_CONFIRM),
    (State.OPEN_CONFIRM, Input.KEEPALIVE): Step(Action.ESTABLISH, State.ESTABLISHED),
    (State.OPEN_CONFIRM, Input.KEEPALIVE_DUE): Step(Action.KEEP_ALIVE, State.OPEN_CONFIRM),
    (State.ESTABLISHED, Input.KEEPALIVE): Step(Action.ACCEPT, State.ESTABLISHED),
    (State.ESTABLISHED, Input.KEEPALIVE_DUE): Step(Action.KEEP_ALIVE, State.ESTABLISHED),
    (State.ESTABLISHED, Input.UPDATE): Step(Action.TAKE, State.ESTABLISHED),
    (State.ESTABLISHED, Input.ROUTE_REFRESH): Step(Action.TAKE, State.ESTABLISHED),
    (State.CLOSED, Input.CLOSE): Step(Action.ACCEPT, State.CLOSED),
}

UNEXPECTED = {
    State.OPEN_SENT: UNEXPECTED_IN_OPEN_SENT,
    State.OPEN_CONFIRM: UNEXPECTED_IN_OPEN_CONFIRM,
    State.ESTABLISHED: UNEXPECTED_IN_ESTABLISHED,
}
