"""Network vocabulary: addresses, prefixes, MACs and route targets as plain ints and tuples.

Engine keys are ints and named tuples, not `ipaddress` objects (parsing one costs microseconds).
All parsers raise `InputError`; all formatters are total.
"""

from __future__ import annotations

from typing import NamedTuple

from filament.base.errors import InputError

ROUTER_MAC = 0x00005E000100  # 00:00:5e:00:01:00, the distributed gateway's MAC on every host
MAX_MAC = (1 << 48) - 1
MPLS_OVER_UDP_PORT = 6635  # RFC 7510 section 3


def parse_ipv4(text: str) -> int:
    """Parse dotted-quad `text` (`10.1.1.3`) to a host-order int."""
    address = 0
    parts = text.split(".")
    if len(parts) == 4:
        for part in parts:
            # Leading zeros are refused: some readers take them as octal (RFC 6943 section 3.1.1).
            if not (part.isascii() and part.isdigit() and str(int(part)) == part):
                break
            octet = int(part)
            if octet > 255:
                break
            address = address << 8 | octet
        else:
            return address
    raise InputError(
        "bad-address", f"{text!r} is not an IPv4 address", hint="write it like 10.1.1.3"
    )


def format_ipv4(address: int) -> str:
    """Format a host-order int as a dotted quad."""
    return f"{address >> 24 & 255}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


def mask_of(length: int) -> int:
    """Return the IPv4 netmask of a prefix length as a host-order int."""
    return (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF


class Prefix(NamedTuple):
    """An IPv4 prefix: host-order network address without host bits, and length 0-32."""

    address: int
    length: int

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """Parse `10.1.1.0/24`; host bits set are an error that names the right prefix."""
        base, slash, length_text = text.partition("/")
        address = parse_ipv4(base)
        if not slash:
            return cls(address, 32)
        if not (length_text.isascii() and length_text.isdigit() and int(length_text) <= 32):
            raise InputError(
                "bad-prefix", f"{text!r} has no prefix length 0-32", hint=f"write {base}/24"
            )
        return cls.checked(address, int(length_text))

    @classmethod
    def checked(cls, address: int, length: int) -> Prefix:
        """Build from parts, refusing host bits."""
        if address & ~mask_of(length):
            right = cls(address & mask_of(length), length)
            raise InputError(
                "host-bits",
                f"prefix {format_ipv4(address)}/{length} has host bits set",
                hint=f"did you mean {right}?",
            )
        return cls(address, length)

    def __str__(self) -> str:
        return f"{format_ipv4(self.address)}/{self.length}"

    def contains(self, address: int) -> bool:
        """Say whether `address` (host-order int) lies in this prefix."""
        return address & mask_of(self.length) == self.address

    def overlaps(self, other: Prefix) -> bool:
        """Say whether the two prefixes share any address."""
        mask = mask_of(min(self.length, other.length))
        return self.address & mask == other.address & mask


def parse_mac(text: str) -> int:
    """Parse `02:00:00:00:00:01` to an int below 2^48."""
    parts = text.split(":")
    try:
        if len(parts) == 6 and all(1 <= len(part) <= 2 for part in parts):
            return int.from_bytes(bytes(int(part, 16) for part in parts), "big")
    except ValueError:
        pass
    raise InputError(
        "bad-mac", f"{text!r} is not a MAC address", hint="write it like 02:00:5e:10:00:01"
    )


def format_mac(mac: int) -> str:
    """Format an int below 2^48 as lower-case colon-separated hex."""
    return ":".join(f"{octet:02x}" for octet in mac.to_bytes(6, "big"))


class RouteTarget(NamedTuple):
    """A route target: administrator (ASN or IPv4 as int) and number. RFC 4360 section 4."""

    admin: int
    number: int
    admin_is_ipv4: bool = False

    @classmethod
    def parse(cls, text: str) -> RouteTarget:
        """Parse `target:64512:8000000` or `target:10.0.0.1:5`."""
        parts = text.split(":")
        if len(parts) == 3 and parts[0] == "target" and parts[2].isascii() and parts[2].isdigit():
            number = int(parts[2])
            if "." in parts[1]:
                admin = parse_ipv4(parts[1])
                if number < 1 << 16:
                    return cls(admin, number, True)
            elif parts[1].isascii() and parts[1].isdigit():
                admin = int(parts[1])
                if (admin < 1 << 16 and number < 1 << 32) or (admin < 1 << 32 and number < 1 << 16):
                    return cls(admin, number)
        raise InputError(
            "bad-route-target",
            f"{text!r} is not a route target",
            hint="write target:ASN:NUMBER, for example target:64512:100",
        )

    def __str__(self) -> str:
        admin = format_ipv4(self.admin) if self.admin_is_ipv4 else str(self.admin)
        return f"target:{admin}:{self.number}"
