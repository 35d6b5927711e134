"""The list of wrong lines is of lines that there are, and the oracle sees some at once."""

from __future__ import annotations

import pytest

from .mutants import MUTANTS, Mutant, read_mutants
from .mutate import try_mutant

AT_ONCE = (
    "is_answer = !is_forward(entry, is_from_port);",
    "== generation && flow->acl == port->acl &&",
    "asked->action = ACL_DENY; list =",
    "if (packet->ttl <= 1)",
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_each_changes_what_is_there(mutant: Mutant) -> None:
    assert mutant.text != mutant._replace(wrong=mutant.right).text


def test_a_change_of_what_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match=r"lib/flow\.h has 0 times what mutants\.txt wants to be"):
        _ = Mutant("lib/flow.h", "there is no such line", "").text


def test_white_space_does_not_count() -> None:
    (mutant,) = read_mutants(
        "== lib/count.h\n\n- counter->rx_packets++;\n- counter->rx_bytes\n+ x\n"
    )
    assert "\t\tx += bytes;" in mutant.text


@pytest.mark.parametrize("text", ["- a\n+ b", "== lib/flow.h\n\n- a", "== lib/flow.h\n\n+ a"])
def test_what_is_no_change_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a file nor a change"):
        list(read_mutants(text))


@pytest.mark.bpf
@pytest.mark.usefixtures("bpf_object")
@pytest.mark.parametrize("words", AT_ONCE)
def test_the_oracle_sees_wrong_lines(words: str) -> None:
    (mutant,) = [one for one in MUTANTS if words in str(one)]
    fate = try_mutant(mutant, most_cases=300)
    assert fate.word == "killed", fate.text
