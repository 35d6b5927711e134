"""The devices of plugged ports: watched, brought up, and given the program that carries them.

A device may appear after its port was plugged, vanish, and come back as another one of the same
name. It counts as found only while the program is attached: without it, packets of a workload
would enter the host's own stack.
"""

from __future__ import annotations

from typing import NamedTuple

from filament.agent.core import AgentCore, Device
from filament.base.errors import FilamentError
from filament.dataplane.attach import Attachments
from filament.dataplane.netlink import Link, Links, set_up
from filament.forward.layout import MPLS_OVERHEAD
from filament.runtime.log import logger

_log = logger("agent.devices")


class DeviceState(NamedTuple):
    """A device for people; `link` is None while it is absent, `problem` says what is wrong."""

    name: str
    link: Link | None
    is_attached: bool
    problem: str


class Devices:
    """The devices of one host's ports and its underlay. Owned by one task.

    `port_program` and `fabric_program` are descriptors of loaded programs, the caller's.
    """

    def __init__(
        self,
        core: AgentCore,
        links: Links,
        attachments: Attachments,
        *,
        port_program: int,
        fabric_program: int,
        underlay: str,
    ) -> None:
        self.underlay = underlay
        self._core = core
        self._links = links
        self._attachments = attachments
        self._port_program = port_program
        self._fabric_program = fabric_program
        self._wanted: set[str] = set()
        self._attached: dict[str, int] = {}
        self._problems: dict[str, str] = {}
        self._leaving: set[int] = set()
        self._provisional: set[int] = set()
        self._refresh(underlay)

    @property
    def hook(self) -> str:
        """How programs are attached: `tcx` or `clsact`."""
        return self._attachments.hook.value

    @property
    def has_problems(self) -> bool:
        """Whether something should be tried again."""
        return bool(self._problems)

    def want(self, name: str) -> None:
        """A port was plugged in this device."""
        self._wanted.add(name)
        self._links.read()
        self._refresh(name)

    def release(self, name: str) -> None:
        """No port is plugged in this device any more; see `detach_released`."""
        self._wanted.discard(name)
        self._problems.pop(name, None)
        ifindex = self._attached.pop(name, None)
        if ifindex is not None:
            self._leaving.add(ifindex)
        self._core.device_gone(name)

    def detach_released(self) -> None:
        """Take the program off released devices: call once their rows are gone."""
        for ifindex in self._leaving - set(self._attached.values()):
            try:
                self._attachments.forget(ifindex)
            except FilamentError as error:
                _log.warning("detach-failed", ifindex=ifindex, reason=str(error))
        self._leaving.clear()

    def follow(self) -> None:
        """Take in what the kernel says about devices."""
        for name in self._links.read() & {*self._wanted, self.underlay}:
            self._refresh(name)

    def ensure_all(self) -> None:
        """Attach everywhere again, also where somebody took our program off."""
        self._links.read()
        self._attached.clear()
        for name in (self.underlay, *sorted(self._wanted)):
            self._refresh(name)

    @property
    def provisional(self) -> list[int]:
        """Devices (ifindex) whose program runs by a filter, and should by a link."""
        self._provisional &= set(self._attached.values())
        return sorted(self._provisional)

    def settle(self, ifindex: int) -> None:
        """Replace a device's filter by a link. Slow: to be called from another thread."""
        self._attachments.ensure(ifindex, self._port_program)

    def settled(self, ifindex: int) -> None:
        """Take note that `settle` has returned; the device may have been released meanwhile."""
        self._provisional.discard(ifindex)
        if ifindex not in self._attached.values():
            self._attachments.forget(ifindex)

    def forget_strangers(self) -> None:
        """Detach from devices that an earlier process left attached and no port is plugged in.

        Filters of kernels without tcx are not listed anywhere; those go with their devices.
        """
        for ifindex in self._attachments.attached() - set(self._attached.values()):
            self._attachments.forget(ifindex)

    def try_again(self) -> None:
        """Try again what failed."""
        for name in list(self._problems):
            self._refresh(name)

    def state(self, name: str) -> DeviceState:
        """Return a device for people."""
        link = self._links.named(name)
        problem = self._problems.get(name) or self._mtu_problem(link)
        return DeviceState(name, link, name in self._attached, problem)

    def _refresh(self, name: str) -> None:
        """Make one device ready, or say that it is not."""
        link = self._links.named(name)
        if link is None:
            self._attached.pop(name, None)
            self._problems.pop(name, None)
            self._core.device_gone(name)
            return
        is_underlay = name == self.underlay
        if self._attached.get(name) != link.ifindex:
            try:
                if is_underlay:
                    self._attachments.ensure(link.ifindex, self._fabric_program)
                elif not self._attachments.ensure_soon(link.ifindex, self._port_program):
                    self._provisional.add(link.ifindex)
                if not link.is_up and not is_underlay:
                    set_up(name)
            except FilamentError as error:
                if self._problems.get(name) != str(error):
                    _log.warning("attach-failed", device=name, reason=str(error))
                self._problems[name] = str(error)
                self._attached.pop(name, None)
                self._core.device_gone(name)
                return
            self._attached[name] = link.ifindex
            self._problems.pop(name, None)
            _log.info("program-attached", device=name, ifindex=link.ifindex)
        if not is_underlay:
            self._core.device_found(Device(name, link.ifindex, link.is_veth))

    def _mtu_problem(self, link: Link | None) -> str:
        underlay = self._links.named(self.underlay)
        if underlay is None or link is None or link.name == self.underlay:
            return ""
        fits = underlay.mtu_bytes - MPLS_OVERHEAD
        if link.mtu_bytes <= fits:
            return ""
        return (
            f"its MTU of {link.mtu_bytes} with {MPLS_OVERHEAD} bytes of tunnel header exceeds "
            f"the {underlay.mtu_bytes} of {self.underlay}; set {fits} on both ends"
        )
