"""The model's answer and the kernel's, packet by packet: `filament trace --live`. Pure.

Packets are those of a walk. What a model cannot know is not compared: the MACs of the underlay and
the device that leads there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from filament.doctor.walk import Heard, HostFacts, tunnel_text
from filament.doctor.words import Names
from filament.forward.layout import DropReason, Verdict
from filament.wire.packet.ethernet import HEADER_BYTES


class KernelRuling(NamedTuple):
    """What a host's programs did with a packet; `ifindex` and `frame` are of what would leave."""

    verdict: int
    reason: str
    next_hop: int
    ifindex: int
    frame: bytes


class Compared(NamedTuple):
    """A packet on one host: both answers in words; `differences` are empty when they agree."""

    host: str
    packet: str
    model: str
    kernel: str
    differences: tuple[str, ...]


def requests_of(heard: Sequence[Heard]) -> dict[str, list[dict[str, Any]]]:
    """Return what to ask each host's agent to run, in the order of the walk."""
    asked: dict[str, list[dict[str, Any]]] = {}
    for one in heard:
        packet = {"program": one.program, "ifindex": one.ifindex, "frame": one.frame.hex()}
        asked.setdefault(one.host, []).append(packet)
    return asked


def ruling_of(answer: Mapping[str, Any]) -> KernelRuling:
    """Read one result of an agent."""
    return KernelRuling(
        answer["verdict"],
        answer["reason"],
        answer["next_hop"],
        answer["ifindex"],
        bytes.fromhex(answer["frame"]),
    )


def compare(
    heard: Sequence[Heard],
    rulings: Mapping[str, Sequence[KernelRuling]],
    hosts: Mapping[str, HostFacts],
) -> list[Compared]:
    """Compare what was walked with what each host's programs did, in order."""
    left = {host: iter(found) for host, found in rulings.items()}
    compared = []
    for one in heard:
        if one.host not in left:
            continue
        kernel = next(left[one.host])
        names = hosts[one.host].names
        compared.append(
            Compared(
                one.host,
                one.packet,
                model_text(one, names),
                kernel_text(kernel, names),
                tuple(_differences(one, kernel)),
            )
        )
    return compared


def _differences(one: Heard, kernel: KernelRuling) -> Iterator[str]:
    result = one.result
    if int(result.verdict) != kernel.verdict or result.reason.name != (kernel.reason or "NONE"):
        yield "verdict"
        return
    output = result.output
    if output is None:
        return
    if result.next_hop != kernel.next_hop:
        yield "next hop"
    if not output.is_to_fabric and output.ifindex != kernel.ifindex:
        yield "device"
    skipped = HEADER_BYTES if output.is_to_fabric else 0
    if output.frame[skipped:] != kernel.frame[skipped:]:
        yield "frame"


def model_text(one: Heard, names: Names) -> str:
    """Say what the model did with a packet."""
    output = one.result.output
    if output is None:
        return _dropped(one.result.reason.name)
    if output.is_to_fabric:
        return tunnel_text(output.frame, names)
    return f"to {names.port(output.ifindex)}"


def kernel_text(kernel: KernelRuling, names: Names) -> str:
    """Say the same of the kernel."""
    if kernel.verdict != Verdict.REDIRECT:
        return _dropped(kernel.reason)
    if kernel.ifindex in names.ports:
        return f"to {names.port(kernel.ifindex)}"
    return tunnel_text(kernel.frame, names)


def _dropped(reason: str) -> str:
    return f"dropped: {reason}" if reason not in ("", DropReason.NONE.name) else "left to the host"


def format_compared(compared: Sequence[Compared]) -> list[str]:
    """Lay both answers out side by side."""
    if not compared:
        return []
    titles = ("HOST", "PACKET", "MODEL", "KERNEL", "")
    rows = [
        (
            one.host,
            one.packet,
            one.model,
            one.kernel,
            f"<- differs: {', '.join(one.differences)}" if one.differences else "agrees",
        )
        for one in compared
    ]
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(4)]
    return [
        "  ".join(
            [*(text.ljust(width) for text, width in zip(row[:4], widths, strict=True)), row[4]]
        ).rstrip()
        for row in (titles, *rows)
    ]
