"""Which flows and verdicts somebody asks for, by the words of a query. Pure.

Records have `source` and `destination` with `_port`, `_interface`, `_workload` and `_network`, a
`vrf`, a `protocol` number and whether they are `denied`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.datastructures import QueryParams

from filament.base.errors import InputError
from filament.base.net import Prefix, parse_address

_PROTOCOLS = {"icmp": (1, 58), "tcp": (6,), "udp": (17,), "sctp": (132,)}
_TRUE, _FALSE = ("1", "true", "yes"), ("", "0", "false", "no")


class Wanted(msgspec.Struct, frozen=True):
    """What is wanted; an empty field asks for all.

    `sources` and `destinations` are names (of workloads, ports or networks, whole or their last
    part), addresses or prefixes, of which one must fit; `ports` are of either end, `vifs` the
    numbers of ports of this host.
    """

    vrf: str = ""
    sources: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    protocols: tuple[int, ...] = ()
    vifs: tuple[int, ...] = ()
    is_denied: bool = False

    def may_admit(self, protocol: int, ports: Sequence[int]) -> bool:
        """Say, of what is known at once, whether it is worth to know the rest."""
        return (not self.protocols or protocol in self.protocols) and (
            not self.ports or any(port in self.ports for port in ports)
        )

    def admits(self, record: Mapping[str, Any]) -> bool:
        """Say whether a record is wanted."""
        return (
            (not self.vifs or record["vif"] in self.vifs)
            and (not self.is_denied or bool(record["denied"]))
            and (not self.vrf or is_vrf_called(record["vrf"], self.vrf))
            and (not self.protocols or record["protocol"] in self.protocols)
            and (
                not self.ports
                or record["source_port"] in self.ports
                or record["destination_port"] in self.ports
            )
            and _is_end(record, "source", self.sources)
            and _is_end(record, "destination", self.destinations)
        )


def parse_wanted(query: QueryParams) -> Wanted:
    """Read `vrf`, `from`, `to`, `port`, `proto`, `vif` and `denied`. Raises InputError."""
    return Wanted(
        query.get("vrf", ""),
        tuple(query.getlist("from")),
        tuple(query.getlist("to")),
        tuple(_parse_number("port", text, 1 << 16) for text in query.getlist("port")),
        tuple(number for text in query.getlist("proto") for number in _parse_protocol(text)),
        tuple(_parse_number("vif", text, 1 << 32) for text in query.getlist("vif")),
        parse_switch(query, "denied"),
    )


def parse_switch(query: QueryParams, name: str) -> bool:
    """Read a parameter that is on or off. Raises InputError."""
    text = query.get(name, "").lower()
    if text not in (*_TRUE, *_FALSE):
        raise InputError(f"bad-{name}", f"{name} is {text!r:.64}", hint="write 1 or 0")
    return text in _TRUE


def _parse_number(name: str, text: str, end: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < end):
        hint = f"write a number 0-{end - 1}"
        raise InputError(f"bad-{name}", f"{name} is {text!r:.64}", hint=hint)
    return int(text)


def _parse_protocol(text: str) -> tuple[int, ...]:
    known = _PROTOCOLS.get(text.lower())
    if known is not None:
        return known
    if not (text.isascii() and text.isdigit() and len(text) < 4 and int(text) < 256):
        raise InputError(
            "bad-proto",
            f"proto is {text!r:.64}",
            hint=f"write {', '.join(_PROTOCOLS)} or a number 0-255",
        )
    return (int(text),)


def is_called(name: str, text: str) -> bool:
    """Say whether a person may call `name`, of parts with colons between, `text`."""
    return text in (name, name.rpartition(":")[2])


def is_vrf_called(name: str, text: str) -> bool:
    """The same for a VRF, which may be called like its network."""
    return is_called(name, text) or text == name.rpartition(":")[0]


def _is_end(record: Mapping[str, Any], side: str, wanted: Sequence[str]) -> bool:
    return not wanted or any(_fits(record, side, text) for text in wanted)


def _fits(record: Mapping[str, Any], side: str, text: str) -> bool:
    if text in (record[side], record[f"{side}_workload"]):
        return True
    if any(is_called(record[f"{side}_{kind}"], text) for kind in ("interface", "network")):
        return True
    if "/" not in text:
        return False
    try:
        prefix = Prefix.parse(text)
        address = parse_address(record[side])
    except InputError:
        return False
    return prefix.version == address.version and prefix.contains(address.value, address.version)
