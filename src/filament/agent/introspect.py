"""What an agent says about itself over HTTP: `GET /filament/*`, JSON, for people and for `trace`.

Rows are those in the kernel as the reconciler knows them (drops, counters and flows are read from
it); names stand beside numbers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from filament.agent.config import PortConfig
from filament.agent.connection import Connection
from filament.agent.core import PortState
from filament.agent.flows import read_flows
from filament.agent.host import AgentHost
from filament.agent.kernel_tables import KERNEL_TABLES
from filament.agent.naming import FABRIC, UNDERLAY_VRF, Naming, tag_name, tag_names_of
from filament.agent.select import Wanted, parse_wanted
from filament.agent.sessions import SessionLog
from filament.agent.verdicts import Verdicts
from filament.base.errors import InputError, NotFoundError
from filament.base.net import Prefix, format_ipv4, format_ipv6, format_mac
from filament.base.origin import NOWHERE, Origin
from filament.forward.inputs import HIGH_PREFERENCE
from filament.forward.layout import (
    FABRIC_VIF,
    NEXT_HOP_VXLAN,
    TABLE_BY_NAME,
    DropReason,
    NextHopType,
)
from filament.forward.tables import ROUTES_BY_VERSION, VRF_BITS, Key, fields_of
from filament.runtime.web import answering_errors, json_response

Json = dict[str, Any]
_ALL = Wanted()
_DEFAULT_FLOWS = 1000
_REASONS = {reason.value: reason for reason in DropReason}


class AgentView:
    """The answers; reads, changes nothing. Called from the task that owns `host`."""

    def __init__(
        self,
        host: AgentHost,
        connections: Mapping[str, Connection],
        verdicts: Verdicts | None = None,
        sessions: SessionLog | None = None,
    ) -> None:
        self._host = host
        self._connections = connections
        self._sessions = sessions
        self._verdicts = verdicts or Verdicts(host.core.host.name, self._naming, self._read)

    def status(self) -> Json:
        """The agent as a whole: control nodes, revisions, what is wrong."""
        host = self._host
        told = {one.control: one for one in host.core.controls()}
        applied = self._rows("host").get((0,), {})
        underlay = host.devices.state(host.devices.underlay)
        return {
            "name": host.core.host.name,
            "address": format_ipv4(host.core.host.address),
            "revision": host.core.inputs().revision,
            "applied": applied.get("revision", 0),
            "generation": applied.get("generation", 0),
            "whole": host.core.may_delete,
            "controls": [
                {
                    "address": connection.control,
                    "state": connection.state,
                    "problem": connection.problem,
                    "whole": (one := told.get(connection.control)) is not None and one.is_whole,
                    "revision": one.revision if one else 0,
                    "received": one.received if one else 0,
                    "acknowledged": one.acknowledged if one else 0,
                }
                for connection in self._connections.values()
            ],
            "underlay": {
                "device": underlay.name,
                "attached": underlay.is_attached,
                "by": host.devices.hook,
                "problem": underlay.problem or ("" if underlay.link else "there is no such device"),
            },
            "ports": len(host.core.ports()),
            "rows": {name: len(rows) for name, rows in host.reconciler.actual.items()},
            "rows_kept": host.outcome.kept,
            "flows": {
                "pressed": host.is_pressed(),
                "held": host.sweeper.held,
                "limit": host.sweeper.limit,
                "memory_bytes": host.maps.memory_bytes("flows"),
            },
            "problem": host.problem,
            "problems": host.core.problems(),
            "failures": [one._asdict() for one in host.outcome.failures],
            "samples": self._verdicts.losses(),
            "sessions": self._sessions.counts if self._sessions is not None else None,
        }

    def interfaces(self) -> Json:
        """Every plugged port with its device, numbers and counters."""
        counters = self._host.maps.read_all("counters")
        vifs, labels = self._host.ids.numbers("vif"), self._host.ids.numbers("label")
        tag_names = tag_names_of(self._host.core.graph)
        standbys = self._standbys()
        return {
            "interfaces": [
                self._interface(port, vifs, labels, counters)
                | self._policy_of(port.config, tag_names)
                | {"standbys": standbys.get(port.plug.uuid, [])}
                for port in self._host.core.ports()
            ]
        }

    def _standbys(self) -> dict[str, list[Json]]:
        """How ports (by uuid) stand with the addresses that one of several holds; `holder` is the
        host that control nodes tell of.
        """
        heard, found = self._host.core.heard(), dict[str, list[Json]]()
        for one in self._host.core.preferences.views():
            port, place = one.contender
            told = heard.get(place)
            found.setdefault(port, []).append(
                {
                    "prefix": str(place.prefix),
                    "preference": one.standby.preference,
                    "sequence": one.standby.sequence,
                    "holds": one.standby.preference == HIGH_PREFERENCE,
                    "holder": format_ipv4(told.address) if told is not None else "",
                    "flaps": one.flaps,
                    "waits": bool(one.waits_until_ns),
                }
            )
        return found

    def _interface(
        self,
        port: PortState,
        vifs: Mapping[str, int],
        labels: Mapping[str, int],
        counters: Mapping[Key, tuple[int, ...]],
    ) -> Json:
        uuid, config = port.plug.uuid, port.config
        device = self._host.devices.state(port.plug.device)
        addresses = [format_ipv4(one) for one in config.addresses] if config else []
        addresses += [format_ipv6(one) for one in config.addresses6] if config else []
        vif = vifs.get(uuid, 0)
        return {
            "uuid": uuid,
            "name": config.name if config else "",
            "display_name": str(port.plug.posted.get("display-name") or ""),
            "machine": port.plug.machine,
            "device": port.plug.device,
            "state": port.state,
            "problem": device.problem,
            "ifindex": device.link.ifindex if device.link else 0,
            "up": bool(device.link and device.link.is_up),
            "mtu": device.link.mtu_bytes if device.link else 0,
            "attached": device.is_attached,
            "vif": vif,
            "label": labels.get(uuid, 0),
            "vrf": config.vrf if config else "",
            "network": config.network if config else "",
            "acl": config.acl or "" if config else "",
            "policy": bool(config and config.has_policy),
            "address": addresses[0] if addresses else "",
            "addresses": addresses,
            "mac": format_mac(config.mac) if config else "",
            "origin": config.origin if config else NOWHERE,
            "counters": _named("counters", counters.get((vif,), (0, 0, 0, 0))),
        }

    @staticmethod
    def _policy_of(config: PortConfig | None, tag_names: Mapping[int, str]) -> Json:
        """Return what policy knows of a port: tags, and policy sets by name, in order."""
        return {
            "tags": [tag_name(number, tag_names) for number in config.tags] if config else [],
            "policy_sets": config.policy_sets if config else (),
            "fwaas_sets": config.fwaas_sets if config else (),
            "fat_flows": [str(one) for one in config.fat_flows] if config else [],
        }

    def vrfs(self) -> Json:
        """The VRFs in use."""
        count_by_vrf: dict[int, int] = {}
        for table in ROUTES_BY_VERSION.values():
            for key in self._host.reconciler.actual[table]:
                count_by_vrf[key[1]] = count_by_vrf.get(key[1], 0) + 1
        ports_by_vrf: dict[int, int] = {}
        for row in self._rows("interfaces").values():
            ports_by_vrf[row["vrf"]] = ports_by_vrf.get(row["vrf"], 0) + 1
        return {
            "vrfs": [
                {
                    "id": number,
                    "name": name,
                    "network": name.rpartition(":")[0],
                    "routes": count_by_vrf.get(number, 0),
                    "interfaces": ports_by_vrf.get(number, 0),
                }
                for name, number in sorted(self._host.ids.numbers("vrf").items())
            ]
        }

    def routes(self, vrf: str | None) -> Json:
        """The routes in the kernel, of one VRF (a name) or all."""
        vrfs, networks = self._names("vrf"), self._names("network")
        hops = self._rows("next_hops")
        devices = {
            port.device.ifindex: port.plug.device
            for port in self._host.core.ports()
            if port.device is not None
        }
        routes = []
        for version, key, row in sorted(self._routes(), key=_by_prefix):
            name = vrfs.get(key[1], f"#{key[1]}")
            if vrf is not None and name != vrf:
                continue
            hop = hops.get((row["next_hop"],), {})
            origin = self._origin(ROUTES_BY_VERSION[version], key)
            routes.append(
                {
                    "vrf": name,
                    "prefix": str(Prefix(key[2], key[0] - VRF_BITS, version)),
                    "type": NextHopType(hop["type"]).name.lower() if hop else "missing",
                    "next_hop": format_ipv4(hop["remote"]) if hop.get("remote") else "",
                    "label": row["label"],
                    "encapsulation": _encapsulation(hop),
                    "device": devices.get(hop.get("ifindex", 0), ""),
                    "network": networks.get(row["network"], ""),
                    "source": origin.object,
                    "origin": origin,
                }
            )
        return {"routes": routes}

    def _naming(self) -> Naming:
        return Naming(self._host)

    def _read(self, table: str, key: Key) -> tuple[int, ...] | None:
        return self._host.maps.read(table, key)

    def drops(self) -> Json:
        """Discarded packets by port and reason, and by VRF and reason, most first."""
        names, vrfs = self._port_names(), self._names("vrf")
        return {
            "vrfs": [
                {
                    "vrf": vrfs.get(vrf, f"#{vrf}") if vrf else UNDERLAY_VRF,
                    "id": vrf,
                    "reason": _REASONS[reason].name,
                    "text": _REASONS[reason].text,
                    "packets": packets,
                }
                for (vrf, reason), (packets,) in self._most_first("vrf_drops")
            ],
            "drops": [
                {
                    "interface": names.get(vif, f"#{vif}"),
                    "vif": vif,
                    "reason": _REASONS[reason].name,
                    "text": _REASONS[reason].text,
                    "tf": _REASONS[reason].tf,
                    "packets": packets,
                }
                for (vif, reason), (packets,) in self._most_first("drops")
            ],
        }

    def _most_first(self, table: str) -> list[tuple[Key, tuple[int, ...]]]:
        """Return the rows of counters by reason, the largest first."""
        rows = self._host.maps.read_all(table)
        return sorted(
            ((key, row) for key, row in rows.items() if row[0] and key[1] in _REASONS),
            key=lambda item: -item[1][0],
        )

    def samples(self) -> Json:
        """The last dropped packets that the kernel showed, newest first: whose, why, the frame."""
        naming = self._naming()
        return {
            "samples": [
                {
                    "interface": naming.port(one.vif).name,
                    "vif": one.vif,
                    "vrf": naming.vrf(one.vrf),
                    "reason": _REASONS[one.reason].name if one.reason in _REASONS else "",
                    "at_ns": one.at_ns,
                    "bytes": one.length,
                    "head": one.head.hex(),
                }
                for one in reversed(self._verdicts.drops)
            ],
            "losses": self._verdicts.losses(),
        }

    def counters(self) -> Json:
        """Packets and bytes from (rx) and to (tx) every port, and over the fabric."""
        names = self._port_names()
        rows = self._host.maps.read_all("counters")
        return {
            "counters": [
                {"interface": names[vif], "vif": vif, **_named("counters", row)}
                for (vif,), row in sorted(rows.items())
                if vif in names
            ]
        }

    def flows(self, limit: int, wanted: Wanted = _ALL) -> Json:
        """The flow table, the last seen first; safe to call from another thread."""
        return read_flows(self._host.maps, self._naming(), wanted, limit)

    async def listen(self, request: Request) -> Response:
        """Answer with a never-ending stream of verdicts, a line of JSON each."""
        query = request.query_params
        lines = self._verdicts.listen(parse_wanted(query))
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)

    def kernel(self, table: str) -> Json:
        """The rows of a map of the kernel, read just now; safe to call from another thread.

        Raises NotFoundError when there is no such table.
        """
        read = KERNEL_TABLES.get(table)
        if read is None:
            known = ", ".join(KERNEL_TABLES)
            raise NotFoundError(f"there is no table {table!r:.64}; there are {known}")
        return {table: [*read(self._host.maps, self._naming())]}

    def tables(self) -> Json:
        """The desired rows with their origins, and what the numbers in them mean.

        `rows` is table -> list of {key, values, origin}, in the order of the layout's fields;
        `ids` is space -> name -> number.
        """
        tables = self._host.tables
        return {
            "revision": tables.revision,
            "rows": {
                name: [
                    {"key": key, "values": row.values, "origin": row.origin}
                    for key, row in rows.items()
                ]
                for name, rows in tables.rows.items()
            },
            "ids": self._host.ids.export().numbers,
        }

    def config(self) -> Json:
        """What control nodes said, as received."""
        return {"views": self._host.core.saved_views()}

    def _rows(self, table: str) -> dict[Key, dict[str, int]]:
        """The rows of a planned table in the kernel, by field name."""
        return {
            key: _named(table, values)
            for key, values in self._host.reconciler.actual[table].items()
        }

    def _routes(self) -> list[tuple[int, Key, dict[str, int]]]:
        """Return the routes in the kernel: IP version, key and row."""
        return [
            (version, key, row)
            for version, table in ROUTES_BY_VERSION.items()
            for key, row in self._rows(table).items()
        ]

    def _origin(self, table: str, key: Key) -> Origin:
        """Where a row in the kernel comes from; nowhere when nobody asks for it (any more)."""
        row = self._host.tables.rows[table].get(key)
        return row.origin if row is not None else NOWHERE

    def _names(self, space: str) -> dict[int, str]:
        return {number: name for name, number in self._host.ids.numbers(space).items()}

    def _port_names(self) -> dict[int, str]:
        """Ports' names by vif; row 0 is the fabric."""
        by_uuid = {
            port.plug.uuid: port.config.name if port.config else port.plug.device
            for port in self._host.core.ports()
        }
        names = {
            vif: by_uuid.get(uuid, uuid) for uuid, vif in self._host.ids.numbers("vif").items()
        }
        return {FABRIC_VIF: FABRIC, **names}


