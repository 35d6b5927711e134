"""TCP for BGP: listening, connecting from our own address, and TCP_MD5SIG (RFC 2385)."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct

from filament.base.errors import TransientError
from filament.base.net import Address

_TCP_MD5SIG = 14  # linux/tcp.h; the socket module does not name it
_MAX_KEY_BYTES = 80
# struct tcp_md5sig: an address in 128 bytes, flags, prefix length, key length, interface, key.
_MD5SIG = struct.Struct(f"=128sBBHi{_MAX_KEY_BYTES}s")
_BACKLOG = 128

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def _new_socket(version: int) -> socket.socket:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    # asyncio switches Nagle's algorithm off only where the protocol is named.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setblocking(False)
    return found


def open_listener(address: Address, port: int) -> socket.socket:
    """Bind and listen. Raises `TransientError` when the address is taken or not ours."""
    listener = _new_socket(address.version)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.version == 6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((str(address), port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise TransientError(
            f"cannot listen for BGP on {address} port {port}: {os.strerror(error.errno or 0)}"
        ) from error
    return listener


def set_md5(end: socket.socket, peer: Address, password: str) -> None:
    """Sign what goes to `peer` and refuse what comes unsigned; "" ends that.

    On a listener it holds for connections of that peer to come. Raises `TransientError`.
    """
    key = password.encode()[:_MAX_KEY_BYTES]
    octets = peer.value.to_bytes(4 if peer.version == 4 else 16, "big")
    family = socket.AF_INET if peer.version == 4 else socket.AF_INET6
    place = struct.pack("=H", family) + bytes(2)  # the port does not matter
    place += octets if peer.version == 4 else bytes(4) + octets
    option = _MD5SIG.pack(
        place.ljust(128, b"\0"), 0, 0, len(key), 0, key.ljust(_MAX_KEY_BYTES, b"\0")
    )
    try:
        end.setsockopt(socket.IPPROTO_TCP, _TCP_MD5SIG, option)
    except OSError as error:
        if not password and error.errno == errno.ENOENT:
            return  # there was none to end
        raise TransientError(
            f"cannot use TCP MD5 with {peer}: {os.strerror(error.errno or 0)}"
        ) from error


async def connect(peer: Address, port: int, local: Address, password: str) -> Streams:
    """Connect to a peer from our address. Raises `TransientError`; cancelling closes the socket."""
    end = _new_socket(peer.version)
    try:
        if password:
            set_md5(end, peer, password)
        if local.version == peer.version and local.value:
            end.bind((str(local), 0))
        await asyncio.get_running_loop().sock_connect(end, (str(peer), port))
        return await asyncio.open_connection(sock=end)
    except OSError as error:
        end.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise TransientError(f"cannot connect to {peer} port {port}: {reason}") from error
    except BaseException:
        end.close()
        raise
