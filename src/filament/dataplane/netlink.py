"""Links of this host's network namespace: which exist, news of them, and tc filters on them.

The only room that speaks netlink. `Links` keeps a table that is current whenever it is read: the
kernel queues its news before the call that made them returns, and reading drains the queue.
The few messages needed are written out here (rtnetlink(7), linux/pkt_cls.h): pyroute2's decoder
takes longer than all else that plugging a port does, and cannot be called from a running loop.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from filament.base.errors import PermanentError, TransientError

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_RTMGRP_LINK = 1
_IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 4, 18, 1
_ATTRIBUTE_TYPE = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_IFF_UP = 1
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFMTU = 0x8913, 0x8914, 0x8922
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # family, device type, index, flags, change mask
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_RECEIVE_BYTES = 1 << 18
_QUEUE_BYTES = 1 << 22

_RTM_NEWQDISC, _RTM_NEWTFILTER, _RTM_DELTFILTER, _RTM_GETTFILTER = 36, 44, 45, 46
_NLM_F_ACK, _NLM_F_EXCL, _NLM_F_CREATE = 0x4, 0x200, 0x400
_TC = struct.Struct("=BxxxiIII")  # family, device index, handle, parent, info
_CLSACT, _CLSACT_HANDLE, _CLSACT_INGRESS = 0xFFFFFFF1, 0xFFFF0000, 0xFFFFFFF2
_FILTER_HANDLE = 1
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_FD, _TCA_BPF_NAME, _TCA_BPF_FLAGS, _TCA_BPF_TAG, _TCA_BPF_ID = 6, 7, 8, 10, 11
_TCA_BPF_FLAG_ACT_DIRECT = 1
_ETH_P_ALL = 0x0003


class Link(NamedTuple):
    """A network device of this namespace."""

    name: str
    ifindex: int
    is_veth: bool
    is_up: bool
    mtu_bytes: int


class Links:
    """The devices of this namespace; one netlink socket, to be closed. Owned by one task."""

    def __init__(self) -> None:
        self._links: dict[int, Link] = {}
        self._ifindex_by_name: dict[str, int] = {}
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _QUEUE_BYTES)
        self._socket.bind((0, _RTMGRP_LINK))
        self._list_again()
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """The socket, readable when there is news."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop hearing of links."""
        self._socket.close()

    def read(self) -> set[str]:
        """Take in all news; return the names of devices that came, changed or went."""
        changed: set[str] = set()
        while True:
            try:
                received = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return changed
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                # News were lost: compare everything.
                before = dict(self._links)
                self._socket.setblocking(True)
                self._list_again()
                self._socket.setblocking(False)
                after = self._links
                changed |= {
                    link.name
                    for ifindex in before.keys() | after.keys()
                    for link in (before.get(ifindex), after.get(ifindex))
                    if link is not None and before.get(ifindex) != after.get(ifindex)
                }
                continue
            for kind, body in _messages(received):
                changed |= self._take(kind, body)

    def named(self, name: str) -> Link | None:
        """Return a device as of the last `read`."""
        ifindex = self._ifindex_by_name.get(name)
        return self._links.get(ifindex) if ifindex is not None else None

    def all(self) -> list[Link]:
        """Return all devices as of the last `read`."""
        return list(self._links.values())

    def _list_again(self) -> None:
        """Ask for all links; answers and news come over the same socket, in order."""
        every = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        flags = _NLM_F_REQUEST | _NLM_F_DUMP
        request = _HEADER.pack(_HEADER.size + len(every), _RTM_GETLINK, flags, 1, 0) + every
        is_complete = False
        while not is_complete:
            self._links.clear()
            self._ifindex_by_name.clear()
            self._socket.send(request)
            is_complete = self._take_list()

    def _take_list(self) -> bool:
        """Take messages up to the end of a list; False when news were lost meanwhile."""
        is_complete = True
        while True:
            try:
                received = self._socket.recv(_RECEIVE_BYTES)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                is_complete = False
                continue
            for kind, body in _messages(received):
                if kind == _NLMSG_DONE:
                    return is_complete
                if kind == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    raise TransientError(f"the kernel does not list links: {os.strerror(code)}")
                self._take(kind, body)

    def _take(self, kind: int, body: memoryview) -> set[str]:
        """Take one message; return the names it concerns."""
        if kind not in (_RTM_NEWLINK, _RTM_DELLINK) or len(body) < _LINK.size:
            return set()
        family, _, ifindex, flags, _ = _LINK.unpack_from(body)
        if family != socket.AF_UNSPEC:  # a bridge's port, not a link
            return set()
        before = self._links.pop(ifindex, None)
        names = set()
        if before is not None:
            names.add(before.name)
            if self._ifindex_by_name.get(before.name) == ifindex:
                del self._ifindex_by_name[before.name]
        if kind == _RTM_NEWLINK:
            link = _decode_link(ifindex, flags, body[_LINK.size :])
            self._links[ifindex] = link
            self._ifindex_by_name[link.name] = ifindex
            names.add(link.name)
            if link == before:
                return set()
        return names


