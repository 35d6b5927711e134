"""NLRI of every family: the hot `split` and `join`, and typed decoding for those who look inside.

A route is identified by its `key`: the raw NLRI without what RFCs call its attributes (labels;
the Ethernet segment and gateway of EVPN routes), host bits cleared. What was taken out is the
`label`, raw as well; `join` puts the two together again. A reflector never decodes further.

    family                      key                                   label
    inet, inet6                 bits, prefix                          (empty)
    inet-labeled, *-vpn         bits without the label, [RD,] prefix   label 3
    route-target                bits, origin AS, target               (empty)
    erm-vpn                     type, size, all of it                 (empty)
    e-vpn 1                     type, size, RD, ESI, tag              label 3
    e-vpn 2                     type, size, RD, 0, tag, 48, MAC, bits, IP  label 3, see below
    e-vpn 3, 4, unknown         type, size, all of it                 (empty)
    e-vpn 5                     type, size, RD, tag, bits, prefix     ESI 10, gateway 4/16, label 3
    e-vpn 6                     type, size, all but flags             flags 1

`bits` and `size` in a key count the key, so that it tells where it ends; that of a MAC/IP route
counts one label as well, and ten zeros stand where its Ethernet segment was. So the key of one
without a segment and with one label, as nearly all are, is what stands before the label, and
splitting costs two slices. The label of others is ESI 10, label 3 [, label 3].

RFC 4364 section 4.3.4, RFC 8277 section 2.3 (one label), RFC 4684 section 4, RFC 7432 section 7,
RFC 9136 section 3.1, RFC 9251 section 9.1; erm-vpn is TF's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from struct import Struct

from filament.wire.bgp.errors import BAD_NETWORK, BAD_OPTIONAL, BgpError, Code
from filament.wire.bgp.family import AddressFamily

Nlri = tuple[bytes, bytes]  # (key, label)

WITHDRAWN_LABEL = b"\x80\x00\x00"  # RFC 8277 section 2.4
_ESI_SIZE = 10
NO_ESI = bytes(_ESI_SIZE)

(
    EVPN_AUTO_DISCOVERY,
    EVPN_MAC_IP,
    EVPN_MULTICAST,
    EVPN_SEGMENT,
    EVPN_PREFIX,
    EVPN_SELECTIVE_MULTICAST,
) = range(1, 7)

_OCTETS = [(bits + 7) // 8 for bits in range(256)]
_BYTE = [bytes([value]) for value in range(256)]
_MASK = [0xFF, 0x80, 0xC0, 0xE0, 0xF0, 0xF8, 0xFC, 0xFE]  # by bits % 8


def _malformed(family: AddressFamily, text: str) -> BgpError:
    subcode = BAD_NETWORK if family is AddressFamily.INET else BAD_OPTIONAL
    return BgpError(Code.UPDATE, subcode, f"{family} NLRI: {text}")


def _tail(octets: bytes, bits: int) -> bytes:
    """Clear the host bits of a prefix whose length is no multiple of 8."""
    return octets[:-1] + _BYTE[octets[-1] & _MASK[bits & 7]]


def _split_prefixes(family: AddressFamily, field: bytes, most: int) -> list[Nlri]:
    found: list[Nlri] = []
    at, end = 0, len(field)
    while at < end:
        bits = field[at]
        stop = at + 1 + _OCTETS[bits]
        if bits > most or stop > end:
            raise _malformed(family, _too_long(bits, most, end - at - 1))
        key = field[at:stop]
        found.append((_tail(key, bits) if bits & 7 else key, b""))
        at = stop
    return found


def _too_long(bits: int, most: int, room: int) -> str:
    if bits > most:
        return f"a prefix of {bits} bits where at most {most} make sense"
    return f"a prefix of {bits} bits in the {room} octets that remain"


def _split_labeled(
    family: AddressFamily, field: bytes, distinguished: int, most: int
) -> list[Nlri]:
    """Split prefixes behind one label; `distinguished` octets of RD, `most` bits of address."""
    end = len(field)
    least = 24 + 8 * distinguished
    limit = least + most
    found: list[Nlri] = []
    at = 0
    while at < end:
        bits = field[at]
        stop = at + 1 + _OCTETS[bits]
        if not least <= bits <= limit or stop > end:
            if bits < least:
                raise _malformed(family, f"{bits} bits do not hold the {least} before the prefix")
            raise _malformed(family, _too_long(bits, limit, end - at - 1))
        key = _BYTE[bits - 24] + field[at + 4 : stop]
        found.append((_tail(key, bits) if bits & 7 else key, field[at + 1 : at + 4]))
        at = stop
    return found


class Alike:
    """Routes that are all of one shape: as (key, label) pairs, and all keys and labels at once.

    They come in bulk, so that whoever can take them so should take no step per route.
    """

    __slots__ = ("all_keys", "all_labels")

    def __init__(self, all_keys: list[bytes], all_labels: Sequence[bytes]) -> None:
        self.all_keys = all_keys
        self.all_labels = all_labels

    def __len__(self) -> int:
        return len(self.all_keys)

    def __iter__(self) -> Iterator[Nlri]:
        return zip(self.all_keys, self.all_labels, strict=True)


def keys_of(routes: Alike | list[Nlri]) -> list[bytes]:
    """Return the keys of routes."""
    return routes.all_keys if isinstance(routes, Alike) else [key for key, _ in routes]


def _split_labeled_alike(field: bytes, distinguished: int, most: int) -> Alike | None:
    """Split host routes all of one length, as they come in bulk; None when they are not."""
    if not field:
        return None
    least = 24 + 8 * distinguished
    bits = field[0]
    size = 1 + _OCTETS[bits]
    count = len(field) // size
    if bits & 7 or not least <= bits <= least + most or len(field) % size:
        return None
    if field[::size] != _BYTE[bits] * count:
        return None
    head = _BYTE[bits - 24]
    found = _shape(f"x3s{size - 4}s", count).unpack(field)
    return Alike([head + key for key in found[1::2]], found[::2])


@lru_cache(maxsize=256)
def _shape(one: str, count: int) -> Struct:
    """Return how `count` routes in a row are unpacked; they are as few as fit into a message."""
    return Struct(">" + one * count)


def _split_targets(family: AddressFamily, field: bytes) -> list[Nlri]:
    found = _split_prefixes(family, field, 96)
    for key, _ in found:
        if 0 < key[0] < 32:
            raise _malformed(family, f"a prefix of {key[0]} bits; 0, or 32 to 96, are defined")
    return found


def _split_evpn(family: AddressFamily, field: bytes) -> list[Nlri]:
    found: list[Nlri] = []
    at, end = 0, len(field)
    while at + 1 < end:
        kind, size = field[at], field[at + 1]
        stop = at + 2 + size
        if stop > end:
            raise _malformed(family, f"a route of {size} octets in the {end - at - 2} that remain")
        found.append(_split_evpn_route(family, kind, size, field[at:stop]))
        at = stop
    if at != end:
        raise _malformed(family, "a single octet remains")
    return found


def _split_macs_alike(field: bytes) -> Alike | None:
    """Split MAC/IP routes all of one shape and without a segment, as they come in bulk; None when
    they are not.
    """
    size = field[1] + 2 if len(field) > 34 and field[0] == EVPN_MAC_IP else 0
    if size < 35 or len(field) % size:
        return None
    count = len(field) // size
    bits = field[31]
    if not (
        bits in _ADDRESS_BITS
        and size == 35 + (bits >> 3)
        and field[::size] == _BYTE[EVPN_MAC_IP] * count
        and field[1::size] == _BYTE[size - 2] * count
        and field[24::size] == _BYTE[48] * count
        and field[31::size] == _BYTE[bits] * count
        and _repeats(field, size, NO_ESI, 10)
    ):
        return None
    first = field[size - 3 : size]
    if _repeats(field, size, first, size - 3):
        # They share the label, and its object, because many such routes are kept.
        return Alike(list(_shape(f"{size - 3}s3x", count).unpack(field)), [first] * count)
    found = _shape(f"{size - 3}s3s", count).unpack(field)
    return Alike(list(found[::2]), found[1::2])


def _repeats(field: bytes, size: int, octets: bytes, start: int) -> bool:
    """Say whether each stretch of `size` octets has `octets` at `start`; column by column, because
    there are far fewer of them than routes.
    """
    count = len(field) // size
    for octet in octets:
        if field[start::size] != _BYTE[octet] * count:
            return False
        start += 1
    return True


_ADDRESS_BITS = frozenset({0, 32, 128})
_ONE_OR_TWO_LABELS = frozenset({3, 6})


def _split_evpn_route(family: AddressFamily, kind: int, size: int, raw: bytes) -> Nlri:
    """Split one route. A key's size octet counts the key, so that labels do not change it."""
    if kind == EVPN_MAC_IP:
        # type, size, RD 8 | ESI 10 | tag 4, 48, MAC 6, bits, IP 0/4/16 | label 3 [, label 3]
        if size >= 33 and raw[24] == 48 and raw[31] in _ADDRESS_BITS:
            split = 32 + (raw[31] >> 3)
            segment, labels = raw[10:20], raw[split:]
            if len(labels) in _ONE_OR_TWO_LABELS:
                if segment == NO_ESI and len(labels) == 3:
                    return raw[:split], labels
                head = bytes((kind, split + 1))
                return head + raw[2:10] + NO_ESI + raw[20:split], segment + labels
    elif kind == EVPN_PREFIX:
        # type, size, RD 8 | ESI 10 | tag 4, bits, prefix 4/16 | gateway 4/16, label 3
        width = {34: 4, 58: 16}.get(size, 0)
        if width and raw[24] <= width * 8:
            split = 25 + width
            prefix = _clear_host_bits(raw[25:split], raw[24])
            return _evpn_key(kind, raw[2:10] + raw[20:25] + prefix), raw[10:20] + raw[split:]
    elif kind == EVPN_AUTO_DISCOVERY:
        if size == 25:
            return _evpn_key(kind, raw[2:24]), raw[24:]
    elif kind == EVPN_MULTICAST:
        if size >= 13 and raw[14] in (32, 128) and size == 13 + (raw[14] >> 3):
            return raw, b""
    elif kind == EVPN_SEGMENT:
        if size >= 19 and raw[20] in (32, 128) and size == 19 + (raw[20] >> 3):
            return raw, b""
    elif kind == EVPN_SELECTIVE_MULTICAST:
        if _is_selective_multicast(raw):
            return _evpn_key(kind, raw[2:-1]), raw[-1:]
    else:
        return raw, b""  # a type we do not know: passed on as it is
    raise _malformed(family, f"a type {kind} route of {size} octets whose lengths do not agree")


