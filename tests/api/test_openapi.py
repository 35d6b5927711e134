"""The OpenAPI document: valid, complete, and true under random requests."""

import copy
import json
import os
import re
import time

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode

from filament.api.catalog import CATALOG
from filament.api.openapi import document
from filament.model.kinds import KINDS

from .served import ServedApi
from .test_http import raw

SEED = 20_261_120
# Those with addresses, rules, numbers and symmetric references: where the engine does most.
KINDS_TO_FUZZ_MORE = (
    "virtual-network",
    "virtual-machine-interface",
    "instance-ip",
    "network-policy",
    "security-group",
    "project",
)
EXAMPLES = int(os.environ.get("FILAMENT_FUZZ_EXAMPLES", "4"))  # per operation and mode
# Of the other kinds each operation with a body gets one, and one in five of those without: they
# differ by kind in the body only. Which mode, alternates.
EXAMPLES_OF_OTHERS = max(1, EXAMPLES // 5)
PARTS = 10  # so that no test is long
WITHOUT_BODY = 1 if EXAMPLES > 5 else 5
HANG_S = 30.0


def some_kinds(names):
    """The document with all actions and the routes of some kinds."""
    page = copy.deepcopy(document("http://localhost"))
    others = {kind.name for kind in KINDS.values()} - set(names)
    page["paths"] = {
        path: item
        for path, item in page["paths"].items()
        if not any(operation["tags"][0] in others for operation in item.values())
    }
    return page


def test_the_document_is_openapi():
    errors = list(OpenAPIV31SpecValidator(some_kinds(["virtual-network"])).iter_errors())
    assert errors == []


def test_the_document_is_served_and_whole(api):
    status, headers, text = raw(api, "GET", "/openapi.json")
    page = json.loads(text)
    assert (status, headers.get_content_type()) == (200, "application/json")
    assert page["servers"] == [{"url": api.url}]
    routes = {(path, method.upper()) for path, item in page["paths"].items() for method in item}
    assert routes >= {(entry.path, entry.method) for entry in CATALOG}
    for kind in KINDS.values():
        if kind.parents:
            assert (f"/{kind.collection}", "POST") in routes
            assert (f"/{kind.name}/{{uuid}}", "DELETE") in routes
    names = [one["operationId"] for item in page["paths"].values() for one in item.values()]
    assert len(names) == len(set(names))
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert named <= page["components"]["schemas"].keys()


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    with ServedApi(tmp_path_factory.mktemp("fuzz")) as served:
        yield served


def operations(names):
    page = some_kinds(names)
    # A stream does not end, and a barrier may be asked to take five minutes: they have their tests.
    page["paths"].pop("/watch")
    for item in page["paths"].values():
        for operation in item.values():
            operation["parameters"] = [
                one for one in operation["parameters"] if one["name"] not in {"wait", "timeout_s"}
            ]
    schema = schemathesis.openapi.from_dict(page)
    return [one.ok() for one in schema.get_all_operations()]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_breaks_or_hangs_the_api(fuzzed, mode):
    """Seeded, so that a failure can be had again."""
    counts = {}
    with requests.Session() as session:
        for operation in operations(KINDS_TO_FUZZ_MORE):
            fuzz(fuzzed, session, operation, mode, counts, EXAMPLES)
    assert sum(counts.values()) > 200
    assert counts.get(200)
    assert counts.get(400)


@pytest.mark.parametrize("part", range(PARTS))
def test_no_request_about_any_other_kind_breaks_or_hangs_the_api(fuzzed, part):
    others = sorted({kind.name for kind in KINDS.values()} - {*KINDS_TO_FUZZ_MORE})[part::PARTS]
    counts = {}
    asked = set()
    bodiless = number = 0
    with requests.Session() as session:
        for operation in operations(others):
            kind = operation.definition.raw["tags"][0]
            if kind not in others:
                continue
            # Counted apart: a kind has three, so that lists, reads and deletes take turns.
            if "requestBody" not in operation.definition.raw:
                bodiless += 1
                if bodiless % WITHOUT_BODY:
                    continue
            mode = list(GenerationMode)[number % 2]
            fuzz(fuzzed, session, operation, mode, counts, EXAMPLES_OF_OTHERS)
            asked.add(kind)
            number += 1
    assert sorted(asked) == others
    assert counts.get(200)


def fuzz(fuzzed, session, operation, mode, counts, examples):
    raw_operation = operation.definition.raw
    if mode is GenerationMode.NEGATIVE and not (
        raw_operation["parameters"] or "requestBody" in raw_operation
    ):
        return  # nothing to get wrong

    @seed(SEED)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case):
        begun = time.monotonic()
        response = case.call(base_url=fuzzed.url, session=session, timeout=HANG_S)
        counts[response.status_code] = counts.get(response.status_code, 0) + 1
        said = (operation.label, case.path_parameters, case.query, case.body, response.text)
        assert response.status_code < 500, said
        assert time.monotonic() - begun < HANG_S, said

    ask()
