"""The examples of docs/policy.md, verbatim: what they say passes, passes."""

from __future__ import annotations

import json
import re
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from filament.forward.layout import DropReason
from filament.testing.intended import ICMP, TCP, UDP, Flow

from .simulated import Simulated
from .worlds import Probe, places

PAGE = Path(__file__).parents[2] / "docs" / "policy.md"


def examples() -> dict[str, tuple[Any, list[str]]]:
    """By heading: the JSON below it, and the rows of the table after that."""
    found = {}
    for section in PAGE.read_text().split("\n### ")[1:]:
        title, _, text = section.partition("\n")
        _, _, after = text.partition("```json\n")
        block, _, rest = after.partition("```\n")
        table = list(takewhile(lambda line: line.startswith("|"), rest.lstrip().splitlines()))
        found[title] = json.loads(block), table[2:]
    return found


EXAMPLES = examples()
ROW = re.compile(r"\| (\S+) \| (\S+) \| (\w+)(?: (\d+))? \| (passes|is denied|has no route) \|")
PROTOCOLS = {"tcp": TCP, "udp": UDP, "icmp": ICMP}


def test_no_example_is_passed_over():
    assert len(EXAMPLES) == PAGE.read_text().count("```json") > 5


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_does_what_its_table_says(title):
    transaction, table = EXAMPLES[title]
    simulated = Simulated(1)
    simulated.cluster.api.transact(transaction["operations"])
    simulated.cluster.settle()
    meant = simulated.intended()
    by_name = {place.machine: place for place in places()}
    assert table
    for line in table:
        row = ROW.fullmatch(line)
        assert row, f"not a row of who may talk: {line}"
        source, destination, protocol, port, outcome = row.groups()
        ends = by_name[source], by_name[destination]
        addresses = ends[0].addresses[0], ends[1].addresses[0]
        ports = (20000, int(port)) if port else (0, 0)
        icmp_type = 8 if protocol == "icmp" else 0
        flow = Flow(*addresses, PROTOCOLS[protocol], *ports, icmp_type=icmp_type)
        connects, fate = simulated.connects(Probe(*ends, flow))
        found = "passes" if connects else "is denied"
        found = "has no route" if fate.reason == DropReason.NO_ROUTE else found
        assert found == outcome, (source, destination, protocol, port, fate)
        judged = meant.judge(ends[0].port, ends[1].port, flow)
        assert judged.allowed == connects, judged
