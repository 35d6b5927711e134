"""The ends of a trace: the ports and addresses that names on the command line mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from filament.base.errors import InputError, NotFoundError
from filament.base.net import parse_address
from filament.cli import names
from filament.cli.session import Session
from filament.cli.suggest import suggestion
from filament.doctor.trace import End

Record = dict[str, Any]
_IPV6_CHARACTERS = frozenset("0123456789abcdef:.")


def is_address(text: str) -> bool:
    """Say whether `text` is meant to be an address (no workload's name is digits and dots, or has
    two colons and nothing but hexadecimal digits).
    """
    if text.count(":") >= 2:
        return all(one in _IPV6_CHARACTERS for one in text.lower())
    return text.replace(".", "").isdigit() and "." in text


def end_from_api(session: Session, text: str) -> End:
    """Find a workload or port by name or uuid through the API, and its address.

    Raises NotFoundError when there is none, InputError when it has no address.
    """
    kinds = ("virtual-machine", "virtual-machine-interface")
    if "/" in text or names.is_uuid(text):
        found = names.find(session, text)
        if found.kind not in kinds:
            raise InputError(
                "no-workload", f"{found} sends no packets", hint="name a workload or its port"
            )
    else:
        found = names.find_among(session, text, kinds, "workload")
    ports = [found.uuid]
    if found.kind == "virtual-machine":
        machine = session.get(f"/virtual-machine/{found.uuid}")["virtual-machine"]
        refs = machine.get("virtual_machine_interface_back_refs") or []
        ports = [ref["uuid"] for ref in refs]
        if not ports:
            raise InputError("no-port", f"{found} has no virtual-machine-interface")
    if len(ports) > 1:
        raise InputError(
            "several-ports",
            f"{found} has {len(ports)} ports",
            hint="name one of them: " + ", ".join(":".join(ref["to"]) for ref in refs),
        )
    return _end(found.short, _address_of(session, ports[0], found), ports[0])


def _end(label: str, text: str, port: str) -> End:
    address = parse_address(text)
    return End(label, address.value, port, address.version)


def _address_of(session: Session, port: str, found: names.Found) -> str:
    interface = session.get(f"/virtual-machine-interface/{port}")["virtual-machine-interface"]
    for ref in interface.get("instance_ip_back_refs") or []:
        address = session.get(f"/instance-ip/{ref['uuid']}")["instance-ip"]
        if address.get("instance_ip_address"):
            return str(address["instance_ip_address"])
    raise InputError(
        "no-address", f"{found} has no address", hint="create an instance-ip that refers to it"
    )


def end_from_agents(text: str, interfaces: Sequence[tuple[str, Record]], *, is_source: bool) -> End:
    """Find a port by address, uuid or name among what agents hold ((host, interface) pairs).

    An address need not be a port's, unless it is the source's. Raises as `end_from_api` does.
    """
    if is_address(text):
        wanted = str(parse_address(text))
        holders = [item for _, item in interfaces if wanted in item["addresses"]]
        if is_source and len(holders) > 1:
            raise InputError(
                "ambiguous-address",
                f"{text} is the address of {len(holders)} ports: "
                + ", ".join(f"{item['name']} in {item['vrf']}" for item in holders),
                hint="name the port",
            )
        if is_source and not holders:
            raise NotFoundError(f"no port on a host that answers has the address {text}")
        return _end(text, wanted, holders[0]["uuid"] if is_source else "")
    for _, item in interfaces:
        if text in _names_of(item):
            if not item["addresses"]:
                raise InputError("no-address", f"the port {item['name']} has no address yet")
            return _end(text, item["addresses"][0], item["uuid"])
    known = dict.fromkeys(name for _, item in interfaces for name in _names_of(item))
    raise NotFoundError(f"no host that answers has a port {text!r}{suggestion(text, known)}")


def _names_of(item: Record) -> list[str]:
    """What an interface may be called without an API to ask: its workload's name too."""
    names = (item["display_name"], item["name"].rpartition(":")[2], item["name"], item["uuid"])
    return [name for name in names if name]
