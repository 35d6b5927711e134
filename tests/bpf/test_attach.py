import ctypes
import os
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from filament.base.errors import TransientError
from filament.dataplane import bpf, netlink
from filament.dataplane.attach import (
    Attachments,
    Hook,
    forget_filters,
    forget_pins,
    probe_hook,
)
from filament.dataplane.netlink import Links

pytestmark = pytest.mark.bpf
_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
PASS, DROP = 0, 2


def call(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def add_veth(options=""):
    script = f"link add near {options} type veth peer name far\nlink set near up\nlink set far up\n"
    subprocess.run(["ip", "-batch", "-"], input=script, text=True, check=True)


@pytest.fixture
def pins(tmp_path):
    """An agent's directory in a BPF file system of its own."""
    place = tmp_path / "bpffs"
    place.mkdir()
    subprocess.run(["mount", "-t", "bpf", "none", place], check=True)
    yield place / "filament" / "host1"
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def wire():
    """Two ends of a veth in a network namespace of its own, both up: (near ifindex, far name)."""
    with Path("/proc/thread-self/ns/net").open("rb") as home:
        call(_libc.unshare(CLONE_NEWNET))
        try:
            add_veth()
            yield socket.if_nametoindex("near"), "far"
        finally:
            call(_libc.setns(home.fileno(), CLONE_NEWNET))


@pytest.fixture
def program():
    """Load programs that return one number."""
    opened = []

    def load(verdict):
        code = struct.pack("=BBhi", 0xB7, 0, 0, verdict) + struct.pack("=BBhi", 0x95, 0, 0, 0)
        instructions = ctypes.create_string_buffer(code)
        licence = ctypes.create_string_buffer(b"GPL")
        attributes = struct.pack(
            "=IIQQ", 3, 2, ctypes.addressof(instructions), ctypes.addressof(licence)
        ) + bytes(96)
        opened.append(bpf._require(bpf._try(5, attributes), "load", "a test program"))
        return opened[-1]

    yield load
    for descriptor in opened:
        os.close(descriptor)


@pytest.fixture(params=[Hook.TCX, Hook.CLSACT])
def hook(request):
    return request.param


def arrives(ifindex, far):
    """Say whether a frame from the far end passes the near end's ingress."""
    kind = 0x88B5  # for experiments
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender,
        # A cooked socket bound to a protocol hears frames only after the ingress programs.
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as listener,
    ):
        listener.bind(("near", kind))
        listener.settimeout(0.05)
        sender.bind((far, 0))
        sender.send(b"\xff" * 6 + bytes(6) + struct.pack("!H", kind) + bytes(46))
        try:
            listener.recv(100)
        except TimeoutError:
            return False
        return True


def test_probing_leaves_nothing_and_finds_tcx(program, wire):
    assert probe_hook(program(PASS)) is Hook.TCX


def test_a_program_runs_is_replaced_and_forgotten(hook, pins, program, wire):
    attachments = Attachments(pins, hook)
    ifindex, far = wire
    attachments.ensure(ifindex, program(DROP))
    assert not arrives(ifindex, far)
    attachments.ensure(ifindex, program(PASS))
    assert arrives(ifindex, far)
    attachments.ensure(ifindex, program(DROP))
    assert not arrives(ifindex, far)
    attachments.forget(ifindex)
    assert arrives(ifindex, far)
    attachments.forget(ifindex)


def test_a_new_process_adopts_what_runs(hook, pins, program, wire):
    ifindex, far = wire
    drop = program(DROP)
    Attachments(pins, hook).ensure(ifindex, drop)
    before = running(hook, pins, ifindex)
    again = Attachments(pins, hook)
    again.ensure(ifindex, drop)
    assert running(hook, pins, ifindex) == before
    other = program(PASS)
    again.ensure(ifindex, other)
    assert arrives(ifindex, far)
    assert running(hook, pins, ifindex)[1] == bpf.program(other).id


def running(hook, pins, ifindex):
    """The link's id (0 for filters, which have none) and the program behind it."""
    if hook is Hook.CLSACT:
        return 0, netlink.read_filter(ifindex, 49152).program_id
    link = bpf.open_pinned(pins / "links" / str(ifindex))
    try:
        return bpf.tcx_link(link)[:2]
    finally:
        os.close(link)


def test_an_ifindex_used_again_is_another_device(pins, program, wire):
    ifindex, _ = wire
    attachments = Attachments(pins, Hook.TCX)
    attachments.ensure(ifindex, program(DROP))
    subprocess.run(["ip", "link", "del", "near"], check=True)
    add_veth(f"index {ifindex}")
    assert attachments.attached() == set()
    assert arrives(ifindex, "far")
    attachments.ensure(ifindex, program(DROP))
    assert attachments.attached() == {ifindex}
    assert not arrives(ifindex, "far")


def test_a_stale_pin_is_replaced_without_being_asked_for(pins, program, wire):
    ifindex, _ = wire
    attachments = Attachments(pins, Hook.TCX)
    attachments.ensure(ifindex, program(DROP))
    subprocess.run(["ip", "link", "del", "near"], check=True)
    add_veth(f"index {ifindex}")
    attachments.ensure(ifindex, program(DROP))
    assert not arrives(ifindex, "far")


def test_a_device_that_is_gone_is_for_later(hook, pins, program, wire):
    with pytest.raises(TransientError, match="device 4711"):
        Attachments(pins, hook).ensure(4711, program(PASS))


def test_forgetting_everything_twice(hook, pins, program, wire):
    ifindex, far = wire
    Attachments(pins, hook).ensure(ifindex, program(DROP))
    assert not arrives(ifindex, far)
    for _ in range(2):
        forget_pins(pins)
        links = Links()
        forget_filters(links)
        links.close()
        assert not pins.exists()
        assert arrives(ifindex, far)


def test_ten_thousand_replacements_lose_nothing(hook, pins, program, wire):
    """The swap is atomic: with a dropping program replaced by another, nothing ever passes."""
    ifindex, far = wire
    attachments = Attachments(pins, hook)
    first, second = program(DROP), program(DROP)
    attachments.ensure(ifindex, first)
    kind = 0x88B5
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender,
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as listener,
    ):
        listener.bind(("near", kind))
        listener.setblocking(False)
        sender.bind((far, 0))
        frame = b"\xff" * 6 + bytes(6) + struct.pack("!H", kind) + bytes(46)
        until = time.monotonic() + 0.2
        while time.monotonic() < until:
            attachments.ensure(ifindex, second)
            sender.send(frame)
            attachments.ensure(ifindex, first)
            sender.send(frame)
        with pytest.raises(BlockingIOError):
            listener.recv(100)
