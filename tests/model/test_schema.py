"""The registry against a digest of Tungsten Fabric's schema: kinds, parents, references, types."""

import json
from pathlib import Path

import msgspec
import pytest

from filament.model.body import convert_attribute, convert_body
from filament.model.kind import COMMON_PROPERTIES, TAG, field_of
from filament.model.kinds import KINDS
from filament.model.types_common import Part

SCHEMA = json.loads((Path(__file__).parent / "data" / "schema.json").read_text())
ROWS = SCHEMA["kinds"]
TYPES = SCHEMA["types"]
# On the wire, fields are called what TF's generated classes call them.
RENAMED = {("PortInfoType", "type"): "type_"}
SIMPLE = {"int": 1, "bool": True, "unsignedLong": 1, "unsignedShort": 1}


def test_the_kinds_are_those_of_the_schema():
    assert sorted(KINDS) == sorted(ROWS)
    assert len(KINDS) == 126


@pytest.mark.parametrize("name", ROWS)
def test_a_row_says_what_the_schema_says(name):
    kind, row = KINDS[name], ROWS[name]
    assert list(kind.parents) == row["parents"]
    assert {target: attr is not None for target, attr in kind.references.items()} == {
        **row["references"],
        TAG: False,
    }
    assert kind.properties.keys() == COMMON_PROPERTIES.keys() | row["properties"].keys()
    if name != "config-root":  # below it, the schema lists only some that may stand alone
        assert sorted(kind.children) == row["children"]
    backs = {field.removesuffix("_back_refs") for field in kind.back_references}
    if name in row["references"] or name == TAG:  # symmetric, so without a back side
        backs.add(kind.field)
    assert sorted(backs) == row["back"]
    derived = {f"{field_of(child)}s" for child in kind.derived_children}
    derived |= {each.field for each in KINDS.values() if name in each.derived_references}
    assert sorted(derived) == row["derived"]


@pytest.mark.parametrize("name", ROWS)
def test_list_and_map_properties_name_their_wrappers(name):
    kind, row = KINDS[name], ROWS[name]["properties"]
    wrapped = {field: next(iter(TYPES[one["type"]])) for field, one in row.items() if len(one) > 1
               and ("list" in one or "map" in one)}  # fmt: skip
    assert kind.list_properties == {
        field: wrapped[field] for field, one in row.items() if "list" in one
    }
    assert kind.map_properties == {
        "annotations": ("key_value_pair", "key"),
        **{field: (wrapped[field], one["map"]) for field, one in row.items() if "map" in one},
    }


@pytest.mark.parametrize("name", ROWS)
def test_properties_and_attributes_take_what_their_schema_types_take(name):
    kind = KINDS[name]
    for field, one in ROWS[name]["properties"].items():
        value = example(one)
        assert convert_body(kind, {field: value}).props == {field: value}
    for target, has_attribute in ROWS[name]["references"].items():
        assert has_attribute == (kind.references[target] is not None)
        attribute = kind.references[target]
        if attribute is not None:
            assert issubclass(attribute, Part)
            fields = {one.encode_name for one in msgspec.structs.fields(attribute)}
            known = {frozenset(fields) == frozenset(each) for each in TYPES.values()}
            assert True in known, attribute
            assert convert_attribute(kind, target, {}) is None


@pytest.mark.parametrize("name", ROWS)
def test_values_outside_the_schema_are_refused(name):
    kind = KINDS[name]
    for field, one in ROWS[name]["properties"].items():
        if field == "security_group_id":
            continue
        for bad in wrong(one):
            with pytest.raises(Exception, match=rf"\.{field}|not allowed|`int"):
                convert_body(kind, {field: bad})


def example(one):
    """A value of a type, whole, as the digest describes it."""
    if one["type"] in TYPES:
        fields = TYPES[one["type"]].items()
        return {
            RENAMED.get((one["type"], field), field): [example(each)]
            if "list" in each
            else example(each)
            for field, each in fields
        }
    if "values" in one:
        return one["values"][-1]
    if "range" in one:
        return one["range"][-1]
    return SIMPLE.get(one["type"], "1")


def wrong(one):
    if one["type"] in TYPES:
        return [{"no_such_field": 1}, "text"]
    if "values" in one:
        return ["no-such-value", 1]
    if "range" in one:
        return [one["range"][0] - 1, one["range"][1] + 1, "1"]
    return [{"a": 1}]
