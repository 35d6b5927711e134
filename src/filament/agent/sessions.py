"""The session log: what flows were, as lines of JSON with the fields of TF's SessionEndpoint.

Every line is one flow as one port saw it: when it ended, and now and then while it lasts, with its
packets and bytes so far. A random part of them is written where more are due than the cluster's
`flow_export_rate` allows; how many were not is counted.
"""

from __future__ import annotations

import queue
import random
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from filament.agent.flows import ends_of, ends_record, far_name, values_of
from filament.agent.naming import Naming, Way
from filament.base.limits import MAX_SESSIONS_HELD
from filament.base.net import format_ipv4
from filament.forward.flows import FlowKey, refusal
from filament.forward.layout import ACL_DENY, ACL_PASS, FIREWALL_DENY, SECURITY_DENY
from filament.forward.tables import KEY_CODECS, VALUE_CODECS

Json = dict[str, Any]
RawRow = tuple[bytes, bytes]
DEFAULT_RATE = 500  # sessions a second: TF's sampling threshold
ALL_SESSIONS = -1
ACTIVE_EVERY_NS = 30_000_000_000
_MOST_LEFT = 100  # ports that left since the last walk whose flows are kept
_SECOND_NS = 1_000_000_000
_FLOWS = uuid.UUID("8c6f1a3e-5b0d-4a57-9d5a-6a1f0c1f2d3b")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
# TF's rules that nobody wrote.
IMPLICIT_ALLOW = "00000000-0000-0000-0000-000000000001"
IMPLICIT_DENY = "00000000-0000-0000-0000-000000000002"
_encode = msgspec.json.Encoder().encode_lines


class Log(Protocol):
    """Where lines go; raises OSError when they cannot."""

    def append(self, batch: bytes) -> None:
        """Write whole lines, or none of them."""


class Moment(NamedTuple):
    """The same moment on the kernel's clock and on the wall."""

    now_ns: int
    wall_s: float

    def micros(self, at_ns: int) -> int:
        """A time of the kernel's clock as TF writes it: microseconds since the epoch."""
        return int(self.wall_s * 1e6) - (self.now_ns - at_ns) // 1000


class SessionCounts(msgspec.Struct):
    """How many were written since the agent began; `sampled_out` were due but beyond the rate,
    `failed` could not be written, for the `problem` of the last time.
    """

    written: int = 0
    sampled_out: int = 0
    failed: int = 0
    problem: str = ""


