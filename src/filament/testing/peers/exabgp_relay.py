"""The helper ExaBGP runs: commands from a unix socket to ExaBGP, its JSON to a file.

Run by the system's Python as `exabgp_relay.py DIRECTORY`: imports nothing but the library.
A client of DIRECTORY/commands sends one line and gets ExaBGP's answer, `done` or `error`.
"""

import os
import selectors
import socket
import sys
from collections.abc import Iterator
from pathlib import Path


def lines(handle: int, pending: bytearray) -> Iterator[bytes]:
    """Whole lines that can be read now; ends the process when ExaBGP is gone."""
    try:
        # ExaBGP makes our standard input non-blocking.
        more = os.read(handle, 1 << 20)
    except BlockingIOError:
        return
    if not more:
        sys.exit(0)
    pending += more
    *whole, rest = pending.split(b"\n")
    pending[:] = rest
    yield from map(bytes, whole)


def main() -> None:
    """Pass lines on until ExaBGP closes our standard input."""
    directory = Path(sys.argv[1])
    listener = socket.socket(socket.AF_UNIX)
    address = directory / "commands"
    address.unlink(missing_ok=True)
    listener.bind(str(address))
    listener.listen()
    waiting: list[socket.socket] = []
    pending = bytearray()
    poll = selectors.DefaultSelector()
    poll.register(0, selectors.EVENT_READ)
    poll.register(listener, selectors.EVENT_READ)
    with (directory / "messages").open("ab", buffering=0) as log:
        while True:
            for key, _ in poll.select():
                if key.fd == 0:
                    for line in lines(0, pending):
                        if line.startswith(b"{"):
                            log.write(line + b"\n")
                        elif waiting and line.strip():
                            client = waiting.pop(0)
                            client.sendall(line + b"\n")
                            client.close()
                else:
                    client, _ = listener.accept()
                    os.write(1, client.makefile("rb").readline())
                    waiting.append(client)


if __name__ == "__main__":
    main()
