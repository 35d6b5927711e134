"""`filament verify` on a real lab: no false alarm, every fault found by name, and mended."""

import copy
import json
import threading
import time

import pytest

from filament.cli.main import run
from filament.cli.session import Session
from filament.cli.witnesses import gather
from filament.client import http
from filament.dataplane.maps import PinnedMaps
from filament.doctor.verify import Evidence, differences, lasting
from filament.forward.layout import ACL_DENY, ACL_PASS, TABLE_BY_NAME
from filament.forward.tables import Change
from filament.testing.lab.intent import DOMAIN, PROJECT
from filament.testing.lab.probes import Probe

pytestmark = pytest.mark.lab
ATTEMPTS = 3


def verify(lab, capsys, *options):
    """Return the exit code and the answer of `filament verify --json`."""
    capsys.readouterr()
    code = run(["--run-dir", str(lab.directories.run), "verify", "--json", *options])
    answer = json.loads(capsys.readouterr().out)
    assert code == (1 if answer["differences"] else 0)
    return answer


def found_after(lab, capsys, break_it, least=1):
    """Break something and return the differences. An agent looks at its rows every half minute
    and may be quicker than we are: then it is broken again.
    """
    for _ in range(ATTEMPTS):
        break_it()
        found = verify(lab, capsys)["differences"]
        if len(found) >= least:
            break
    return found