def _evpn_key(kind: int, rest: bytes) -> bytes:
    return bytes((kind, len(rest))) + rest


def _is_selective_multicast(raw: bytes) -> bool:
    # type, size, RD 8, tag 4, then three addresses behind their lengths in bits, flags 1
    at = 14
    for allowed in ((0, 32, 128), (0, 32, 128), (32, 128)):
        if at >= len(raw) or raw[at] not in allowed:
            return False
        at += 1 + (raw[at] >> 3)
    return at == len(raw) - 1


def _clear_host_bits(octets: bytes, bits: int) -> bytes:
    whole = 8 * len(octets)
    value = int.from_bytes(octets, "big") >> (whole - bits) << (whole - bits)
    return value.to_bytes(len(octets), "big")


def _split_ermvpn(family: AddressFamily, field: bytes) -> list[Nlri]:
    found: list[Nlri] = []
    at, end = 0, len(field)
    while at < end:
        stop = at + 2 + field[at + 1] if at + 1 < end else end + 1
        if stop > end:
            raise _malformed(family, "a route is longer than what remains")
        if field[at] in (1, 2) and field[at + 1] != 22:
            raise _malformed(family, f"a tree route of {field[at + 1]} octets; it has 22")
        found.append((field[at:stop], b""))
        at = stop
    return found


