"""Why a control node chose a route: every candidate path of a prefix, and what decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from filament.cli import local
from filament.cli.local import Answer
from filament.client.http import with_query

MOST_PREFIXES = 16  # each is a question of its own: more than a person reads
Record = dict[str, Any]


def explain(
    run_dir: Path, controls: Sequence[str], instance: str | None, prefixes: Iterable[str]
) -> list[Answer]:
    """Ask control nodes for every candidate path of some prefixes."""
    answers: list[Answer] = []
    for prefix in prefixes:
        query = {"prefix": prefix} | ({"instance": instance} if instance else {})
        target = with_query("/filament/routes", query)
        answers += local.ask(run_dir, "control", target, names=controls)
    return answers


def candidate_rows(answers: Sequence[Answer]) -> Iterator[Record]:
    """Yield one row per candidate path, the chosen ones marked; a prefix without any is a row."""
    for name, route in local.rows(answers, "routes"):
        place = {"host": name, "instance": route["instance"], "prefix": route["prefix"]}
        if not route["candidates"]:
            yield place | {"reason": "no path: neither published in it nor imported"}
        for path in route["candidates"]:
            yield place | {
                "chosen": "*" if path["chosen"] else "",
                "peer": path["peer"],
                "next_hop": path["next_hop"],
                "label": path["label"] or None,
                "preference": path["local_preference"],
                "from": path["source_instance"],
                "via": path["via"],
                "reason": path["reason"] + (", stale" if path["stale"] else ""),
                "source": path["origin"]["object"],
            }