def agent_routes(view: AgentView) -> list[Route]:
    """Return the routes of introspection."""

    def answer(path: str, make: Callable[[Request], Any]) -> Route:
        async def handle(request: Request) -> Response:
            made = make(request)
            return json_response(await made if isinstance(made, Awaitable) else made)

        return Route(f"/filament/{path}", answering_errors(handle), methods=["GET"])

    return [
        answer("status", lambda _: view.status()),
        answer("interfaces", lambda _: view.interfaces()),
        answer("vrfs", lambda _: view.vrfs()),
        answer("routes", lambda request: view.routes(request.query_params.get("vrf"))),
        answer("drops", lambda _: view.drops()),
        answer("drop-samples", lambda _: view.samples()),
        answer("counters", lambda _: view.counters()),
        # The table may hold hundreds of thousands: packets and plugs need not wait for it.
        answer(
            "flows",
            lambda request: asyncio.to_thread(
                view.flows, _limit(request), parse_wanted(request.query_params)
            ),
        ),
        Route("/filament/verdicts", answering_errors(view.listen), methods=["GET"]),
        answer(
            "kernel/{table}",
            lambda request: asyncio.to_thread(view.kernel, request.path_params["table"]),
        ),
        answer("tables", lambda _: view.tables()),
        answer("config", lambda _: view.config()),
    ]


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(_DEFAULT_FLOWS))
    if not (text.isascii() and text.isdigit()):
        raise InputError("bad-limit", f"limit is {text!r:.64}", hint="write a number of flows")
    return int(text)


def _named(table: str, values: tuple[int, ...]) -> dict[str, int]:
    return dict(zip(_FIELDS[table], values, strict=True))


_FIELDS = {name: fields_of(name) for name in TABLE_BY_NAME}


def _by_prefix(route: tuple[int, Key, Any]) -> tuple[int, int, int, int]:
    version, (length, vrf, address), _ = route
    return vrf, version, address, length


def _encapsulation(hop: Mapping[str, int]) -> str:
    """Say how packets to a next hop are carried; "" when they are not."""
    if not hop or hop["type"] != NextHopType.TUNNEL:
        return ""
    return "VXLAN" if hop["flags"] & NEXT_HOP_VXLAN else "MPLSoUDP"