_SPLITS: dict[AddressFamily, Callable[[bytes], list[Nlri]]] = {
    AddressFamily.INET: lambda field: _split_prefixes(AddressFamily.INET, field, 32),
    AddressFamily.INET6: lambda field: _split_prefixes(AddressFamily.INET6, field, 128),
    AddressFamily.INET_LABELED: lambda field: _split_labeled(
        AddressFamily.INET_LABELED, field, 0, 32
    ),
    AddressFamily.INET6_LABELED: lambda field: _split_labeled(
        AddressFamily.INET6_LABELED, field, 0, 128
    ),
    AddressFamily.INET_VPN: lambda field: _split_labeled(AddressFamily.INET_VPN, field, 8, 32),
    AddressFamily.INET6_VPN: lambda field: _split_labeled(AddressFamily.INET6_VPN, field, 8, 128),
    AddressFamily.ROUTE_TARGET: lambda field: _split_targets(AddressFamily.ROUTE_TARGET, field),
    AddressFamily.ERM_VPN: lambda field: _split_ermvpn(AddressFamily.ERM_VPN, field),
    AddressFamily.E_VPN: lambda field: _split_evpn(AddressFamily.E_VPN, field),
}


_SPLITS_ALIKE: dict[AddressFamily, Callable[[bytes], Alike | None]] = {
    AddressFamily.INET_LABELED: lambda field: _split_labeled_alike(field, 0, 32),
    AddressFamily.INET6_LABELED: lambda field: _split_labeled_alike(field, 0, 128),
    AddressFamily.INET_VPN: lambda field: _split_labeled_alike(field, 8, 32),
    AddressFamily.INET6_VPN: lambda field: _split_labeled_alike(field, 8, 128),
    AddressFamily.E_VPN: _split_macs_alike,
}