def _decode_link(ifindex: int, flags: int, attributes: memoryview) -> Link:
    name, kind, mtu_bytes = "", "", 0
    for attribute, content in _attributes(attributes):
        if attribute == _IFLA_IFNAME:
            name = _text(content)
        elif attribute == _IFLA_MTU:
            mtu_bytes = struct.unpack_from("=I", content)[0]
        elif attribute == _IFLA_LINKINFO:
            kind = next(
                (_text(one) for key, one in _attributes(content) if key == _IFLA_INFO_KIND), ""
            )
    return Link(name, ifindex, kind == "veth", bool(flags & _IFF_UP), mtu_bytes)


def _messages(received: bytes) -> Iterator[tuple[int, memoryview]]:
    """Yield (type, body) of each message in a datagram."""
    view = memoryview(received)
    while len(view) >= _HEADER.size:
        length, kind, _, _, _ = _HEADER.unpack_from(view)
        if not _HEADER.size <= length <= len(view):
            return
        yield kind, view[_HEADER.size : length]
        view = view[(length + 3) & ~3 :]


def _attributes(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    while len(view) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(view)
        if not _ATTRIBUTE.size <= length <= len(view):
            return
        yield kind & _ATTRIBUTE_TYPE, view[_ATTRIBUTE.size : length]
        view = view[(length + 3) & ~3 :]


def _text(content: memoryview) -> str:
    return bytes(content).split(b"\0", 1)[0].decode(errors="replace")


def set_up(name: str) -> None:
    """Bring a device up; raises TransientError when that fails (it may just have gone)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", name.encode(), 0)
        try:
            (flags,) = struct.unpack_from("16xH", fcntl.ioctl(control, _SIOCGIFFLAGS, request))
            if not flags & _IFF_UP:
                fcntl.ioctl(
                    control, _SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), flags | _IFF_UP)
                )
        except OSError as error:
            raise TransientError(f"cannot bring {name} up: {error.strerror}") from error


def set_mtu(name: str, mtu_bytes: int) -> None:
    """Set a device's MTU; raises PermanentError when the device does not take it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCSIFMTU, struct.pack("16si12x", name.encode(), mtu_bytes))
        except OSError as error:
            raise PermanentError(
                f"cannot set the MTU of {name} to {mtu_bytes}: {error.strerror}"
            ) from error


class Filter(NamedTuple):
    """The direct-action BPF filter at a device's clsact ingress: its program's tag and id."""

    program_tag: bytes
    program_id: int


def ensure_filter(ifindex: int, program_fd: int, name: str, priority: int) -> None:
    """Put a program at a device's clsact ingress, atomically in place of an earlier one.

    Raises TransientError when the kernel refuses.
    """
    qdisc = _TC.pack(socket.AF_UNSPEC, ifindex, _CLSACT_HANDLE, _CLSACT, 0)
    error = _request(
        _RTM_NEWQDISC, _NLM_F_CREATE | _NLM_F_EXCL, qdisc + _attribute(_TCA_KIND, b"clsact\0")
    )
    if error not in (0, errno.EEXIST):
        raise TransientError(f"the kernel refuses clsact on device {ifindex}: {os.strerror(error)}")
    options = (
        _attribute(_TCA_BPF_FD, struct.pack("=I", program_fd))
        + _attribute(_TCA_BPF_NAME, name.encode() + b"\0")
        + _attribute(_TCA_BPF_FLAGS, struct.pack("=I", _TCA_BPF_FLAG_ACT_DIRECT))
    )
    body = (
        _filter_header(ifindex, priority)
        + _attribute(_TCA_KIND, b"bpf\0")
        + _attribute(_TCA_OPTIONS, options)
    )
    error = _request(_RTM_NEWTFILTER, _NLM_F_CREATE, body)
    if error:
        raise TransientError(
            f"the kernel refuses a tc filter on device {ifindex}: {os.strerror(error)}"
        )


def read_filter(ifindex: int, priority: int) -> Filter | None:
    """Return the filter that `ensure_filter` put there, None without one."""
    answers: list[memoryview] = []
    body = _filter_header(ifindex, priority) + _attribute(_TCA_KIND, b"bpf\0")
    if _request(_RTM_GETTFILTER, 0, body, answers):
        return None
    tag, number = b"", 0
    for answer in answers:
        for kind, content in _attributes(answer[_TC.size :]):
            if kind == _TCA_OPTIONS:
                options = dict(_attributes(content))
                tag = bytes(options.get(_TCA_BPF_TAG, b""))
                number = int.from_bytes(options.get(_TCA_BPF_ID, b""), sys.byteorder)
    return Filter(tag, number)


def forget_filter(ifindex: int, priority: int) -> None:
    """Remove the filter; without one, or without the device, there is nothing to do."""
    error = _request(_RTM_DELTFILTER, 0, _filter_header(ifindex, priority))
    if error not in (0, errno.ENOENT, errno.ENODEV, errno.EINVAL):
        raise TransientError(
            f"cannot remove the tc filter of device {ifindex}: {os.strerror(error)}"
        )


def _filter_header(ifindex: int, priority: int) -> bytes:
    info = priority << 16 | socket.htons(_ETH_P_ALL)
    return _TC.pack(socket.AF_UNSPEC, ifindex, _FILTER_HANDLE, _CLSACT_INGRESS, info)


def _attribute(kind: int, content: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(content)
    return _ATTRIBUTE.pack(length, kind) + content + bytes(-length % 4)


def _request(kind: int, flags: int, body: bytes, answers: list[memoryview] | None = None) -> int:
    """Send one request and return the errno it was answered with (0: done).

    Bodies of answers other than the acknowledgement are added to `answers`.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as requests:
        flags |= _NLM_F_REQUEST | _NLM_F_ACK
        requests.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)
        while True:
            for answered, content in _messages(requests.recv(_RECEIVE_BYTES)):
                if answered == _NLMSG_ERROR:
                    return -int(struct.unpack_from("=i", content)[0])
                if answers is not None:
                    answers.append(content)


def allow_route_lookups() -> None:
    """Let programs ask this namespace's routes where a tunnel goes.

    `bpf_fib_lookup` answers only for devices that forward; the programs ask in the name of the
    loopback device, where forwarding has no other effect. Raises PermanentError.
    """
    path = Path("/proc/sys/net/ipv4/conf/lo/forwarding")
    try:
        path.write_text("1")
    except OSError as error:
        raise PermanentError(f"cannot write {path}: {error.strerror}; run as root") from error
