"""The neutral witness: tcpdump writes down what passes, tshark says what is wrong with it."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from filament.base.errors import PermanentError
from filament.testing.lab import namespaces

# BGP, MPLS over UDP, VXLAN. Never "any": what does not concern us is nobody's to keep.
OURS = "tcp port 179 or udp port 6635 or udp port 4789 or proto gre"
# tshark's own words: what does not decode, and what an expert of its calls an error.
ERROR = 8388608
COMPLAINTS = f"_ws.malformed || _ws.expert.severity >= {ERROR}"
_TSHARK = ("tshark", "-n", "-o", "tcp.check_checksum:FALSE", "-o", "ip.check_checksum:FALSE")
_TIMEOUT_S = 60.0


class Packet(NamedTuple):
    """What tshark makes of a packet: protocols inside, the worst remark of its experts."""

    protocols: frozenset[str]
    severity: int
    is_malformed: bool


class Capture:
    """Packets of one device in one namespace, for as long as the block."""

    def __init__(self, place: Path, device: str, path: Path, what: str = OURS) -> None:
        self.path = path
        self._place, self._device, self._what = place, device, what
        self._packets: list[Packet] | None = None

    def __enter__(self) -> Self:
        argv = ["tcpdump", "-n", "-s0", "-U", "--immediate-mode", "-Zroot", "-B16384"]
        with namespaces.inside(self._place):
            self._process = subprocess.Popen(
                [*argv, "-i", self._device, "-w", str(self.path), self._what],
                stderr=subprocess.PIPE,
                text=True,
            )
        assert self._process.stderr is not None
        said = ""
        while "listening on" not in said:
            said = self._process.stderr.readline()
            if not said:
                raise PermanentError(f"tcpdump does not start: {self._process.wait()}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the capture; what came before is in the file."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        _, said = self._process.communicate(timeout=_TIMEOUT_S)
        if " 0 packets dropped by kernel" not in f" {said.replace(chr(10), ' ')}":
            raise PermanentError(f"the capture has holes: {said}")

    def packets(self) -> list[Packet]:
        """Every packet as tshark sees it; the capture must have been stopped."""
        if self._packets is None:
            names = ("frame.protocols", "_ws.expert.severity", "_ws.malformed")
            self._packets = [
                Packet(
                    frozenset(protocols.split(":")),
                    max((int(each) for each in severities.split(",") if each), default=0),
                    bool(malformed),
                )
                for protocols, severities, malformed in self.fields("frame", *names)
            ]
        return self._packets

    def count(self, *protocols: str) -> int:
        """How many packets have all these protocols inside."""
        return sum(packet.protocols.issuperset(protocols) for packet in self.packets())

    def lines(self, query: str) -> list[str]:
        """One line per packet that matches a display filter."""
        return _run([*_TSHARK, "-r", str(self.path), "-Y", query]).splitlines()

    def fields(self, query: str, *names: str) -> list[list[str]]:
        """Values of fields of the packets that match."""
        wanted = [word for name in names for word in ("-e", name)]
        argv = [*_TSHARK, "-r", str(self.path), "-Y", query, "-T", "fields", *wanted]
        return [line.split("\t") for line in _run(argv).splitlines()]

    def streams(self) -> list[bytes]:
        """The bytes of every BGP connection, one way each."""
        numbers = sorted({int(found[0]) for found in self.fields("bgp", "tcp.stream")})
        wanted = [word for number in numbers for word in ("-z", f"follow,tcp,raw,{number}")]
        if not wanted:
            return []
        found: list[bytes] = []
        for section in _run([*_TSHARK, "-q", "-r", str(self.path), *wanted]).split("Node 1: ")[1:]:
            ways = [bytearray(), bytearray()]
            for line in section.splitlines()[1:]:
                if line.startswith("="):
                    break
                ways[line.startswith("\t")] += bytes.fromhex(line.strip())
            found += map(bytes, ways)
        return found

    def require_clean(self) -> None:
        """Raise AssertionError with what tshark complains of, or when nothing was captured."""
        if not self.count("bgp"):
            raise AssertionError(f"no BGP in {self.path}: nothing was checked")
        bad = [each for each in self.packets() if each.is_malformed or each.severity >= ERROR]
        if bad:
            complaints = self.lines(COMPLAINTS)
            detail = _run(
                [*_TSHARK, "-r", str(self.path), "-Y", COMPLAINTS, "-V", "-O", "bgp,vxlan,mpls"]
            )
            raise AssertionError(
                f"tshark complains of {len(bad)} packets:\n"
                + "\n".join(complaints[:10])
                + "\n"
                + detail[:6000]
            )


def _run(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        raise PermanentError(f"{' '.join(argv)} failed: {done.stderr.strip()}")
    return done.stdout
