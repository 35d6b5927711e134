"""What BGP says when something is wrong: NOTIFICATION codes, and what RFC 7606 does instead."""

from __future__ import annotations

import enum

from filament.base.errors import ProtocolError


class Code(enum.IntEnum):
    """NOTIFICATION error codes, RFC 4271 section 4.5 and RFC 7313 section 5."""

    HEADER = 1
    OPEN = 2
    UPDATE = 3
    HOLD_TIME = 4
    FSM = 5
    CEASE = 6
    ROUTE_REFRESH = 7


# Subcodes, RFC 4271 sections 6.1 to 6.3.
NOT_SYNCHRONISED, BAD_LENGTH, BAD_TYPE = 1, 2, 3
BAD_VERSION, BAD_PEER_AS, BAD_IDENTIFIER, BAD_PARAMETER = 1, 2, 3, 4
BAD_HOLD_TIME, BAD_CAPABILITY = 6, 7
(
    MALFORMED_LIST,
    UNKNOWN_WELL_KNOWN,
    MISSING_WELL_KNOWN,
    BAD_FLAGS,
    BAD_ATTRIBUTE_LENGTH,
    BAD_ORIGIN,
) = range(1, 7)
BAD_NEXT_HOP, BAD_OPTIONAL, BAD_NETWORK, BAD_AS_PATH = 8, 9, 10, 11
# RFC 6608 section 3: an unexpected message in a state.
UNEXPECTED_IN_OPEN_SENT, UNEXPECTED_IN_OPEN_CONFIRM, UNEXPECTED_IN_ESTABLISHED = 1, 2, 3
# RFC 4486 section 4, RFC 8538 section 4 (hard reset), RFC 9384 (BFD down).
(
    MAX_PREFIXES,
    ADMIN_SHUTDOWN,
    PEER_DECONFIGURED,
    ADMIN_RESET,
    REJECTED,
    CONFIGURATION_CHANGE,
    COLLISION,
    OUT_OF_RESOURCES,
    HARD_RESET,
) = range(1, 10)
BAD_REFRESH_LENGTH = 1  # RFC 7313 section 5

_NAMES: dict[tuple[int, int], str] = {
    (1, 1): "connection not synchronised",
    (1, 2): "bad message length",
    (1, 3): "bad message type",
    (2, 1): "unsupported version number",
    (2, 2): "bad peer AS",
    (2, 3): "bad BGP identifier",
    (2, 4): "unsupported optional parameter",
    (2, 6): "unacceptable hold time",
    (2, 7): "unsupported capability",
    (3, 1): "malformed attribute list",
    (3, 2): "unrecognised well-known attribute",
    (3, 3): "missing well-known attribute",
    (3, 4): "attribute flags error",
    (3, 5): "attribute length error",
    (3, 6): "invalid ORIGIN",
    (3, 8): "invalid NEXT_HOP",
    (3, 9): "optional attribute error",
    (3, 10): "invalid network field",
    (3, 11): "malformed AS_PATH",
    (5, 1): "unexpected message in OpenSent",
    (5, 2): "unexpected message in OpenConfirm",
    (5, 3): "unexpected message in Established",
    (6, 1): "maximum number of prefixes reached",
    (6, 2): "administrative shutdown",
    (6, 3): "peer de-configured",
    (6, 4): "administrative reset",
    (6, 5): "connection rejected",
    (6, 6): "other configuration change",
    (6, 7): "connection collision resolution",
    (6, 8): "out of resources",
    (6, 9): "hard reset",
    (7, 1): "invalid ROUTE-REFRESH length",
}
_CODE_NAMES = {
    1: "message header error",
    2: "OPEN error",
    3: "UPDATE error",
    4: "hold timer expired",
    5: "finite state machine error",
    6: "cease",
    7: "ROUTE-REFRESH error",
}


def name_of(code: int, subcode: int) -> str:
    """Name a NOTIFICATION for people: `cease: administrative shutdown`."""
    base = _CODE_NAMES.get(code, f"error code {code}")
    if subcode == 0:
        return base
    return f"{base}: {_NAMES.get((code, subcode), f'subcode {subcode}')}"


class BgpError(ProtocolError):
    """The peer broke BGP in a way that ends the session; what the NOTIFICATION says."""

    def __init__(self, code: int, subcode: int, message: str, octets: bytes = b"") -> None:
        super().__init__(name_of(code, subcode), message)
        self.code = code
        self.subcode = subcode
        self.octets = octets
