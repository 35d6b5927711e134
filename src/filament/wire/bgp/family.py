"""Address families: what IANA numbers them and what TF calls them."""

from __future__ import annotations

import enum


class AddressFamily(enum.Enum):
    """One (AFI, SAFI) that we speak; the value is the pair, `title` TF's name of it.

    erm-vpn is SAFI 243 in BGP; 241 is its code point in XMPP only.
    """

    INET = (1, 1)
    INET_LABELED = (1, 4)
    INET_VPN = (1, 128)
    ROUTE_TARGET = (1, 132)
    ERM_VPN = (1, 243)
    INET6 = (2, 1)
    INET6_LABELED = (2, 4)
    INET6_VPN = (2, 128)
    E_VPN = (25, 70)

    # Members are singletons and key every hot dict: enum's own hash is a Python function.
    __hash__ = object.__hash__

    def __init__(self, afi: int, safi: int) -> None:
        self.afi = afi
        self.safi = safi
        self.title = self.name.lower().replace("_", "-")
        self.raw = afi.to_bytes(2, "big") + bytes([safi])

    def __str__(self) -> str:
        return self.title


BY_CODE: dict[tuple[int, int], AddressFamily] = {each.value: each for each in AddressFamily}
BY_TITLE: dict[str, AddressFamily] = {each.title: each for each in AddressFamily}


def describe(afi: int, safi: int) -> str:
    """Name a family in a message, known or not."""
    family = BY_CODE.get((afi, safi))
    return family.title if family is not None else f"AFI {afi} SAFI {safi}"
