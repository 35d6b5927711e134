"""Rendered objects: TF's shapes, stable uuids, and an index that follows the plan."""

from __future__ import annotations

import copy
import uuid

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filament.compiler.compile import Compiler, compile_plan
from filament.compiler.render import RENDERED_KINDS, Rendered, uuid_of
from filament.model.change import Object, Ref

from .test_compile import EDITS, stage
from .universe import Universe, address, rule

RED, BLUE = "default-domain:demo:red", "default-domain:demo:blue"
TARGETS = ("target:64512:8000000", "target:64512:8000001")


@pytest.fixture
def universe():
    made = Universe()
    made.network("red")
    made.network("blue")
    made.commit()
    return made


def test_the_worked_example_of_two_networks_and_a_policy(universe):
    universe.policy("talk", rule(RED, BLUE, protocol="tcp", destination_ports=[(80, 80)]))
    red = universe.network("red", ["talk"])
    universe.network("blue", ["talk"])
    universe.commit()
    rendered = Rendered(compile_plan(universe.snapshot))
    instance = rendered.named("routing-instance", ("default-domain", "demo", "red", "red"))
    assert instance == Object(
        kind="routing-instance",
        uuid=uuid_of("routing-instance", f"{RED}:red"),
        fq_name=("default-domain", "demo", "red", "red"),
        parent_kind="virtual-network",
        parent_uuid=red.uuid,
        props={"display_name": "red", "routing_instance_is_default": True},
        refs=(
            Ref("route-target", uuid_of("route-target", TARGETS[0]), {"import_export": None}),
            Ref("routing-instance", uuid_of("routing-instance", f"{BLUE}:blue"), {}),
        ),
        revision=2,
    )
    target = rendered.named("route-target", (TARGETS[0],))
    assert target == Object(
        kind="route-target",
        uuid=uuid_of("route-target", TARGETS[0]),
        fq_name=(TARGETS[0],),
        props={"display_name": TARGETS[0]},
        revision=2,
    )
    acl = rendered.named("access-control-list", ("default-domain", "demo", "red", "red"))
    assert (acl.parent_kind, acl.parent_uuid) == ("virtual-network", red.uuid)
    entries = acl.props["access_control_list_entries"]
    assert entries["dynamic"] is None
    assert [each["direction"] for each in entries["acl_rule"]] == ["<>", None, "<>", None]
    assert [each["action_list"]["simple_action"] for each in entries["acl_rule"]] == [
        "pass",
        "pass",
        "deny",
        "pass",
    ]
    assert entries["acl_rule"][0] == {
        "match_condition": {
            "protocol": "6",
            "src_address": address(RED),
            "src_port": {"start_port": 0, "end_port": 65535},
            "dst_address": address(BLUE),
            "dst_port": {"start_port": 80, "end_port": 80},
            "ethertype": None,
        },
        "action_list": {
            "simple_action": "pass",
            "gateway_name": None,
            "apply_service": [],
            "mirror_to": None,
            "assign_routing_instance": None,
            "log": False,
            "alert": False,
            "qos_action": None,
            "host_based_service": False,
        },
        "rule_uuid": "r1",
        "direction": "<>",
    }


def test_subnets_and_targets_of_one_direction(universe):
    universe.policy("talk", rule(address(RED, subnet="10.1.0.0/16"), address(subnet="10.0.0.0/8")))
    universe.network(
        "red",
        ["talk"],
        import_route_target_list={"route_target": ["target:1:1"]},
        export_route_target_list={"route_target": ["target:1:2"]},
    )
    universe.commit()
    rendered = Rendered(compile_plan(universe.snapshot))
    instance = rendered.named("routing-instance", ("default-domain", "demo", "red", "red"))
    directions = {ref.uuid: ref.attr["import_export"] for ref in instance.refs}
    assert directions == {
        uuid_of("route-target", "target:1:1"): "import",
        uuid_of("route-target", "target:1:2"): "export",
        uuid_of("route-target", TARGETS[0]): None,
    }
    acl = rendered.named("access-control-list", ("default-domain", "demo", "red", "red"))
    match = acl.props["access_control_list_entries"]["acl_rule"][0]["match_condition"]
    assert match["src_address"] == address(RED, subnet="10.1.0.0/16")
    assert match["dst_address"] == address(subnet="10.0.0.0/8")


def test_objects_by_uuid_kind_parent_and_reference(universe):
    universe.policy("talk", rule(RED, BLUE))
    red = universe.network("red", ["talk"], route_target_list={"route_target": [TARGETS[1]]})
    universe.network("blue", ["talk"])
    universe.commit()
    rendered = Rendered(compile_plan(universe.snapshot))
    by_kind = {kind: [each.name for each in rendered.of_kind(kind)] for kind in RENDERED_KINDS}
    assert by_kind == {
        "routing-instance": [f"{RED}:red", f"{BLUE}:blue"],
        "route-target": [TARGETS[1], TARGETS[0]],
        "access-control-list": [f"{RED}:red", f"{BLUE}:blue"],
    }
    for kind in RENDERED_KINDS:
        for each in rendered.of_kind(kind):
            assert rendered.get(each.uuid) == rendered.named(kind, each.fq_name) == each
    assert [each.name for each in rendered.children(red.uuid, "routing-instance")] == [f"{RED}:red"]
    shared = uuid_of("route-target", TARGETS[1])
    users = [each.name for each in rendered.referrers(shared, "routing-instance")]
    assert users == [f"{BLUE}:blue", f"{RED}:red"]
    instance = uuid_of("routing-instance", f"{RED}:red")
    leaks = [each.name for each in rendered.referrers(instance, "routing-instance")]
    assert leaks == [f"{BLUE}:blue"]