class _Drawn:
    """A random choice of at most `room` rows of a stream of any length (reservoir sampling)."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.rows: list[RawRow] = []
        self.seen = 0

    def offer(self, row: RawRow) -> None:
        self.seen += 1
        if len(self.rows) < self.room:
            self.rows.append(row)
        elif self.room:
            place = random.randrange(self.seen)  # noqa: S311 - a sample, not a secret
            if place < self.room:
                self.rows[place] = row


class SessionLog:
    """Takes rows of the flow table as a sweep meets them, and writes a part of them.

    `rate` is the cluster's `flow_export_rate`: sessions a second, -1 for all, 0 for none, None for
    TF's default. Used by one thread at a time: `begin`, then `active` and `ended`, then `end`; but
    for `left`, with the flows of ports that left meanwhile and the names they had.
    """

    def __init__(
        self,
        log: Log,
        naming: Callable[[], Naming],
        rate: Callable[[], int | None],
        address: int,
    ) -> None:
        self.counts = SessionCounts()
        self._log = log
        self._naming = naming
        self._rate = rate
        self._address = format_ipv4(address)
        self._before_ns: int | None = None
        self._active_before_ns: int | None = None
        self._ended, self._active = _Drawn(0), _Drawn(0)
        self._left: queue.SimpleQueue[tuple[_Drawn, Naming]] = queue.SimpleQueue()

    def begin(self, now_ns: int) -> int | None:
        """A walk of the table begins; return since when flows must have been seen to be written
        while they last, None when their turn has not come.
        """
        if self._before_ns is None:  # what was before is not ours to tell
            self._before_ns = self._active_before_ns = now_ns
        assert self._active_before_ns is not None
        room = self._room(now_ns - self._before_ns)
        self._ended, self._active = _Drawn(room), _Drawn(room)
        self._before_ns = now_ns
        if now_ns - self._active_before_ns < ACTIVE_EVERY_NS:
            return None
        since_ns, self._active_before_ns = self._active_before_ns, now_ns
        return since_ns

    def _room(self, elapsed_ns: int) -> int:
        rate = self._rate()
        if rate == ALL_SESSIONS:
            return MAX_SESSIONS_HELD
        allowed = (DEFAULT_RATE if rate is None else max(0, rate)) * elapsed_ns // _SECOND_NS
        return min(MAX_SESSIONS_HELD, allowed)

    def left(self, rows: Iterable[RawRow], naming: Naming) -> None:
        """Flows went with their port; they are written by the names of before, with the next walk.
        Of too many a random part is kept.
        """
        drawn = _Drawn(MAX_SESSIONS_HELD // 10)
        for row in rows:
            drawn.offer(row)
        if drawn.seen:
            if self._left.qsize() >= _MOST_LEFT:
                self.counts.sampled_out += drawn.seen
                return
            self._left.put((drawn, naming))

    def active(self, row: RawRow) -> None:
        """A flow goes on."""
        self._active.offer(row)

    def ended(self, row: RawRow) -> None:
        """A flow was swept out."""
        self._ended.offer(row)

    def end(self, moment: Moment) -> None:
        """The walk is over: write what was drawn, flows that ended first."""
        room = self._ended.room
        gone, seen = self._take_left(room)
        now_ended = self._ended.rows[: room - len(gone)]
        active = self._active.rows[: room - len(gone) - len(now_ended)]
        chosen = len(gone) + len(now_ended) + len(active)
        self.counts.sampled_out += seen + self._ended.seen + self._active.seen - chosen
        self._ended, self._active = _Drawn(0), _Drawn(0)
        if not chosen:
            return
        naming = self._naming()
        rows = [*gone, *((row, naming) for row in now_ended)]
        records = [
            session_record(row, names, moment, self._address, has_ended=True) for row, names in rows
        ]
        records += [
            session_record(row, naming, moment, self._address, has_ended=False) for row in active
        ]
        try:
            self._log.append(_encode(records))
        except OSError as error:
            self.counts.failed += len(records)
            self.counts.problem = f"{error.filename or 'the session log'}: {error.strerror}"
        else:
            self.counts.written += len(records)

    def _take_left(self, room: int) -> tuple[list[tuple[RawRow, Naming]], int]:
        """What to write of the flows of ports that left, and how many there were."""
        rows: list[tuple[RawRow, Naming]] = []
        seen = 0
        for _ in range(self._left.qsize()):
            drawn, naming = self._left.get()
            seen += drawn.seen
            rows += [(row, naming) for row in drawn.rows]
        return rows[:room], seen


def session_record(
    row: RawRow, naming: Naming, moment: Moment, address: str, *, has_ended: bool
) -> Json:
    """One flow with TF's session fields; names and rules in full. The forward flow is that of who
    started it, times are microseconds since the epoch, and bytes those of IP packets.
    """
    key = FlowKey(*KEY_CODECS["flows"].decode(row[0]))
    flow = values_of(VALUE_CODECS["flows"].decode(row[1]))
    ends = ends_of(key, flow)
    sides = ends_record(ends, naming)
    near, far = ("destination", "source") if ends.is_inbound else ("source", "destination")
    way = naming.way_to(ends.vrf, *ends.remote) if ends.far_end is None else Way()
    rules = naming.rules(flow)
    identity = tuple(key), flow["started_ns"]
    setup_time = moment.micros(flow["started_ns"])
    infos = []
    for direction in ("in", "out") if ends.is_inbound else ("out", "in"):
        packets, octets = flow[f"{direction}_packets"], flow[f"{direction}_bytes"]
        info: Json = {
            "flow_uuid": str(uuid.uuid5(_FLOWS, f"{address} {identity} {direction}")),
            "sampled_pkts": packets,
            "sampled_bytes": octets,
            "tcp_flags": flow[f"tcp_{direction}"],
            "setup_time": setup_time,
            "action": "pass" if flow["action"] == ACL_PASS else "deny",
            "nw_ace_uuid": rule_uuid(rules, flow, "acl"),
            "sg_rule_uuid": rule_uuid(rules, flow, "security"),
        }
        if flow["action"] != ACL_PASS:
            info["drop_reason"] = refusal(flow["action"], is_from_port=not ends.is_inbound).name
        if has_ended:
            info["teardown_time"] = moment.micros(flow["last_seen_ns"])
            info["teardown_pkts"], info["teardown_bytes"] = packets, octets
        infos.append(info)
    return {
        "vmi": sides["interface"],
        "vm": sides[f"{near}_workload"],
        "vn": sides[f"{near}_network"],
        "remote_vmi": sides[f"{far}_interface"],
        "remote_vn": sides[f"{far}_network"],
        "remote_prefix": way.prefix,
        "vrouter_ip": address,
        "other_vrouter_ip": way.host or address,
        **_tags(naming.port(ends.vif).tags, naming, ""),
        **_tags(far_name(ends, naming).tags, naming, "remote_"),
        "is_client_session": int(not ends.is_inbound),
        "is_si": 0,
        "local_ip": sides[near],
        "service_port": sides["destination_port"],
        "protocol": key.protocol,
        "ip": sides[far],
        "port": sides["source_port"],
        "security_policy_rule": _firewall_rule(rules, flow),
        "rules": rules,
        "forward_flow_info": infos[0],
        "reverse_flow_info": infos[1],
    }


# Which of a flow's lists are asked, in order, and the action by which one of them denies.
_LISTS = (("acl", ACL_DENY), ("security", SECURITY_DENY), ("firewall", FIREWALL_DENY))


def rule_of(rules: Sequence[Json], flow: Mapping[str, int], wanted: str) -> Json | None:
    """Return the rule by which one of a flow's lists decided; None when it was not asked."""
    left = iter(rules)
    for name, denies in _LISTS:
        if flow[name]:
            rule = next(left, None)
            if name == wanted:
                return rule
        if flow["action"] == denies:
            return None
    return None


