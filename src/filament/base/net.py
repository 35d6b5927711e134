"""Network vocabulary: addresses, prefixes, MACs, route targets and distinguishers as plain ints
and tuples.

Engine keys are ints and named tuples, not `ipaddress` objects (parsing one costs microseconds).
All parsers raise `InputError`; all formatters are total.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from filament.base.errors import InputError

ROUTER_MAC = 0x00005E000100  # 00:00:5e:00:01:00, the distributed gateway's MAC on every host
MAX_MAC = (1 << 48) - 1
MAX_IPV6 = (1 << 128) - 1
MPLS_OVER_UDP_PORT = 6635  # RFC 7510 section 3
VXLAN_PORT = 4789  # RFC 7348 section 8


@lru_cache(maxsize=1 << 14)  # the same few subnets and gateways, again with every port
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


def parse_ipv6(text: str) -> int:
    """Parse `text` (`2001:db8::1`, `::ffff:10.0.0.1`) to a host-order int. RFC 4291 section 2.2."""
    head, gap, tail = text.partition("::")
    try:
        left = _groups(head, is_last=not gap)
        if not gap:
            if len(left) == 8:
                return _joined(left)
        elif "::" not in tail:
            right = _groups(tail, is_last=True)
            if len(left) + len(right) < 8:
                return _joined(left) << 16 * (8 - len(left)) | _joined(right)
    except ValueError:
        pass
    raise InputError(
        "bad-address", f"{text!r} is not an IPv6 address", hint="write it like 2001:db8::3"
    )


def _groups(text: str, *, is_last: bool) -> list[int]:
    """Read colon-separated groups; the last two may be written as a dotted quad."""
    if not text:
        return []
    parts = text.split(":")
    groups = []
    for index, part in enumerate(parts):
        if "." in part and is_last and index == len(parts) - 1:
            try:
                address = parse_ipv4(part)
            except InputError:
                raise ValueError(part) from None
            groups += [address >> 16, address & 0xFFFF]
        elif len(part) <= 4 and part.isalnum() and part.isascii():
            groups.append(int(part, 16))
        else:
            raise ValueError(part)
    return groups


def _joined(groups: list[int]) -> int:
    address = 0
    for group in groups:
        address = address << 16 | group
    return address


def format_ipv6(address: int) -> str:
    """Format a host-order int as RFC 5952 wants it: `2001:db8::1`, `::ffff:10.0.0.1`."""
    if address >> 32 == 0xFFFF:
        return f"::ffff:{format_ipv4(address & 0xFFFFFFFF)}"
    groups = [address >> shift & 0xFFFF for shift in range(112, -1, -16)]
    start = length = 0
    index = 0
    while index < 8:
        run = index
        while run < 8 and groups[run] == 0:
            run += 1
        if run - index > max(length, 1):  # the first of the longest; one group stays (4.2.2)
            start, length = index, run - index
        index = run + 1
    if not length:
        return ":".join(f"{group:x}" for group in groups)
    left = ":".join(f"{group:x}" for group in groups[:start])
    return f"{left}::{':'.join(f'{group:x}' for group in groups[start + length :])}"


class Address(NamedTuple):
    """An address with its version, where both may appear: host-order int, 4 or 6."""

    value: int
    version: int

    def __str__(self) -> str:
        return format_address(self.value, self.version)


def parse_address(text: str) -> Address:
    """Parse an IPv4 or IPv6 address."""
    if ":" in text:
        return Address(parse_ipv6(text), 6)
    try:
        return Address(parse_ipv4(text), 4)
    except InputError:
        raise InputError(
            "bad-address",
            f"{text!r} is not an IP address",
            hint="write it like 10.1.1.3 or 2001:db8::3",
        ) from None


def format_address(address: int, version: int = 4) -> str:
    """Format a host-order int of the given IP version."""
    return format_ipv4(address) if version == 4 else format_ipv6(address)


_IPV4_MAPPED = 0xFFFF << 32


def widen_address(address: int, version: int) -> int:
    """Return 128 bits for an address of either version: IPv4 as ::ffff:a.b.c.d (RFC 4291)."""
    return _IPV4_MAPPED | address if version == 4 else address


def narrow_address(address: int) -> Address:
    """Return what `widen_address` was given."""
    if address >> 32 == 0xFFFF:
        return Address(address & 0xFFFFFFFF, 4)
    return Address(address, 6)


def bits_of(version: int) -> int:
    """Return how many bits an address of an IP version has."""
    return 32 if version == 4 else 128


def mask_of(length: int, version: int = 4) -> int:
    """Return the netmask of a prefix length as a host-order int."""
    if version == 4:
        return (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF
    return MAX_IPV6 ^ (MAX_IPV6 >> length)


class Prefix(NamedTuple):
    """A prefix: host-order network address without host bits, length, IP version (4 or 6)."""

    address: int
    length: int
    version: int = 4

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """Parse `10.1.1.0/24` or `2001:db8::/64`; an address alone is a host's prefix.

        Host bits set are an error that names the right prefix.
        """
        base, slash, length_text = text.partition("/")
        address, version = parse_address(base)
        bits = bits_of(version)
        if not slash:
            return cls(address, bits, version)
        if not (length_text.isascii() and length_text.isdigit() and int(length_text) <= bits):
            raise InputError(
                "bad-prefix",
                f"{text!r} has no prefix length 0-{bits}",
                hint=f"write {base}/{24 if version == 4 else 64}",
            )
        return cls.checked(address, int(length_text), version)

    @classmethod
    def parse_ipv4(cls, text: str) -> Prefix:
        """Parse a prefix where only IPv4 will do."""
        prefix = cls.parse(text)
        if prefix.version != 4:
            raise InputError(
                "bad-prefix", f"{text!r} is not an IPv4 prefix", hint="write it like 10.1.1.0/24"
            )
        return prefix

    @classmethod
    def checked(cls, address: int, length: int, version: int = 4) -> Prefix:
        """Build from parts, refusing host bits."""
        if address & ~mask_of(length, version):
            right = cls(address & mask_of(length, version), length, version)
            raise InputError(
                "host-bits",
                f"prefix {format_address(address, version)}/{length} has host bits set",
                hint=f"did you mean {right}?",
            )
        return cls(address, length, version)

    @classmethod
    def host(cls, address: int, version: int = 4) -> Prefix:
        """Return the prefix of one address: a /32 or /128."""
        return cls(address, bits_of(version), version)

    def __str__(self) -> str:
        return f"{format_address(self.address, self.version)}/{self.length}"

    def contains(self, address: int, version: int = 4) -> bool:
        """Say whether `address` (host-order int of an IP version) lies in this prefix."""
        return self.version == version and address & mask_of(self.length, version) == self.address

    def overlaps(self, other: Prefix) -> bool:
        """Say whether the two prefixes share any address."""
        if self.version != other.version:
            return False
        mask = mask_of(min(self.length, other.length), self.version)
        return self.address & mask == other.address & mask


_IPV4_AT = Prefix(_IPV4_MAPPED, 96, 6)  # where wide addresses have IPv4


def wide_parts(prefix: Prefix) -> Iterator[Prefix]:
    """Yield what a prefix is among wide addresses (`widen_address`): one prefix, but for IPv6 ones
    around the place where IPv4 is (::ffff:0:0/96), which is taken out of them.
    """
    address, length, version = prefix
    if version == 4:
        yield Prefix(widen_address(address, 4), length + _IPV4_AT.length, 6)
    elif length <= _IPV4_AT.length and prefix.contains(_IPV4_AT.address, 6):
        for depth in range(length + 1, _IPV4_AT.length + 1):
            bit = 1 << (bits_of(6) - depth)
            yield Prefix(_IPV4_AT.address & mask_of(depth, 6) ^ bit, depth, 6)
    else:
        yield prefix


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

    def encode(self) -> bytes:
        """Return the extended community, 8 bytes (RFC 4360 section 4, RFC 5668)."""
        if self.admin_is_ipv4:
            return b"\x01\x02" + self.admin.to_bytes(4, "big") + self.number.to_bytes(2, "big")
        if self.admin < 1 << 16:
            return b"\x00\x02" + self.admin.to_bytes(2, "big") + self.number.to_bytes(4, "big")
        return b"\x02\x02" + self.admin.to_bytes(4, "big") + self.number.to_bytes(2, "big")

    @classmethod
    def decode(cls, community: bytes) -> RouteTarget | None:
        """Read an 8-byte extended community; None when it is no route target."""
        if len(community) != 8 or community[1] != 2 or community[0] > 2:
            return None
        cut = 4 if community[0] == 0 else 6
        return cls(
            int.from_bytes(community[2:cut], "big"),
            int.from_bytes(community[cut:], "big"),
            community[0] == 1,
        )


class RouteDistinguisher(NamedTuple):
    """A route distinguisher, RFC 4364 section 4.2: `kind` 0 (16-bit ASN, 32-bit number),
    1 (IPv4 address, 16-bit number) or 2 (32-bit ASN, 16-bit number).
    """

    kind: int
    admin: int
    number: int

    @classmethod
    def of_address(cls, address: int, number: int) -> RouteDistinguisher:
        """Return the one of an IPv4 address (host-order int) and a number; its low 16 bits count,
        as in TF.
        """
        return cls(1, address, number & 0xFFFF)

    @classmethod
    def parse(cls, text: str) -> RouteDistinguisher:
        """Parse `10.0.0.1:5`, `64512:100` or, with an ASN over 65535, `4200000000:7`."""
        admin_text, _, number_text = text.partition(":")
        if number_text.isascii() and number_text.isdigit():
            number = int(number_text)
            if "." in admin_text:
                if number < 1 << 16:
                    return cls(1, parse_ipv4(admin_text), number)
            elif admin_text.isascii() and admin_text.isdigit():
                admin = int(admin_text)
                if admin < 1 << 16 and number < 1 << 32:
                    return cls(0, admin, number)
                if 1 << 16 <= admin < 1 << 32 and number < 1 << 16:
                    return cls(2, admin, number)
        raise InputError(
            "bad-route-distinguisher",
            f"{text!r} is not a route distinguisher",
            hint="write ADDRESS:NUMBER or ASN:NUMBER, for example 10.0.0.1:5",
        )

    @classmethod
    def decode(cls, octets: bytes) -> RouteDistinguisher:
        """Read 8 bytes; total: an unknown kind keeps its number as if it were of kind 2."""
        kind = int.from_bytes(octets[:2], "big")
        cut = 4 if kind == 0 else 6
        return cls(kind, int.from_bytes(octets[2:cut], "big"), int.from_bytes(octets[cut:8], "big"))

    def encode(self) -> bytes:
        """Return the 8 bytes."""
        size = 2 if self.kind == 0 else 4
        return (
            self.kind.to_bytes(2, "big")
            + self.admin.to_bytes(size, "big")
            + self.number.to_bytes(6 - size, "big")
        )

    def __str__(self) -> str:
        admin = format_ipv4(self.admin) if self.kind == 1 else str(self.admin)
        return f"{admin}:{self.number}"


NO_DISTINGUISHER = RouteDistinguisher(0, 0, 0)
