"""Capabilities of an OPEN (RFC 5492), and what two speakers have in common."""

from __future__ import annotations

import msgspec

from filament.wire.bgp.errors import BAD_CAPABILITY, BgpError, Code
from filament.wire.bgp.family import BY_CODE, AddressFamily

MULTIPROTOCOL = 1  # RFC 4760 section 8
ROUTE_REFRESH = 2  # RFC 2918
EXTENDED_MESSAGE = 6  # RFC 8654
GRACEFUL_RESTART = 64  # RFC 4724 section 3
FOUR_OCTET_AS = 65  # RFC 6793
ENHANCED_REFRESH = 70  # RFC 7313
LONG_LIVED_RESTART = 71  # RFC 9494 section 3

CAPABILITY_NAMES = {
    MULTIPROTOCOL: "multiprotocol",
    ROUTE_REFRESH: "route-refresh",
    3: "outbound-route-filtering",
    5: "extended-next-hop",
    EXTENDED_MESSAGE: "extended-message",
    9: "role",
    GRACEFUL_RESTART: "graceful-restart",
    FOUR_OCTET_AS: "4-octet-as",
    67: "dynamic-capability",
    68: "multisession",
    69: "add-path",
    ENHANCED_REFRESH: "enhanced-route-refresh",
    LONG_LIVED_RESTART: "long-lived-graceful-restart",
    73: "fqdn",
    75: "software-version",
    128: "route-refresh-cisco",
}

_RESTARTING, _NOTIFICATION = 0x8000, 0x4000  # RFC 4724 section 3, RFC 8538 section 2
_PRESERVED = 0x80


class GracefulRestart(msgspec.Struct, frozen=True):
    """The graceful restart capability. `preserved` says for each family whether forwarding goes on.

    Without families it says only that End-of-RIB will be sent.
    """

    restart_time_s: int = 0
    is_restarting: bool = False
    is_for_notifications: bool = False
    preserved: tuple[tuple[AddressFamily, bool], ...] = ()


class LongLived(msgspec.Struct, frozen=True):
    """One family of the long-lived graceful restart capability."""

    family: AddressFamily
    is_preserved: bool
    stale_time_s: int


class Capabilities(msgspec.Struct, frozen=True):
    """What a speaker can do. `families` without a capability is inet alone (RFC 4760 section 8).

    `codes` is everything that was there, known or not, for people.
    """

    families: tuple[AddressFamily, ...] = ()
    asn: int | None = None  # None: two-octet ASes only
    can_refresh: bool = False
    can_refresh_enhanced: bool = False
    can_extend_messages: bool = False
    graceful_restart: GracefulRestart | None = None
    long_lived: tuple[LongLived, ...] = ()
    codes: tuple[int, ...] = ()


def _encode(code: int, value: bytes = b"") -> bytes:
    return bytes((code, len(value))) + value


def encode_capabilities(capabilities: Capabilities) -> bytes:
    """Return the capabilities, each with its header; `codes` does not matter."""
    encoded = [
        _encode(MULTIPROTOCOL, family.afi.to_bytes(2, "big") + bytes((0, family.safi)))
        for family in capabilities.families
    ]
    if capabilities.can_refresh:
        encoded.append(_encode(ROUTE_REFRESH))
    if capabilities.can_extend_messages:
        encoded.append(_encode(EXTENDED_MESSAGE))
    restart = capabilities.graceful_restart
    if restart is not None:
        flags = restart.restart_time_s & 0xFFF
        flags |= _RESTARTING if restart.is_restarting else 0
        flags |= _NOTIFICATION if restart.is_for_notifications else 0
        encoded.append(
            _encode(
                GRACEFUL_RESTART,
                flags.to_bytes(2, "big")
                + b"".join(
                    family.raw + bytes((_PRESERVED if is_preserved else 0,))
                    for family, is_preserved in restart.preserved
                ),
            )
        )
    if capabilities.asn is not None:
        encoded.append(_encode(FOUR_OCTET_AS, capabilities.asn.to_bytes(4, "big")))
    if capabilities.can_refresh_enhanced:
        encoded.append(_encode(ENHANCED_REFRESH))
    if capabilities.long_lived:
        encoded.append(
            _encode(
                LONG_LIVED_RESTART,
                b"".join(
                    each.family.raw
                    + bytes((_PRESERVED if each.is_preserved else 0,))
                    + each.stale_time_s.to_bytes(3, "big")
                    for each in capabilities.long_lived
                ),
            )
        )
    return b"".join(encoded)


def decode_capabilities(field: bytes) -> Capabilities:
    """Decode the capabilities of all parameters of an OPEN, joined. Raises `BgpError`.

    Unknown ones are ignored (RFC 5492 section 3), and so are families that we do not know.
    """
    families: dict[AddressFamily, None] = {}
    codes: dict[int, None] = {}
    asn: int | None = None
    restart: GracefulRestart | None = None
    long_lived: tuple[LongLived, ...] = ()
    at, end = 0, len(field)
    while at < end:
        stop = at + 2 + field[at + 1] if at + 1 < end else end + 1
        if stop > end:
            raise _bad("a capability is cut off", field[at:])
        code, value = field[at], field[at + 2 : stop]
        codes[code] = None
        if code == MULTIPROTOCOL:
            _require_size(code, value, len(value) == 4)
            family = _family(value[:2], value[3])
            if family is not None:
                families[family] = None
        elif code == FOUR_OCTET_AS:
            _require_size(code, value, len(value) == 4)
            asn = int.from_bytes(value, "big")
        elif code == GRACEFUL_RESTART:
            _require_size(code, value, len(value) >= 2 and len(value) % 4 == 2)
            restart = _decode_restart(value)
        elif code == LONG_LIVED_RESTART:
            _require_size(code, value, not len(value) % 7)
            long_lived = _decode_long_lived(value)
        at = stop
    return Capabilities(
        tuple(families) if MULTIPROTOCOL in codes else (AddressFamily.INET,),
        asn,
        ROUTE_REFRESH in codes,
        ENHANCED_REFRESH in codes,
        EXTENDED_MESSAGE in codes,
        restart,
        long_lived,
        tuple(codes),
    )


def _family(afi: bytes, safi: int) -> AddressFamily | None:
    return BY_CODE.get((int.from_bytes(afi, "big"), safi))


def _decode_restart(value: bytes) -> GracefulRestart:
    flags = int.from_bytes(value[:2], "big")
    preserved = []
    for at in range(2, len(value), 4):
        family = _family(value[at : at + 2], value[at + 2])
        if family is not None:
            preserved.append((family, bool(value[at + 3] & _PRESERVED)))
    return GracefulRestart(
        flags & 0xFFF, bool(flags & _RESTARTING), bool(flags & _NOTIFICATION), tuple(preserved)
    )


def _decode_long_lived(value: bytes) -> tuple[LongLived, ...]:
    found = []
    for at in range(0, len(value), 7):
        family = _family(value[at : at + 2], value[at + 2])
        if family is not None:
            time_s = int.from_bytes(value[at + 4 : at + 7], "big")
            found.append(LongLived(family, bool(value[at + 3] & _PRESERVED), time_s))
    return tuple(found)


def _require_size(code: int, value: bytes, condition: bool) -> None:
    if not condition:
        name = CAPABILITY_NAMES[code]
        raise _bad(f"{name} of {len(value)} octets", _encode(code, value))


def _bad(text: str, octets: bytes) -> BgpError:
    return BgpError(Code.OPEN, BAD_CAPABILITY, text, octets)