def rule_uuid(rules: Sequence[Json], flow: Mapping[str, int], wanted: str) -> str:
    """Return the uuid of that rule, or TF's number for what nobody wrote."""
    rule = rule_of(rules, flow, wanted)
    if rule is None:
        return IMPLICIT_ALLOW
    if rule["position"] is None:
        return IMPLICIT_DENY
    found = _UUID.search(rule["rule"].removesuffix(" reversed"))
    return found[0] if found is not None else ""


def _firewall_rule(rules: Sequence[Json], flow: Mapping[str, int]) -> str:
    rule = rule_of(rules, flow, "firewall")
    if rule is None:
        return ""
    return IMPLICIT_DENY if rule["position"] is None else f"{rule['object']} {rule['rule']}".strip()


# TF's types of tags, by number; all others are custom.
_TAG_FIELDS = {1: "application", 2: "tier", 3: "deployment", 4: "site"}
_LABEL = 0


def _tags(numbers: Sequence[int], naming: Naming, prefix: str) -> Json:
    """Name tags in TF's fields; an end has one of most types, and any number of labels."""
    fields: Json = {}
    for number in numbers:
        kind = number >> 16
        if kind in _TAG_FIELDS:
            fields[prefix + _TAG_FIELDS[kind]] = naming.tag(number)
        else:
            field = "labels" if kind == _LABEL else "custom_tags"
            fields.setdefault(prefix + field, []).append(naming.tag(number))
    return fields
