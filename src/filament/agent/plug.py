"""A port as somebody plugged it: TF's port object of the agent's local API (`POST /port`).

Field names, defaults and error texts follow TF's port IPC; see also `agent.ports`.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from filament.base.errors import InputError

# TF matches lower-case only.
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_MAX_DEVICE_LENGTH = 15  # IFNAMSIZ - 1
_NO_VLAN = (-1, 65535)
_PORT_TYPES = (0, 1)  # a virtual machine's (Nova), a namespace's


class Plug(msgspec.Struct, frozen=True):
    """One plugged port: interface and machine uuids, and the device in this host.

    `posted` is the object as it was posted, returned by `GET /port/<uuid>`.
    """

    uuid: str
    machine: str
    device: str
    posted: dict[str, Any] = {}


class _Posted(msgspec.Struct, rename="kebab"):
    """The members that mean something here; others are kept and not read."""

    id: str
    instance_id: str
    system_name: str
    type: int = 0
    rx_vlan_id: int = -1
    tx_vlan_id: int = -1
    vhostuser_mode: int | None = None


def parse_plug(posted: object) -> Plug:
    """Check one posted port object; raises InputError that says what is wrong."""
    if not isinstance(posted, dict):
        raise InputError("bad-port", f"a port is a JSON object, not {posted!r:.64}")
    try:
        port = msgspec.convert(posted, _Posted, strict=False)
    except msgspec.ValidationError as error:
        raise InputError("bad-port", f"malformed port: {error}") from None
    for name, value in (("id", port.id), ("instance-id", port.instance_id)):
        if UUID.match(value) is None:
            raise InputError(
                "bad-uuid",
                f"{name} is {value!r:.64}",
                hint="write a lower-case uuid like 2f7a3c10-0000-4000-8000-000000000001",
            )
    if not is_device_name(port.system_name):
        raise InputError(
            "bad-device",
            f"system-name is {port.system_name!r:.64}",
            hint="write the name of a device in this host, up to 15 characters",
        )
    if port.type not in _PORT_TYPES:
        raise InputError(
            "bad-type", f"type is {port.type}", hint="write 0 (virtual machine) or 1 (namespace)"
        )
    if port.rx_vlan_id not in _NO_VLAN or port.tx_vlan_id not in _NO_VLAN:
        raise InputError(
            "no-vlans",
            f"VLAN sub-interfaces (rx-vlan-id {port.rx_vlan_id}, tx-vlan-id {port.tx_vlan_id}) "
            "are not served",
            hint="write -1",
        )
    return Plug(port.id, port.instance_id, port.system_name, posted)


def is_device_name(name: str) -> bool:
    """Say whether Linux would accept `name` for a network device."""
    return (
        0 < len(name.encode()) <= _MAX_DEVICE_LENGTH
        and name not in (".", "..")
        and not any(char.isspace() or char in "/:\0" for char in name)
    )
