"""One host's agent over real maps and devices, with a control node that says what a test says."""

import errno
import os
import shutil
import subprocess
from contextlib import ExitStack

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from filament.agent.role import AgentProcess, forget_host
from filament.base.errors import InputError, TransientError
from filament.dataplane import bpf, netlink
from filament.dataplane.attach import Hook
from filament.dataplane.maps import PinnedMaps
from filament.forward.tables import Change
from filament.wire.xmpp.stanza import ConfigSent, RoutePublished, RouteRetracted, Sync, Synced

pytestmark = pytest.mark.bpf
CONTROL = "127.0.0.1:5269"


class Process:
    """An agent's process without its event loop; `kill` leaves what kill -9 would."""

    def __init__(self, place):
        self._opened = ExitStack()
        self.agent = AgentProcess(place, self._opened)
        self.host = self.agent.host
        self.host._send = lambda outbox: self.sent.extend(stanza for _, stanza in outbox)
        self.core = self.host.core
        self.sequence = 0
        self.sent = []
        self.heard = self.turn()

    def turn(self):
        self.sent.clear()
        self.host.turn()
        return list(self.sent)

    def say(self, *stanzas, revision=5, whole=False):
        """Let the control node say a batch; return what the agent answers."""
        for stanza in stanzas:
            self.core.receive(CONTROL, stanza)
        self.sequence += 1
        self.core.receive(CONTROL, Sync(self.sequence, revision, whole))
        return self.turn()

    def connect(self, *stanzas, whole=True):
        """Begin a session in which everything is told."""
        self.core.control_connected(CONTROL)
        self.heard = self.turn()
        self.say(*stanzas)
        self.say(whole=whole)

    def rows(self):
        return self.host.maps.read_planned()

    def kill(self):
        self._opened.close()


@pytest.fixture
def start(place):
    """Start processes of one agent; the last is killed in the end."""
    processes = []

    def start(*, saves_views=True, at=place):
        if processes:
            if saves_views:
                processes[-1].agent.save_views()
            processes.pop().kill()
        processes.append(Process(at))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()


def everything(script, *more):
    return (
        script.network(),
        script.port(),
        script.port(4, address="10.1.1.4"),
        script.routes(script.route("10.1.1.5/32")),
        *more,
    )


@pytest.fixture
def first(start, script):
    """An agent with ports 3 and 4 active and a remote route, everything told."""
    process = start()
    process.host.plug(script.plug(3))
    process.host.plug(script.plug(4))
    process.connect(script.network(), script.port(), script.port(4, address="10.1.1.4"))
    process.say(script.routes(script.route("10.1.1.5/32")))
    assert [one.state for one in process.core.ports()] == ["active", "active"]
    return process


def test_a_plugged_port_has_its_rows_and_its_program(first, script, place):
    rows = first.rows()
    assert len(rows["interfaces"]) == len(rows["labels"]) == 2
    assert {key[0] - 32 for key in rows["routes"]} == {24, 32}
    state = first.host.devices.state("tap3")
    assert (state.is_attached, state.link.is_up, state.problem) == (True, True, "")


def link_of(place, ifindex):
    """The pinned link at a device, as the kernel describes it; None without one."""
    path = place.pins / "links" / str(ifindex)
    if not path.exists():
        return None
    link = bpf.open_pinned(path)
    try:
        return bpf.tcx_link(link)
    finally:
        os.close(link)


def test_ports_get_their_links_when_there_is_time(first, start, place, script):
    devices = first.host.devices
    tap3, tap4 = (devices.state(name).link.ifindex for name in ("tap3", "tap4"))
    assert devices.provisional == [tap3, tap4]
    assert link_of(place, tap3) is None
    assert netlink.read_filter(tap3, 49152) is not None
    devices.settle(tap3)
    devices.settled(tap3)
    assert link_of(place, tap3).ifindex == tap3
    assert netlink.read_filter(tap3, 49152) is None
    # Unplugged while the other thread was at it: nothing stays behind.
    devices.settle(tap4)
    first.host.unplug(script.uuid(4))
    first.turn()
    devices.settle(tap4)
    devices.settled(tap4)
    assert link_of(place, tap4) is None
    assert netlink.read_filter(tap4, 49152) is None
    second = start()
    assert second.host.devices.provisional == []


def test_a_restarted_agent_changes_nothing_it_finds(first, start):
    before = first.rows()
    second = start()
    assert second.rows() == before
    assert not second.core.may_delete
    assert [one.state for one in second.core.ports()] == ["active", "active"]
    assert second.host.outcome[:2] == (0, 0)


def test_after_everything_was_told_again_the_rows_are_the_same(first, start, script):
    before = first.rows()
    second = start()
    second.connect(*everything(script))
    assert second.core.may_delete
    assert second.rows() == before


