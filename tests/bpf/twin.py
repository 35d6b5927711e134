"""One set of tables in the kernel and in the model, fed the same packets."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from filament.base.net import format_ipv4, format_mac, parse_ipv4
from filament.dataplane import bpf
from filament.dataplane.load import Programs, load
from filament.dataplane.maps import PinnedMaps
from filament.dataplane.ring import SampleRing
from filament.forward.layout import SAMPLE_HEAD_BYTES, DropReason, Verdict
from filament.forward.model import Model, Result, UnderlayPath
from filament.forward.tables import Change, Tables

from .kernel import run

HOST = parse_ipv4("172.30.0.1")
NEAR = parse_ipv4("172.30.0.2")  # on the underlay's link, its MAC known
SILENT = parse_ipv4("172.30.0.3")  # on the link, its MAC not known
FAR = parse_ipv4("172.31.0.9")  # behind a router of the underlay
NOWHERE = parse_ipv4("203.0.113.1")  # no route
ROUTER = parse_ipv4("172.30.0.254")
NEAR_MAC = 0x021700000002
ROUTER_MAC_UNDERLAY = 0x0217000000FE
UNDERLAY_MAC = 0x021700000001
UNDERLAY_MTU = 1600
PORT_COUNT = 4


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
    """The pair. Devices p0.. are ports, u0 the underlay; all in the caller's namespace."""

    def __init__(self, programs: Programs, maps: PinnedMaps, ifindexes: dict[str, int]) -> None:
        self.programs = programs
        self.maps = maps
        self.ports = [ifindexes[f"p{index}"] for index in range(PORT_COUNT)]
        self.underlay_ifindex = ifindexes["u0"]
        far = UnderlayPath(self.underlay_ifindex, UNDERLAY_MAC, ROUTER_MAC_UNDERLAY, UNDERLAY_MTU)
        self.underlay = {
            NEAR: UnderlayPath(self.underlay_ifindex, UNDERLAY_MAC, NEAR_MAC, UNDERLAY_MTU),
            SILENT: UnderlayPath(self.underlay_ifindex, UNDERLAY_MAC, None, UNDERLAY_MTU),
            FAR: far,
        }
        self._ring = SampleRing(maps.directory)
        self.model = self._fresh_model()

    def close(self) -> None:
        self._ring.close()

    def _fresh_model(self) -> Model:
        return Model(None, time.monotonic, self.underlay)

    def reset(self) -> None:
        """Empty the kernel's tables and the model."""
        for name in ("flows", "drops", "vrf_drops", "fragments", "claims"):
            self.maps.clear(name)
        changes = [
            Change(name, key, None)
            for name, rows in self.model.read_planned().items()
            for key in rows
        ]
        changes += [
            Change(name, (vif,), None)
            for name in ("counters", "flows_entered", "flows_swept")
            for vif in {0, *self.model.counters, *self.model.entered_flows()}
        ]
        self.maps.write(changes)
        self.model = self._fresh_model()

    def write(self, tables: Tables) -> None:
        """Bring both to `tables`."""
        former = self.model.read_planned()
        self.maps.write(
            [
                Change(name, key, row.values)
                for name, rows in tables.rows.items()
                if name in former
                for key, row in rows.items()
                if former[name].get(key) != row.values
            ]
            + [
                Change(name, key, None)
                for name, rows in former.items()
                for key in rows.keys() - tables.rows[name].keys()
            ]
        )
        self.model.replace(tables)

    def write_rows(self, changes: list[Change]) -> None:
        """Write single rows to both, as broken tables would have them."""
        self.maps.write(changes)
        self.model.write(changes)

    def in_kernel(self, program: str, frame: bytes, *, ifindex: int = 0, gso_size: int = 0) -> Seen:
        self.maps.clear("decisions")
        ran = bpf.run(self.programs[program], frame, ifindex=ifindex, gso_size=gso_size)
        verdict, reason, next_hop, out = self.maps.read_decision()
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
        """Give the next packet a slice of time and a ring of its own."""
        self.maps.clear("samplings")
        while self._ring.read():
            pass
        self.model.shown.clear()

    def _agree(self, kernel: Seen, result: Result, frame: bytes, ifindex: int) -> Seen:
        model = _seen_by_model(result)
        trail = "\n".join(f"  {step.stage}: {step.text}" for step in result.trail)
        assert kernel == model, f"{frame.hex()}\n{trail}"
        self._compare_samples(ifindex, f"{frame.hex()}\n{trail}")
        return kernel

    def _compare_samples(self, ifindex: int, context: str) -> None:
        """Compare what both show of the last packet."""
        shown = self._ring.read()
        assert [(one.vif, one.vrf, one.reason) for one in shown] == list(self.model.shown), context
        assert {one.ifindex for one in shown} <= {ifindex}
        assert all(len(one.head) == min(one.length, SAMPLE_HEAD_BYTES) for one in shown)

    def compare_state(self) -> None:
        """Compare flows, claims, drops and counters."""
        kernel_claims = {key: values[0] for (key,), values in self.maps.read_all("claims").items()}
        model_claims = self.model.claims
        # In the order of time: which of them is the newest decides.
        assert sorted(kernel_claims, key=kernel_claims.__getitem__) == sorted(
            model_claims, key=model_claims.__getitem__
        )
        kernel_flows = {key: values[2:] for key, values in self.maps.read_all("flows").items()}
        model_flows = {tuple(key): values[2:] for key, values in self.model.flows().items()}
        assert kernel_flows == model_flows
        fragments = {key: values[1:] for key, values in self.maps.read_all("fragments").items()}
        assert fragments == {
            tuple(key): tuple(row[1:]) for key, row in self.model.fragments().items()
        }
        entered_flows = self.model.entered_flows()
        for vif in {*self.model.counters, *entered_flows}:
            entered = self.maps.read("flows_entered", (vif,)) or (0,)
            assert entered == (entered_flows.get(vif, 0),)
        assert self.maps.read_all("drops") == {
            key: (count,) for key, count in self.model.drops.items()
        }
        assert self.maps.read_all("vrf_drops") == {
            key: (count,) for key, count in self.model.vrf_drops.items()
        }
        counters = {(vif,): tuple(row) for vif, row in self.model.counters.items()}
        kernel_counters = {key: self.maps.read("counters", key) for key in counters}
        assert kernel_counters == counters


@contextlib.contextmanager
def twin(bpffs: Path) -> Iterator[Twin]:
    """Make the devices and load the programs."""
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
    with load(bpffs / "twin", record_decisions=True) as programs:
        maps = PinnedMaps(bpffs / "twin")
        with contextlib.closing(maps), contextlib.closing(Twin(programs, maps, ifindexes)) as made:
            yield made
