"""One set of tables in the kernel and in the model, fed the same packets."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from filament.base.net import format_ipv4, format_mac, parse_ipv4
from filament.dataplane import bpf
from filament.dataplane.load import OBJECT, Programs, load
from filament.dataplane.maps import PinnedMaps, Values, possible_cpus
from filament.dataplane.ring import SampleRing
from filament.forward.flows import Flow, FlowKey
from filament.forward.layout import (
    SAMPLE_HEAD_BYTES,
    SAMPLES_PER_SLICE,
    TABLES,
    DropReason,
    Verdict,
)
from filament.forward.model import Counter, Model, Result, UnderlayPath
from filament.forward.tables import Change, Key, Tables

from .direct import Map, OnlyRow, Program
from .kernel import run

HOST = parse_ipv4("172.30.0.1")
NEAR = parse_ipv4("172.30.0.2")  # on the underlay's link, its MAC known
SILENT = parse_ipv4("172.30.0.3")  # on the link, its MAC not known
FAR = parse_ipv4("172.31.0.9")  # behind a router of the underlay
# The same, and remembered by the programs in the places of the near one.
FAR_TOO = parse_ipv4("172.31.0.66")
NOWHERE = parse_ipv4("203.0.113.1")  # no route
ROUTER = parse_ipv4("172.30.0.254")
NEAR_MAC = 0x021700000002
ROUTER_MAC_UNDERLAY = 0x0217000000FE
UNDERLAY_MAC = 0x021700000001
UNDERLAY_MTU = 1600
PORT_COUNT = 4


# Few, so that reading them is quick, and so that they run out; more than any test's own.
MOST_FLOWS = 128
_VIFS = 16  # more than there are numbers of ports
_SECOND_NS = 1_000_000_000
_CLOCK_MONOTONIC_COARSE = 6  # linux/time.h: what the programs read
_HALF_SECOND_NS = _SECOND_NS // 2
# Where the TTL is in a frame, and the checksum that covers it, by IP version.
_TTL_AT: Mapping[int, frozenset[int]] = {4: frozenset({22, 24, 25}), 6: frozenset({21})}


def _coarse_ns() -> int:
    return time.clock_gettime_ns(_CLOCK_MONOTONIC_COARSE)


class Seen(NamedTuple):
    """What a program did with one packet."""

    verdict: Verdict
    reason: DropReason
    next_hop: int
    ifindex: int
    frame: bytes | None


def _seen_by_model(result: Result) -> Seen:
    output = result.output
    return Seen(
        result.verdict,
        result.reason,
        result.next_hop,
        output.ifindex if output else 0,
        output.frame if output else None,
    )


class Twin:
    """The pair. Devices p0.. are ports, u0 the underlay; all in the caller's namespace.

    The model's time stands still but for `pass_time`, which makes what the kernel remembers as much
    older: so ages are whole seconds, and what is exactly as old as it may be can be tested.
    """

    def __init__(self, programs: Programs, maps: PinnedMaps, ifindexes: dict[str, int]) -> None:
        self.maps = maps
        self.ports = [ifindexes[f"p{index}"] for index in range(PORT_COUNT)]
        self.underlay_ifindex = ifindexes["u0"]
        far = UnderlayPath(self.underlay_ifindex, UNDERLAY_MAC, ROUTER_MAC_UNDERLAY, UNDERLAY_MTU)
        self.underlay = {
            NEAR: UnderlayPath(self.underlay_ifindex, UNDERLAY_MAC, NEAR_MAC, UNDERLAY_MTU),
            SILENT: UnderlayPath(self.underlay_ifindex, UNDERLAY_MAC, None, UNDERLAY_MTU),
            FAR: far,
            FAR_TOO: far,
        }
        cpus = possible_cpus()
        self.programs = programs
        self._programs = {
            name: Program(descriptor) for name, descriptor in programs.descriptor_by_name.items()
        }
        self.direct = {
            table.name: Map(table.name, maps.descriptor(table.name), cpus) for table in TABLES
        }
        self._decision = OnlyRow("decisions", maps.descriptor("decisions"), cpus)
        self._ring = SampleRing(maps.directory)
        self._is_taken = False  # by `take_state`, and no packet came since
        self._unslept = 0  # packets since the kernel's slice of samples was cleared
        self._begin_time()
        self.model = Model(None, lambda: self._now_s, self.underlay, most_flows=MOST_FLOWS)
        self.result: Result  # of the last packet, by the model

    def close(self) -> None:
        self._ring.close()

    # --- time ---

    def _begin_time(self) -> None:
        self._now_s = int(time.monotonic())
        self._since_ns = _coarse_ns()  # when the model's time was set
        self._kernel_ahead_ns = 0  # of the kernel's times of before, in the model's

    @property
    def is_late(self) -> bool:
        """Whether so much time passed since the model's was set that they no longer agree."""
        return _coarse_ns() - self._since_ns > _HALF_SECOND_NS * 4 // 5

    def pass_time(self, seconds: int) -> None:
        """Let whole seconds pass for both. With none, what was seen just now is seen in the future:
        processors' clocks are not all alike.
        """
        self._compare_flows(self.direct["flows"].read(), self.direct["fragments"].read())
        self._now_s += seconds
        self._since_ns = _coarse_ns()
        # Half a second less, which the machine may take for what comes until the next time.
        self._kernel_ahead_ns = self._since_ns + _HALF_SECOND_NS - self._now_s * _SECOND_NS
        flows = self.model.flows().items()
        self.direct["flows"].write((key, (*self._moved(row[:2]), *row[2:])) for key, row in flows)
        fragments = self.model.fragments().items()
        self.direct["fragments"].write(
            (key, (*self._moved(row[:1]), *row[1:])) for key, row in fragments
        )

    def _moved(self, times: tuple[int, ...]) -> tuple[int, ...]:
        return tuple((one + self._kernel_ahead_ns) % (1 << 64) for one in times)

    def _is_then(self, kernel: tuple[int, ...], model: tuple[int, ...]) -> bool:
        """Whether times of the kernel's are the model's."""
        now_ns = self._now_s * _SECOND_NS
        return all(
            (found,) == self._moved((wanted,))
            or (wanted == now_ns and self._since_ns <= found <= _coarse_ns())
            for found, wanted in zip(kernel, model, strict=True)
        )

    # --- tables ---

    def reset(self) -> None:
        """Empty what both remember of packets. The rows of tables stay until the next `write`."""
        kept = ("flows", "drops", "vrf_drops", "fragments", "claims")
        for name in kept if not self._is_taken else ():
            self.direct[name].take()
        for name in ("counters", "flows_entered", "flows_swept"):
            self.direct[name].zero(_VIFS)
        policy = self.model._policy
        for one in (policy.flows, policy.fragments, policy.entered, policy.swept):
            one.clear()
        model = self.model
        for counts in (model.drops, model.vrf_drops, model.counters, model.claims):
            counts.clear()
        self._begin_time()

    def write(self, tables: Tables) -> None:
        """Bring both to `tables`."""
        rows = self.model.rows
        for name, wanted in tables.rows.items():
            former = rows.by_table[name]
            gone = former.keys() - wanted.keys()
            new = [
                (key, row)
                for key, row in wanted.items()
                if (known := former.get(key)) is None or known.values != row.values
            ]
            if name in self.direct:
                if gone:
                    self.direct[name].delete(gone)
                if new:
                    self.direct[name].write((key, row.values) for key, row in new)
            # What `replace` does, which would look for the differences again.
            for key in gone:
                rows._remove(name, key)
            for key, row in new:
                rows._put(name, key, row)

    def write_rows(self, changes: list[Change]) -> None:
        """Write single rows to both, as broken tables would have them."""
        for name, key, values in changes:
            if values is not None:
                self.direct[name].write([(key, values)])
            elif key in self.model.rows.by_table[name]:
                self.direct[name].delete([key])
        self.model.write(changes)

    def sweep(self, key: FlowKey) -> None:
        """Take a flow out of both, as the agent does."""
        policy = self.model._policy
        del policy.flows[key]
        policy.swept[key.vif] = policy.swept.get(key.vif, 0) + 1
        try:
            self.direct["flows"].delete([key])
        except bpf.KernelError as problem:
            raise AssertionError(f"the kernel has no flow {key}") from problem
        self.direct["flows_swept"].write([((key.vif,), (policy.swept[key.vif],))])

    def fill(self, left: int) -> None:
        """Enter flows of ports that there are not, until there is room for `left` more."""
        flows = self.model._policy.flows
        count = MOST_FLOWS - left - len(flows)
        now_ns = self._now_s * _SECOND_NS
        for number in range(count):
            key = FlowKey(MOST_FLOWS + number, 1, 0xFFFF_0000_0001, 0xFFFF_0000_0002, 0, 0, 17)
            flows[key] = Flow(now_ns, now_ns, *[0] * 17)
            self.direct["flows"].write([(key, (_coarse_ns(), _coarse_ns(), *[0] * 17))])

    # --- packets ---

    def in_kernel(self, program: str, frame: bytes, *, ifindex: int = 0, gso_size: int = 0) -> Seen:
        self._is_taken = False
        self._decision.clear()
        ran = self._programs[program].run(frame, ifindex=ifindex, gso_size=gso_size)
        verdict, reason, next_hop, out = self._decision.read()
        assert ran.returned == verdict, (ran, verdict)
        sent = ran.frame if verdict == Verdict.REDIRECT else None
        return Seen(Verdict(verdict), DropReason(reason), next_hop, out, sent)

    def from_port(self, ifindex: int, frame: bytes) -> Seen:
        """Run a frame from a port through both and compare; returns what they agree on."""
        self._forget_samples()
        kernel = self.in_kernel("from_port", frame, ifindex=ifindex)
        return self._agree(kernel, self.model.from_port(ifindex, frame), frame, ifindex)

    def from_fabric(self, frame: bytes) -> Seen:
        """The same for a frame from the underlay."""
        self._forget_samples()
        kernel = self.in_kernel("from_fabric", frame, ifindex=self.underlay_ifindex)
        return self._agree(kernel, self.model.from_fabric(frame), frame, self.underlay_ifindex)

    def _forget_samples(self) -> None:
        """Give the next packet a ring of its own, and a share of a slice of time."""
        self._unslept += 1
        if self._unslept >= SAMPLES_PER_SLICE // 2:  # of each kind a packet has two at most
            self.direct["samplings"].zero(2)
            self._unslept = 0
        while self._ring.read():
            pass
        self.model.shown.clear()

    def _agree(self, kernel: Seen, result: Result, frame: bytes, ifindex: int) -> Seen:
        model = _seen_by_model(result)
        if kernel != model:
            raise AssertionError(f"{kernel}\n is not {model}\n{_told(frame, result)}")
        try:
            self._compare_samples(ifindex, frame)
        except AssertionError as found:
            raise AssertionError(f"{found}\n{_told(frame, result)}") from found
        self.result = result
        return kernel

    def _compare_samples(self, ifindex: int, frame: bytes) -> None:
        """Compare what both show of the last packet, of which only its TTL may have changed."""
        shown = self._ring.read()
        assert [(one.vif, one.vrf, one.reason) for one in shown] == list(self.model.shown)
        for one in shown:
            assert (one.ifindex, one.length) == (ifindex, len(frame))
            assert self._since_ns <= one.at_ns
            head = frame[:SAMPLE_HEAD_BYTES]
            if one.head != head:
                assert len(one.head) == len(head)
                changed = [at for at in range(len(head)) if one.head[at] != head[at]]
                assert set(changed) <= _TTL_AT[head[14] >> 4], changed

    # --- what is left behind ---

    def compare_state(self) -> None:
        """Compare flows, claims, drops and counters."""
        self._compare(lambda name: self.direct[name].read(), check_times=False)

    def take_state(self) -> None:
        """The same, and when what was seen; what the kernel had is gone then."""
        self._compare(lambda name: self.direct[name].take(), check_times=True)
        self._is_taken = True

    def _compare(self, rows_of: Callable[[str], dict[Key, Values]], *, check_times: bool) -> None:
        self._compare_flows(rows_of("flows"), rows_of("fragments"), check_times=check_times)
        claims = {claim: claimed_ns for (claim,), (claimed_ns,) in rows_of("claims").items()}
        # In the order of time, by which holders are chosen; the model's clock may stand still.
        assert sorted(claims, key=claims.__getitem__) == list(self.model.claims)
        for name, counted in (("drops", self.model.drops), ("vrf_drops", self.model.vrf_drops)):
            assert rows_of(name) == {key: (count,) for key, count in counted.items()}, name
        counters = dict(self.model.counters)
        entered = {vif: (count,) for vif, count in self.model.entered_flows().items()}
        none = (0,) * len(Counter())
        for name, wanted, absent in (
            ("counters", counters, none),
            ("flows_entered", entered, (0,)),
        ):
            assert all(vif < _VIFS for vif in wanted)
            rows = {(vif,): wanted.get(vif, absent) for vif in range(_VIFS)}
            assert self.direct[name].read(_VIFS) == rows, name

    def _compare_flows(
        self,
        flows: dict[Key, Values],
        fragments: dict[Key, Values],
        *,
        check_times: bool = True,
    ) -> None:
        for name, kernel, model, times in (
            ("flows", flows, self.model.flows(), 2),
            ("fragments", fragments, self.model.fragments(), 1),
        ):
            assert {key: row[times:] for key, row in kernel.items()} == {
                tuple(key): tuple(row[times:]) for key, row in model.items()
            }, name
            if check_times:
                for key, row in model.items():
                    found = kernel[key][:times]
                    assert self._is_then(found, row[:times]), (name, key, found, row[:times])