def test_without_views_on_disk_nothing_is_deleted_before_the_whole_was_told(
    first, start, script, place
):
    before = first.rows()
    (place.state / "views.json").unlink(missing_ok=True)
    second = start(saves_views=False)
    assert without_host(second.rows()) == without_host(before)
    second.core.control_connected(CONTROL)
    second.say(script.network())
    second.say(script.port(), script.port(4, address="10.1.1.4"))
    assert second.rows()["routes"] == before["routes"]
    second.say(script.routes(script.route("10.1.1.5/32")), whole=True)
    assert without_host(second.rows()) == without_host(before)


def without_host(rows):
    """The host's row counts policy generations, so it may move where nothing else does."""
    return {table: found for table, found in rows.items() if table != "host"}


def test_without_any_state_old_numbers_do_not_change_their_meaning(first, start, script, place):
    before = first.rows()
    shutil.rmtree(place.state)
    second = start(saves_views=False)
    second.host.plug(script.plug(4))
    second.core.control_connected(CONTROL)
    second.say(script.network("blue", "10.1.2.0/24", "10.1.2.1"))
    second.say(script.port(4, network="blue", address="10.1.2.4"))
    found = second.rows()
    assert before["routes"].items() <= found["routes"].items()
    old_vrfs = {key[1] for key in before["routes"]}
    assert {key[1] for key in found["routes"]} - old_vrfs == {max(old_vrfs) + 1}
    assert before["labels"].items() <= found["labels"].items()
    assert found["host"][0,][1] > before["host"][0,][1]
    second.say(revision=6, whole=True)
    assert not {key[1] for key in second.rows()["routes"]} & old_vrfs


def test_a_crash_between_numbers_and_rows(first, start, script, monkeypatch):
    """The numbers are on disk, the rows are not: the next process uses the same numbers."""
    first.host.unplug(script.uuid(4))
    first.turn()
    first.host.plug(script.plug(4))

    def die(_maps, _changes):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(PinnedMaps, "write", die)
        with pytest.raises(KeyboardInterrupt):
            first.turn()
    numbers = first.host.ids.export().numbers
    second = start()
    assert second.host.ids.export().numbers == numbers
    label = numbers["label"][script.uuid(4)]
    assert (label,) in second.rows()["labels"]
    assert second.rows()["interfaces"].keys() == {
        (second.host.devices.state(name).link.ifindex,) for name in ("tap3", "tap4")
    }


def test_a_crash_between_plug_and_rows(first, start, script, place):
    ports = place.state / "ports"
    posted = ports / script.uuid(4)
    content = posted.read_bytes()
    first.host.unplug(script.uuid(4))
    first.turn()
    posted.write_bytes(content)  # as if it had been plugged again the moment before
    second = start()
    assert [one.state for one in second.core.ports()] == ["active", "active"]
    assert len(second.rows()["interfaces"]) == 2


def test_a_port_unplugged_while_the_agent_was_dead(first, start, script, place):
    ifindex = first.host.devices.state("tap4").link.ifindex
    (place.state / "ports" / script.uuid(4)).unlink()
    second = start()
    assert (ifindex,) in second.rows()["interfaces"]
    second.connect(*everything(script))
    assert (ifindex,) not in second.rows()["interfaces"]
    assert not (place.pins / "links" / str(ifindex)).exists()


def test_unplugging_takes_rows_and_program(first, script, place):
    ifindex = first.host.devices.state("tap4").link.ifindex
    assert first.host.unplug(script.uuid(4))
    assert not first.host.unplug(script.uuid(4))
    heard = first.turn()
    assert [one for one in heard if isinstance(one, RouteRetracted)]
    assert (ifindex,) not in first.rows()["interfaces"]
    assert not (place.pins / "links" / str(ifindex)).exists()
    assert not (place.state / "ports" / script.uuid(4)).exists()


def test_a_device_that_goes_and_comes_back_as_another(first):
    old = first.host.devices.state("tap3").link.ifindex
    subprocess.run(["ip", "link", "del", "tap3"], check=True)
    assert [one for one in first.turn() if isinstance(one, RouteRetracted)]
    assert (old,) not in first.rows()["interfaces"]
    assert first.core.ports()[0].state == "waiting for the device tap3"
    subprocess.run(["ip", "link", "add", "tap3", "type", "veth", "peer", "name", "x"], check=True)
    assert [one for one in first.turn() if isinstance(one, RoutePublished)]
    new = first.host.devices.state("tap3")
    assert new.link.ifindex != old
    assert (new.link.ifindex,) in first.rows()["interfaces"]
    assert new.problem == (
        "its MTU of 1500 with 32 bytes of tunnel header exceeds the 1500 of eth0; "
        "set 1468 on both ends"
    )


def test_a_device_may_come_after_its_plug(start, script):
    process = start()
    subprocess.run(["ip", "link", "del", "tap3"], check=True)
    process.host.plug(script.plug(3))
    process.connect(script.network(), script.port())
    assert process.core.ports()[0].state == "waiting for the device tap3"
    subprocess.run(["ip", "link", "add", "tap3", "type", "veth", "peer", "name", "x"], check=True)
    process.turn()
    assert process.core.ports()[0].state == "active"


