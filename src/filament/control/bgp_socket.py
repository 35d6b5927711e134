"""TCP for BGP: listening, connecting from our own address, and TCP_MD5SIG (RFC 2385)."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable

from filament.base.errors import TransientError
from filament.base.net import Address
from filament.runtime.log import logger

_TCP_MD5SIG = 14  # linux/tcp.h; the socket module does not name it
_MAX_KEY_BYTES = 80
# struct tcp_md5sig: an address in 128 bytes, flags, prefix length, key length, interface, key.
_MD5SIG = struct.Struct(f"=128sBBHi{_MAX_KEY_BYTES}s")
_BACKLOG = 128

_log = logger("bgp")

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


class BgpListener:
    """Listens for peers on some addresses, by one port at a time."""

    def __init__(
        self,
        addresses: tuple[Address, ...],
        accept: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None],
    ) -> None:
        self.port = 0  # 0: not listening
        self._addresses = addresses
        self._accept = accept
        self._servers: list[asyncio.Server] = []
        self._sockets: list[socket.socket] = []
        self._keys: dict[Address, str] = {}

    async def listen(self, port: int) -> None:
        """Listen by `port`, 0 for not at all. Raises `TransientError`."""
        if port == self.port:
            return
        await self.close()
        try:
            for address in self._addresses if port else ():
                listener = open_listener(address, port)
                self._sockets.append(listener)
                self._servers.append(await asyncio.start_server(self._accept, sock=listener))
                _log.info("bgp-listening", address=str(address), port=port)
        except TransientError:
            await self.close()
            raise
        self.port = port

    def sign(self, keys: dict[Address, str]) -> None:
        """Have the kernel demand these peers' TCP MD5 signatures. Raises `TransientError`."""
        for address in self._keys | keys:
            key = keys.get(address, "")
            if self._keys.get(address, "") == key:
                continue
            for listener in self._sockets:
                if (listener.family == socket.AF_INET6) is (address.version == 6):
                    set_md5(listener, address, key)
        self._keys = dict(keys)

    async def close(self) -> None:
        """Listen no more."""
        servers, self._servers, self._sockets = self._servers, [], []
        self.port, self._keys = 0, {}
        for server in servers:
            server.close()
            await server.wait_closed()


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