def split(family: AddressFamily, field: bytes) -> list[Nlri]:
    """Split an NLRI field into (key, label) pairs. Raises `BgpError` when it is malformed."""
    return list(split_in_bulk(family, field))


def split_in_bulk(family: AddressFamily, field: bytes) -> Alike | list[Nlri]:
    """Split an NLRI field, without a step per route where they are alike. Raises `BgpError`."""
    found = split_alike(family, field)
    return _SPLITS[family](field) if found is None else found


def split_alike(family: AddressFamily, field: bytes) -> Alike | None:
    """Split a field of routes that are all of one shape, without a step per route; None when they
    are not.

    `join` makes of each exactly what stood in the field.
    """
    found = _SPLITS_ALIKE.get(family)
    return found(field) if found is not None else None


def cut(family: AddressFamily, field: bytes) -> list[bytes]:
    """Cut a field that `split_alike` takes into its routes, as they stand there."""
    size = field[1] + 2 if family is AddressFamily.E_VPN else 1 + _OCTETS[field[0]]
    return [field[at : at + size] for at in range(0, len(field), size)]


def join(family: AddressFamily, key: bytes, label: bytes) -> bytes:
    """Put a route's NLRI together again: the inverse of `split`, for one route."""
    if not label:
        return key
    if family is not AddressFamily.E_VPN:
        return _BYTE[key[0] + 24] + label + key[1:]
    if key[0] == EVPN_MAC_IP:
        if len(label) == 3:
            return key + label
        head = bytes((EVPN_MAC_IP, key[1] + len(label) - 13))
        return head + key[2:10] + label[:10] + key[20:] + label[10:]
    head = bytes((key[0], key[1] + len(label)))
    if key[0] == EVPN_PREFIX:
        return head + key[2:10] + label[:10] + key[10:] + label[10:]
    return head + key[2:] + label


def join_all(
    family: AddressFamily, keys: list[bytes], label_by_key: Mapping[bytes, bytes]
) -> list[bytes]:
    """Put the NLRI of many routes together: `join`, in bulk."""
    if family in _LABELED:
        byte = _BYTE
        return [byte[key[0] + 24] + label_by_key[key] + key[1:] for key in keys]
    if family is AddressFamily.E_VPN:
        return [
            key + label
            if key[0] == EVPN_MAC_IP and len(label := label_by_key[key]) == 3
            else join(family, key, label_by_key[key])
            for key in keys
        ]
    return keys


def withdrawn(family: AddressFamily, key: bytes) -> bytes:
    """Return the NLRI that withdraws a route: its label does not matter, but has its place."""
    if family in _LABELED:
        return _BYTE[key[0] + 24] + WITHDRAWN_LABEL + key[1:]
    if family is not AddressFamily.E_VPN:
        return key
    match key[0]:
        case 1:
            return join(family, key, bytes(3))
        case 2:
            return key + bytes(3)
        case 5:
            return join(family, key, bytes(13 + len(key) - 15))
        case 6:
            return join(family, key, bytes(1))
    return key


def withdrawn_all(family: AddressFamily, keys: list[bytes]) -> list[bytes]:
    """Return the NLRI that withdraw many routes: `withdrawn`, in bulk."""
    if family in _LABELED:
        byte, label = _BYTE, WITHDRAWN_LABEL
        return [byte[key[0] + 24] + label + key[1:] for key in keys]
    if family is AddressFamily.E_VPN:
        no_label = bytes(3)
        return [key + no_label if key[0] == EVPN_MAC_IP else withdrawn(family, key) for key in keys]
    return keys


_LABELED = frozenset(
    {
        AddressFamily.INET_LABELED,
        AddressFamily.INET6_LABELED,
        AddressFamily.INET_VPN,
        AddressFamily.INET6_VPN,
    }
)


def label_value(family: AddressFamily, key: bytes, label: bytes) -> int:
    """Return the 24 bits of a route's (first) label field; 0 where it has none.

    An MPLS label is the upper 20 of them; with VXLAN encapsulation all 24 are the VNI.
    """
    if family is AddressFamily.E_VPN:
        if key[0] == EVPN_MAC_IP:
            return int.from_bytes(label if len(label) == 3 else label[10:13], "big")
        if key[0] == EVPN_PREFIX:
            return int.from_bytes(label[-3:], "big")
        if key[0] != EVPN_AUTO_DISCOVERY:
            return 0
    return int.from_bytes(label[:3], "big")


def mpls_label(label: int) -> bytes:
    """Return the label field of an MPLS label, bottom of stack."""
    return (label << 4 | 1).to_bytes(3, "big")


def vni_label(vni: int) -> bytes:
    """Return the label field of a VNI."""
    return vni.to_bytes(3, "big")
