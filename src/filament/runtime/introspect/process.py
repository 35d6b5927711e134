"""The requests that every role answers alike: state, UVEs, load, traces."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from filament import __version__
from filament.base.errors import InputError
from filament.runtime.clock import now, wall
from filament.runtime.introspect.serve import Answer, Messages, answer_with
from filament.wire.sandesh.query import Query
from filament.wire.sandesh.text import format_time
from filament.wire.sandesh.xml import Message, Values

LISTS = frozenset({"SandeshUVECacheReq"})
_SHOWN_TRACES = 1000
_STARTED_AT = wall()

# An observation's type: the message that carries it, and what there is of it now.
Observations = Mapping[str, tuple[str, Callable[[], Iterable[Values]]]]
Traces = Mapping[str, Callable[[], Sequence[str]]]


def process_answers(
    module: str,
    name: str,
    connections: Callable[[], list[Values]],
    uves: Observations,
    traces: Traces,
) -> dict[str, Answer]:
    """Return the answers to the common requests.

    `module` is TF's name of the daemon, `connections` says what it should be connected to (as
    ConnectionInfo), each trace returns its lines, oldest first.
    """

    def node_status() -> Iterable[Values]:
        return [_node_status(module, name, connections())]

    known: Observations = {"NodeStatus": ("NodeStatusUVE", node_status), **uves}
    return {
        "SandeshUVECacheReq": lambda query: _observed(query, known),
        "SandeshUVETypesReq": lambda _: answer_with(
            "SandeshUVETypesResp", {"type_info": [{"type_name": one} for one in known]}
        ),
        "CpuLoadInfoReq": lambda _: answer_with("CpuLoadInfoResp", {"cpu_info": _load()}),
        "SandeshTraceRequest": lambda query: _traced(query, traces),
        "SandeshTraceBufferListRequest": lambda _: answer_with(
            "SandeshTraceBufferListResponse",
            {"trace_buffer_list": [{"trace_buf_name": one} for one in traces]},
        ),
    }


def _node_status(module: str, name: str, connections: list[Values]) -> Values:
    down = [one for one in connections if one["status"] != "Up"]
    said = ", ".join(
        f"{one['type']}{':' if one['name'] else ''}{one['name']} connection down" for one in down
    )
    return {
        "name": name,
        "process_status": [
            {
                "module_id": module,
                "instance_id": "0",
                "state": "Non-Functional" if down else "Functional",
                "connection_infos": connections,
                "description": said,
            }
        ],
        "process_info": [
            {
                "process_name": module,
                "process_state": "PROCESS_STATE_RUNNING",
                "start_count": 1,
                "last_start_time": format_time(_STARTED_AT),
            }
        ],
        "build_info": f"Filament {__version__}",
    }


def _observed(query: Query, known: Observations) -> Messages:
    """Answer with every observation of a type; of a type that nobody observes there are none."""
    message, observe = known.get(str(query.get("tname", "")), ("", list))
    key = query.get("key")
    count = 0
    for values in observe():
        if key is None or values["name"] == key:
            count += 1
            yield Message(message, {"data": values})
    yield Message("SandeshUVECacheResp", {"returned": count})


def _traced(query: Query, traces: Traces) -> Messages:
    asked = str(query.get("buf_name", ""))
    if asked not in traces:
        raise InputError(
            "unknown-trace",
            f"there is no trace buffer {asked!r:.64}",
            hint=f"there are {', '.join(traces)}",
        )
    count = min(int(query.get("count", _SHOWN_TRACES)), _SHOWN_TRACES)
    lines = traces[asked]()
    return answer_with("SandeshTraceTextResponse", {"traces": lines[-count:] if count > 0 else []})


def _load() -> Values:
    """Load and memory, kB, from /proc."""
    process = _kilobytes(Path("/proc/self/status"))
    machine = _kilobytes(Path("/proc/meminfo"))
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpus = os.cpu_count() or 1
    alive_s = max(now() - _STARTED_NOW, 1e-3)
    loads = os.getloadavg()
    return {
        "num_cpu": cpus,
        "sys_mem_info": {
            "total": machine.get("MemTotal", 0),
            "used": machine.get("MemTotal", 0) - machine.get("MemFree", 0),
            "free": machine.get("MemFree", 0),
            "buffers": machine.get("Buffers", 0),
            "cached": machine.get("Cached", 0),
        },
        "meminfo": {
            "virt": process.get("VmSize", 0),
            "peakvirt": process.get("VmPeak", 0),
            "res": process.get("VmRSS", 0),
        },
        "cpuload": {
            "one_min_avg": round(loads[0], 2),
            "five_min_avg": round(loads[1], 2),
            "fifteen_min_avg": round(loads[2], 2),
        },
        # Of all processors, in percent, since the start.
        "cpu_share": round(100 * (used.ru_utime + used.ru_stime) / alive_s / cpus, 2),
    }


_STARTED_NOW = now()


def _kilobytes(path: Path) -> dict[str, int]:
    """Read the `Name:  123 kB` lines of a file of /proc."""
    found = {}
    for line in path.read_text().splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB":
            found[name] = int(words[0])
    return found