def _told(frame: bytes, result: Result) -> str:
    """What to tell of a packet that they do not agree on."""
    return "\n".join([frame.hex(), *(f"  {step.stage}: {step.text}" for step in result.trail)])


@contextlib.contextmanager
def twin(bpffs: Path, path: Path = OBJECT) -> Iterator[Twin]:
    """Make the devices and load the programs."""
    directory = bpffs / "twin"
    ifindexes = {}
    mtu = {"u0": str(UNDERLAY_MTU)}
    for device in ("u0", *(f"p{index}" for index in range(PORT_COUNT))):
        run("ip", "link", "add", device, "type", "veth", "peer", "name", f"{device}x")
        # The kernel refuses to let a test packet grow beyond its device's MTU.
        run("ip", "link", "set", device, "mtu", mtu.get(device, "9000"), "up")
        run("ip", "link", "set", f"{device}x", "up")
        ifindexes[device] = int(run("ip", "-o", "link", "show", device).split(":")[0])
    run("ip", "link", "set", "u0", "address", format_mac(UNDERLAY_MAC))
    run("ip", "addr", "add", f"{format_ipv4(HOST)}/24", "dev", "u0")
    run("ip", "route", "add", "172.31.0.0/16", "via", format_ipv4(ROUTER))
    for address, mac in ((NEAR, NEAR_MAC), (ROUTER, ROUTER_MAC_UNDERLAY)):
        entry = (format_ipv4(address), "lladdr", format_mac(mac), "dev", "u0")
        run("ip", "neigh", "replace", *entry, "nud", "permanent")
    Path("/proc/sys/net/ipv4/conf/lo/forwarding").write_text("1")
    with load(directory, path=path, record_decisions=True, flow_limit=MOST_FLOWS) as programs:
        maps = PinnedMaps(directory)
        with contextlib.closing(maps), contextlib.closing(Twin(programs, maps, ifindexes)) as made:
            yield made