@given(st.text(), st.text())
def test_uuids_of_rendered_objects_are_of_version_5(kind, name):
    namespace = uuid.UUID("5b9d5e0c-7c0e-5a54-9d1f-3f6f7c0a8f11")
    assert uuid_of(kind, name) == str(uuid.uuid5(namespace, f"{kind} {name}"))


def test_what_is_not_rendered_is_not_found(universe):
    rendered = Rendered(compile_plan(universe.snapshot))
    red = universe.snapshot.named("virtual-network", ("default-domain", "demo", "red"))
    assert rendered.get(red.uuid) is None
    assert rendered.named("virtual-network", red.fq_name) is None
    assert rendered.named("route-target", ("target:1:1",)) is None
    assert list(rendered.of_kind("virtual-network")) == []
    assert list(rendered.children(red.uuid, "virtual-machine")) == []
    assert list(rendered.referrers(red.uuid, "routing-instance")) == []
    assert rendered.explained_acl("nobody:nothing") is None


def test_a_network_made_anew_in_one_commit_takes_the_children_over(universe):
    compiler = Compiler()
    compiler.load(universe.snapshot)
    rendered = Rendered(compiler.plan)
    universe.delete("virtual-network", RED)
    old = universe.snapshot.named("virtual-network", tuple(RED.split(":")))
    anew = msgspec.structs.replace(universe.network("red"), uuid="another")
    universe.puts = {"another": anew}
    delta = compiler.update(universe.snapshot, universe.commit())
    rendered.update(compiler.plan, delta)
    assert list(rendered.children(old.uuid, "routing-instance")) == []
    [instance] = rendered.children("another", "routing-instance")
    assert instance.parent_uuid == "another"


def test_the_hash_of_a_list_follows_its_rules(universe):
    def acl_hash(protocol):
        universe.policy("talk", rule(RED, BLUE, protocol=protocol))
        universe.network("red", ["talk"])
        universe.commit()
        acl = next(Rendered(compile_plan(universe.snapshot)).of_kind("access-control-list"))
        return acl.props["access_control_list_hash"]

    assert acl_hash("tcp") == acl_hash("6") != acl_hash("udp")
    assert 0 < acl_hash("tcp") < 1 << 64


def test_a_list_explained_tells_each_rules_origin(universe):
    universe.policy("talk", rule(RED, BLUE))
    universe.network("red", ["talk"])
    universe.commit()
    rendered = Rendered(compile_plan(universe.snapshot))
    acl = rendered.explained_acl(f"{RED}:red")
    first = acl.props["access_control_list_entries"]["acl_rule"][0]
    assert first["origin"] == {
        "object": "network-policy default-domain:demo:talk",
        "rule": "policy-rule r1",
        "revision": 2,
    }
    assert rendered.explained_acl(f"{RED}:red") is acl
    plain = rendered.get(acl.uuid).props["access_control_list_entries"]["acl_rule"][0]
    assert "origin" not in plain


def index_of(rendered, uuids):
    """Everything an index answers, for comparison; lists without their order."""

    def by_name(objects):
        return sorted(objects, key=lambda each: each.name)

    return {
        "objects": {kind: by_name(rendered.of_kind(kind)) for kind in RENDERED_KINDS},
        "children": {
            (uuid, kind): by_name(rendered.children(uuid, kind))
            for uuid in uuids
            for kind in RENDERED_KINDS
        },
        "referrers": {
            each.uuid: by_name(rendered.referrers(each.uuid, "routing-instance"))
            for kind in RENDERED_KINDS
            for each in rendered.of_kind(kind)
        },
        "explained": {
            each.name: rendered.explained_acl(each.name)
            for each in rendered.of_kind("access-control-list")
        },
    }


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(EDITS, min_size=1, max_size=3), min_size=1, max_size=10))
def test_following_the_plan_equals_rendering_it_anew(commits):
    universe, compiler = Universe(), Compiler()
    compiler.load(universe.snapshot)
    rendered = Rendered(compiler.plan)
    uuids = set()
    for edits in commits:
        for edit in edits:
            stage(universe, edit)
        commit = universe.commit()
        uuids |= {each.uuid for each in commit.puts}
        delta = compiler.update(universe.snapshot, commit)
        rendered.update(compiler.plan, delta)
        anew = Rendered(copy.deepcopy(compiler.plan))
        assert index_of(rendered, uuids) == index_of(anew, uuids)
        for each in (each for kind in RENDERED_KINDS for each in anew.of_kind(kind)):
            assert rendered.get(each.uuid) == each
            assert rendered.named(each.kind, each.fq_name) == each