def until_it_answers(lab):
    """Wait for an agent that cannot connect to anybody."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return lab.ask("agent-host1", "/filament/status")
        except http.NoAnswerError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def mended(lab, capsys, break_it):
    """Break something and have it repaired."""
    for _ in range(ATTEMPTS):
        break_it()
        answer = verify(lab, capsys, "--repair")
        assert answer["differences"] == []
        if answer["repairs"]:
            break
    assert len(answer["repairs"]) == 1


@pytest.fixture
def maps(lab):
    with PinnedMaps(lab.directories.bpffs / "filament" / "host1" / "maps") as opened:
        yield opened


@pytest.fixture(autouse=True)
def healthy(lab, capsys):
    """A lab in which nothing differs, before and after."""
    yield
    verify(lab, capsys, "--repair")
    assert verify(lab, capsys)["differences"] == []


def test_a_healthy_lab_differs_in_nothing(lab, capsys):
    assert verify(lab, capsys) == {"differences": [], "repairs": []}


@pytest.fixture(scope="module")
def evidence(lab):
    """What everybody says while all is well."""
    session = Session(str(lab.directories.run), None)
    try:
        return gather(session)
    finally:
        session.close()


def of_control(evidence):
    return evidence.controls["ctl1"]


def told(evidence):
    return evidence.told["ctl1", "host1"]


def view(evidence):
    return evidence.agents["host1"]["views"][0]


def drop_object(evidence):
    uuid = next(u for u, (k, _, _) in of_control(evidence)["objects"].items() if k == "project")
    del of_control(evidence)["objects"][uuid]


def change_object(evidence):
    next(iter(of_control(evidence)["objects"].values()))[2] = "0" * 16


def add_object(evidence):
    of_control(evidence)["objects"]["1"] = ["project", "d:p", "0" * 16]


def drop_route(instances):
    next(one for one in instances if one["items"])["items"].pop()


FAULTS = [
    (drop_object, "configuration", "it lacks the API's, of revision "),
    (change_object, "configuration", "it holds another than the API's of revision "),
    (add_object, "configuration", "it holds one that the API does not have"),
    (
        lambda e: of_control(e).update(revision=1),
        "configuration",
        "it is at revision 1, the API at ",
    ),
    (
        lambda e: of_control(e)["instances"].popitem(),
        "plan",
        "it lacks one that follows from the API's configuration",
    ),
    (lambda e: of_control(e)["targets"].popitem(), "rib", "it has no table for the instance"),
    (
        lambda e: next(iter(of_control(e)["targets"].values())).update(imports=["target:1:1"]),
        "rib",
        "it imports and exports ",
    ),
    (lambda e: of_control(e).update(problem="table x differs"), "rib", "table x differs"),
    (lambda e: told(e)["nodes"].pop(), "told", "it told host1 nothing of it"),
    (lambda e: told(e)["links"].pop(), "told", "it told host1 nothing of it"),
    (lambda e: view(e)["nodes"].pop(), "agent", "of what ctl1 told it holds nothing of it"),
    (
        lambda e: drop_route(view(e)["instances"]),
        "agent",
        "of what ctl1 told it holds nothing of it",
    ),
    (
        lambda e: drop_route(told(e)["instances"]),
        "agent",
        "of what ctl1 told it holds of it, and should not",
    ),
    (lambda e: told(e)["published"].pop(), "agent", "ctl1 lacks what it publishes"),
    (
        lambda e: e.agents["host1"]["published"].pop(),
        "agent",
        "ctl1 has what it does not publish",
    ),
    (lambda e: e.agents["host1"].update(problem="no labels left"), "rows", "no labels left"),
    (
        lambda e: e.agents["host1"]["devices"].append({"device": "tap1", "problem": "gone"}),
        "kernel",
        "gone",
    ),
    (lambda e: e.agents.update(host1="no answer"), "answers", "no answer"),
]


@pytest.mark.parametrize(("inject", "layer", "text"), FAULTS)
def test_a_fault_in_what_anybody_holds_is_found_by_name(evidence, inject, layer, text):
    """As in evidence: faults that no user can inject into a process from outside."""
    assert differences(evidence) == []
    broken = Evidence(evidence.content, *copy.deepcopy(evidence[1:]))
    inject(broken)
    found = [one for one in differences(broken) if one.layer == layer]
    assert any(one.text.startswith(text) for one in found), differences(broken)
    assert lasting([differences(broken), differences(evidence), differences(broken)]) == []


def test_a_configuration_that_contradicts_itself_is_found(evidence):
    objects = [one for one in evidence.content.objects if one.kind != "project"]
    broken = evidence._replace(content=evidence.content._replace(objects=objects))
    assert "intent" in {one.layer for one in differences(broken)}


def test_a_busy_lab_raises_no_false_alarm(lab, capsys):
    """Networks, policies and packets come and go all the while."""
    client, stop = lab.intent.client, threading.Event()
    count = 0

    def work():
        nonlocal count
        while not stop.is_set():
            name = [DOMAIN, PROJECT, f"busy-{count % 5}"]
            uuid = client.create("virtual-network", name, parent_type="project")
            client.update("virtual-network", uuid, display_name=f"busy {count}")
            client.delete("virtual-network", uuid)
            count += 1

    worker = threading.Thread(target=work)
    worker.start()
    try:
        with Probe(lab, "red-1", "red-2"):
            answers = [verify(lab, capsys) for _ in range(5)]
    finally:
        stop.set()
        worker.join()
    assert [answer["differences"] for answer in answers] == [[]] * 5
    assert count > 10


def row_of(maps, table, **wanted):
    """Return the key and the values of the first row with these fields."""
    fields = [one.name for one in TABLE_BY_NAME[table].value if not one.type.startswith("pad")]
    for key, values in maps.read_all(table).items():
        if wanted.items() <= dict(zip(fields, values, strict=True)).items():
            return key, values
    raise AssertionError(f"no row of {table} has {wanted}")


@pytest.mark.parametrize("table", ["routes", "labels", "next_hops", "interfaces"])
def test_a_deleted_row_is_found_and_written_again(lab, capsys, maps, table):
    key, values = row_of(maps, table)

    def break_it():
        maps.write([Change(table, key, None)])

    [one] = found_after(lab, capsys, break_it)
    assert (one["layer"], one["where"], one["repairable"]) == ("kernel", "agent host1", True)
    assert one["what"].startswith(f"{table} ")
    assert "the kernel has no such row (of " in one["text"]
    mended(lab, capsys, break_it)
    assert maps.read_all(table)[key] == values


def test_a_changed_label_is_found_and_written_again(lab, capsys, maps):
    key, values = row_of(maps, "routes", label=16)

    def break_it():
        maps.write([Change("routes", key, (values[0], 17, *values[2:]))])

    [one] = found_after(lab, capsys, break_it)
    assert one["what"].startswith("routes 10.1.")
    assert "the kernel has label 17, the agent wants 16 (of " in one["text"]
    mended(lab, capsys, break_it)
    assert maps.read_all("routes")[key] == values


def test_a_row_too_many_is_found_and_deleted(lab, capsys, maps):
    key, values = row_of(maps, "routes", label=16)
    extra = (key[0], key[1], key[2] + 100)

    def break_it():
        maps.write([Change("routes", extra, values)])

    [one] = found_after(lab, capsys, break_it)
    assert one["text"] == "the kernel has a row that nobody asks for"
    mended(lab, capsys, break_it)
    assert extra not in maps.read_all("routes")


def test_flows_that_the_rules_forbid_or_whose_port_is_gone_are_found_and_deleted(lab, capsys, maps):
    assert lab.run("red-1", ["ping", "-nqc1", "10.1.1.4"]).returncode == 0
    key, values = row_of(maps, "flows", action=ACL_PASS)
    fields = [one.name for one in TABLE_BY_NAME["flows"].value if not one.type.startswith("pad")]
    action = fields.index("action")
    wrong = (*values[:action], ACL_DENY, *values[action + 1 :])
    maps.write([Change("flows", key, wrong), Change("flows", (4000, *key[1:]), values)])
    texts = sorted(one["text"] for one in verify(lab, capsys)["differences"])
    assert texts == [
        "it is dropped, and the rules of its generation say otherwise",
        "its port is not here",
    ]
    swept = maps.read("flows_swept", (key[0],)) or (0,)
    assert verify(lab, capsys, "--repair")["differences"] == []
    assert maps.read("flows", (4000, *key[1:])) is None
    # As for the sweeper: what is taken out is in no port's limit any more.
    assert maps.read("flows_swept", (key[0],)) > swept
    assert maps.read("flows_swept", (4000,)) is None


def test_a_silent_process_is_named_and_the_others_are_compared(lab, capsys, maps):
    key, _ = row_of(maps, "routes", label=16)
    lab.kill("control")
    try:
        layers = {
            (one["layer"], one["where"])
            for one in found_after(
                lab, capsys, lambda: maps.write([Change("routes", key, None)]), least=2
            )
        }
        assert layers == {("answers", "control ctl1"), ("kernel", "agent host1")}
    finally:
        lab.restart("control")
        lab.wait_for("control")
        lab.wait_plugged()


def test_nothing_is_repaired_before_the_view_is_complete(lab, capsys, maps):
    """An agent that no control node has told everything keeps what may be somebody's."""
    lab.kill("control")
    try:
        lab.kill("agent-host1")
        lab.restart("agent-host1")
        until_it_answers(lab)
        key, _ = row_of(maps, "routes", label=16)
        for _ in range(ATTEMPTS):
            maps.write([Change("routes", key, None)])
            answer = verify(lab, capsys, "--repair")
            if answer["repairs"]:
                break
        assert any("has not heard everything" in text for text in answer["repairs"])
    finally:
        lab.restart("control")
        lab.wait_for("control")
        lab.wait_plugged()