def test_devices_that_cannot_be_a_ports(first, script):
    with pytest.raises(InputError, match=r"eth0 is the underlay of this host; give a tap"):
        first.host.plug(script.plug(5, device="eth0"))
    with pytest.raises(InputError, match=f"port {script.uuid(3)} is plugged in tap3; unplug it"):
        first.host.plug(script.plug(5, device="tap3"))
    assert len(first.core.ports()) == 2


def test_plugging_again_in_another_device_moves_the_port(first, script, place):
    old = first.host.devices.state("tap3").link.ifindex
    subprocess.run(["ip", "link", "add", "tap9", "type", "veth", "peer", "name", "x"], check=True)
    first.host.plug(script.plug(3, device="tap9"))
    first.turn()
    new = first.host.devices.state("tap9").link.ifindex
    assert (new,) in first.rows()["interfaces"]
    assert (old,) not in first.rows()["interfaces"]
    assert not (place.pins / "links" / str(old)).exists()


def test_a_row_that_fails_is_shown_tried_again_and_not_published(first, script, monkeypatch):
    write = PinnedMaps.write

    def refuse(maps, changes):
        changes = list(changes)
        if any(one.table == "labels" and one.values is not None for one in changes):
            raise bpf.KernelError("write to", "table labels", errno.E2BIG)
        write(maps, changes)

    first.host.unplug(script.uuid(4))
    first.turn()
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(PinnedMaps, "write", refuse)
        first.host.plug(script.plug(4))
        assert not [one for one in first.turn() if isinstance(one, RoutePublished)]
    assert "row-failed" in [one["event"] for one in logs]
    assert first.core.ports()[1].state == "waiting for the data plane"
    assert first.host.has_problems
    first.host.try_again()
    assert [one for one in first.turn() if isinstance(one, RoutePublished)]
    assert not first.host.has_problems


def test_numbers_that_cannot_be_kept_are_not_used(first, script, monkeypatch):
    before = first.rows()
    with monkeypatch.context() as patched:
        patched.setattr("filament.agent.state._replace", _no_space)
        with pytest.raises(TransientError, match="No space left on device"):
            first.host.plug(script.plug(5))
        assert len(first.core.ports()) == 2
        # Not even a policy's new number gets into the kernel.
        answers = first.say(script.acl([]), revision=6)
    assert not [one for one in answers if isinstance(one, Synced)]
    assert first.rows() == before
    assert "cannot write" in first.host.problem
    first.host.try_again()
    assert [one for one in first.turn() if isinstance(one, Synced)]
    assert len(first.rows()["lists"]) == 1


def _no_space(path, content):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_others_changed_in_the_kernel_is_found_and_repaired(first, place):
    before = first.rows()
    victim = next(iter(before["routes"]))
    first.host.maps.write([Change("routes", victim, None)])
    ifindex = first.host.devices.state("tap3").link.ifindex
    first.host.devices.settle(ifindex)
    link = bpf.open_pinned(place.pins / "links" / str(ifindex))
    bpf.detach(link)
    os.close(link)
    with capture_logs() as logs:
        assert first.host.audited(first.rows(), first.host.reconciler.mark) == 1
    assert [one["event"] for one in logs if one["log_level"] == "warning"] == ["rows-drifted"]
    first.turn()
    assert first.rows() == before
    assert netlink.read_filter(ifindex, 49152) is not None


def test_the_same_without_tcx(start, script, place):
    old = replace(place, hook=Hook.CLSACT)
    process = start(at=old)
    process.host.plug(script.plug(3))
    process.connect(script.network(), script.port())
    before = process.rows()
    second = start(at=old)
    assert second.rows() == before
    assert second.core.ports()[0].state == "active"
    assert second.host.devices.hook == "clsact"


def test_forgetting_a_host_leaves_nothing_and_starting_again_works(first, start, script, place):
    first.kill()
    for _ in range(2):
        forget_host(place.pins)
    assert not place.pins.exists()
    second = start()
    assert [one.state for one in second.core.ports()] == ["active", "active"]
    second.connect(*everything(script))
    assert len(second.rows()["interfaces"]) == 2


def test_a_deleted_network_takes_its_ports_and_rows(first, script):
    deleted = (("virtual-network", "default-domain:demo:red"),)
    answers = first.say(ConfigSent(deleted_nodes=deleted), revision=7)
    assert [one for one in answers if isinstance(one, RouteRetracted)]
    rows = first.rows()
    assert rows["interfaces"] == rows["routes"] == rows["labels"] == {}


def test_a_port_that_was_never_configured_leaves_its_device_too(start, script):
    process = start()
    process.host.plug(script.plug(3))
    process.turn()
    ifindex = process.host.devices.state("tap3").link.ifindex
    assert netlink.read_filter(ifindex, 49152) is not None
    process.host.unplug(script.uuid(3))
    process.turn()
    assert netlink.read_filter(ifindex, 49152) is None
