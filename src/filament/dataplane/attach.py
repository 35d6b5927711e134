"""Programs at the ingress of devices: pinned tcx links, or clsact filters where tcx is missing.

Both outlive the process that made them, so packets flow while an agent is dead, and both are
replaced atomically, so no packet passes between an old program and a new one. tcx needs Linux 6.6,
and making a link takes the kernel 10 ms and more (it waits for an RCU grace period, with the lock
of all network devices held), a filter 0.5 ms: `ensure_soon` starts with a filter where there is no
link yet, and `ensure` puts the link in front of it when nobody is waiting.
Links are pinned under PINS/links by ifindex (a BPF file system takes no dots, device names have
them). All of this happens in the network namespace of the calling thread.
"""

from __future__ import annotations

import enum
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filament.base.errors import TransientError
from filament.dataplane import bpf, netlink
from filament.dataplane.bpf import KernelError

# Ours among the filters of a device; others may have theirs before or behind it.
_FILTER_PRIORITY = 49152
_FILTER_NAME = "filament"
_NO_DEVICE = 0x7FFFFFFF


class Hook(enum.Enum):
    """How programs are attached."""

    TCX = "tcx"
    CLSACT = "clsact"


def probe_hook(program_descriptor: int) -> Hook:
    """Return the best way this kernel has, by attaching a program to a device that is not there."""
    try:
        os.close(bpf.attach_tcx(program_descriptor, _NO_DEVICE))
    except KernelError as error:
        return Hook.TCX if error.errno == errno.ENODEV else Hook.CLSACT
    return Hook.TCX


class Attachments:
    """The programs of one agent at its devices; holds no descriptors between calls.

    `pins` is the agent's directory in a BPF file system. Another `hook` than the probed one is for
    tests.
    """

    def __init__(self, pins: Path, hook: Hook) -> None:
        self.hook = hook
        self._links = pins / "links"
        self._links.mkdir(parents=True, exist_ok=True)

    def ensure(self, ifindex: int, program_descriptor: int) -> None:
        """Run a program at a device's ingress, in place of what an earlier agent left there.

        Raises TransientError when the kernel refuses: the device may just have gone.
        """
        with _about(ifindex):
            if self.hook is Hook.CLSACT:
                self._ensure_filter(ifindex, program_descriptor)
            elif not self._adopt(ifindex, program_descriptor):
                self._attach(ifindex, program_descriptor)
                # What passes the link meets the filter: nothing passes twice, or unseen.
                netlink.forget_filter(ifindex, _FILTER_PRIORITY)

    def ensure_soon(self, ifindex: int, program_descriptor: int) -> bool:
        """Run a program at a device's ingress at once; False: `ensure` it when there is time."""
        with _about(ifindex):
            if self.hook is Hook.TCX and self._adopt(ifindex, program_descriptor):
                return True
            self._ensure_filter(ifindex, program_descriptor)
        return self.hook is Hook.CLSACT

    def forget(self, ifindex: int) -> None:
        """Take our program off a device; nothing to do when it or the device is gone."""
        netlink.forget_filter(ifindex, _FILTER_PRIORITY)
        _forget_link(self._links / str(ifindex))

    def attached(self) -> set[int]:
        """Return the devices (ifindex) that an earlier or this process attached to by links.

        Links whose device is gone are unpinned on the way.
        """
        found = set()
        for path in sorted(self._links.iterdir()):
            with _opened(path) as link:
                ifindex = bpf.tcx_link(link).ifindex
            if ifindex == 0:
                path.unlink()
            else:
                found.add(ifindex)
        return found

    def _adopt(self, ifindex: int, program_descriptor: int) -> bool:
        """Take over a pinned link; False when there is none at this device."""
        path = self._links / str(ifindex)
        try:
            with _opened(path) as link:
                found = bpf.tcx_link(link)
                if found.ifindex == ifindex:
                    if found.program_id != bpf.program(program_descriptor).id:
                        bpf.replace_program(link, program_descriptor)
                    return True
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        path.unlink()  # of a device that is gone, whose ifindex was used again
        return False

    def _attach(self, ifindex: int, program_descriptor: int) -> None:
        """Make a link and pin it; a crash between the two leaves nothing."""
        link = bpf.attach_tcx(program_descriptor, ifindex)
        try:
            bpf.pin(link, self._links / str(ifindex))
        finally:
            os.close(link)

    def _ensure_filter(self, ifindex: int, program_descriptor: int) -> None:
        found = netlink.read_filter(ifindex, _FILTER_PRIORITY)
        if found is None or found.program_id != bpf.program(program_descriptor).id:
            netlink.ensure_filter(ifindex, program_descriptor, _FILTER_NAME, _FILTER_PRIORITY)


def forget_pins(pins: Path) -> None:
    """Remove everything an agent pinned, and with it what no process holds any more.

    Links are detached first, in whatever namespace their device is; filters only in this one.
    Nothing to do when there is nothing.
    """
    links = pins / "links"
    if links.is_dir():
        for path in sorted(links.iterdir()):
            _forget_link(path)
    for directory, _, files in os.walk(pins, topdown=False):
        for file in files:
            Path(directory, file).unlink(missing_ok=True)
        Path(directory).rmdir()


def forget_filters(links: netlink.Links) -> None:
    """Remove our filters from every device of this namespace."""
    for link in links.all():
        if netlink.read_filter(link.ifindex, _FILTER_PRIORITY) is not None:
            netlink.forget_filter(link.ifindex, _FILTER_PRIORITY)


def _forget_link(path: Path) -> None:
    try:
        with _opened(path) as link:
            if bpf.tcx_link(link).ifindex:
                bpf.detach(link)
    except KernelError as error:
        if error.errno not in (errno.ENOENT, errno.ENOLINK):
            raise
    path.unlink(missing_ok=True)


@contextmanager
def _about(ifindex: int) -> Iterator[None]:
    """Say of a kernel's refusal which device it was about."""
    try:
        yield
    except KernelError as error:
        raise TransientError(f"cannot attach to device {ifindex}: {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = bpf.open_pinned(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
