"""64-byte UDP packets per second and TCP round-trip time, with qperf.

Packet rate: sender on one processor, receiver on another. Round trip: both on one, because
between two it is mostly the scheduler that is measured. Bulk TCP is left out on purpose: over
veth it saturates the endpoints and ranks nobody.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Sequence

from bench.peers import Peer

MESSAGE_BYTES = 64
_VALUE = re.compile(r"^\s+(\w+)\s+=\s+([\d.]+) (\S*)", re.MULTILINE)


def measure(
    peers: Sequence[Peer], *, repetitions: int, seconds: int, say: Callable[[str], None]
) -> dict[str, tuple[list[float], list[float]]]:
    """Return packets/s received and round-trip microseconds, `repetitions` of each, by peer."""
    samples: dict[str, tuple[list[float], list[float]]] = {peer.name: ([], []) for peer in peers}
    for repetition in range(repetitions):
        for peer in peers:
            rates, trips = samples[peer.name]
            rate = _qperf(peer, "udp_bw", seconds, client_cpu=0, server_cpu=1)
            rates.append(rate["recv_bw"] / MESSAGE_BYTES)
            # qperf's latency is one way, half the round trip.
            trip = _qperf(peer, "tcp_lat", seconds, client_cpu=0, server_cpu=0)
            trips.append(trip["latency"] * 2 / 1000)
            say(
                f"  {repetition + 1}/{repetitions} {peer.name:<10} {rates[-1]:>9.0f} packets/s"
                f" {trips[-1]:>7.1f} us"
            )
    return samples


def _qperf(
    peer: Peer, test: str, seconds: int, *, client_cpu: int, server_cpu: int
) -> dict[str, float]:
    """Run one test; values in bytes/s, ns and counts."""
    server = peer.popen(peer.server, ["taskset", "-c", str(server_cpu), "qperf"])
    try:
        for attempt in range(50):
            argv = ["taskset", "-c", str(client_cpu), "qperf", "-t", str(seconds), "-uu", "-v"]
            argv += ["-m", str(MESSAGE_BYTES), peer.address, test]
            client = peer.popen(peer.client, argv)
            text, _ = client.communicate(timeout=seconds + 20)
            if client.returncode == 0:
                return {name: float(value) for name, value, _ in _VALUE.findall(text)}
            # The server may not listen yet.
            time.sleep(0.02 * (attempt + 1))
        raise RuntimeError(f"qperf {test} over {peer.name} failed: {text.strip()}")
    finally:
        server.terminate()
        try:
            server.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.communicate()
