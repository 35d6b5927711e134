"""Following commits gives the plan that recompiling gives, and costs only what they touch."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filament.compiler.compile import Compiler, compile_plan
from filament.compiler.plan import PlanDelta
from filament.compiler.render import uuid_of as rendered_uuid
from filament.model.change import Ref

from .universe import Universe, address, rule, uuid_of

RED, BLUE = "default-domain:demo:red", "default-domain:demo:blue"
RED_INSTANCE, BLUE_INSTANCE = f"{RED}:red", f"{BLUE}:blue"


class Watched:
    """A view that counts the questions it is asked."""

    def __init__(self, view):
        self.view = view
        self.asked = []

    def __getattr__(self, name):
        found = getattr(self.view, name)
        if not callable(found):
            return found

        def ask(*arguments):
            self.asked.append((name, *arguments))
            return found(*arguments)

        return ask


@pytest.fixture
def universe():
    return Universe()


@pytest.fixture
def compiler(universe):
    made = Compiler()
    made.load(universe.snapshot)
    return made


def step(universe, compiler):
    delta = compiler.update(universe.snapshot, universe.commit())
    compiler.verify(universe.snapshot)
    assert compiler.plan == compile_plan(universe.snapshot)
    return delta


def test_the_delta_names_exactly_the_rows_that_changed(universe, compiler):
    universe.network("red")
    universe.network("blue")
    universe.network("green")
    step(universe, compiler)
    universe.policy("talk", rule(RED, BLUE))
    universe.network("red", ["talk"])
    assert step(universe, compiler) == PlanDelta(
        2, instances_put=frozenset({RED_INSTANCE}), acls_put=frozenset({RED_INSTANCE})
    )
    universe.network("blue", ["talk"])
    assert step(universe, compiler) == PlanDelta(
        3,
        instances_put=frozenset({RED_INSTANCE, BLUE_INSTANCE}),
        acls_put=frozenset({BLUE_INSTANCE}),
    )
    universe.policy("talk", rule(RED, BLUE, protocol="tcp"))
    both = frozenset({RED_INSTANCE, BLUE_INSTANCE})
    assert step(universe, compiler) == PlanDelta(4, instances_put=both, acls_put=both)
    universe.network("red")
    assert step(universe, compiler) == PlanDelta(
        5, instances_put=both, acls_deleted=frozenset({RED_INSTANCE})
    )
    universe.delete("virtual-network", BLUE)
    assert step(universe, compiler) == PlanDelta(
        6,
        instances_deleted=frozenset({BLUE_INSTANCE}),
        acls_deleted=frozenset({BLUE_INSTANCE}),
    )


def test_a_load_tells_the_difference_to_the_plan_before(universe, compiler):
    universe.network("red")
    universe.commit()
    assert compiler.load(universe.snapshot) == PlanDelta(1, frozenset({RED_INSTANCE}))
    assert compiler.load(universe.snapshot) == PlanDelta(1)


def test_a_port_asks_the_view_nothing(universe, compiler):
    universe.network("red")
    step(universe, compiler)
    refs = [Ref("virtual-network", uuid_of("virtual-network", RED))]
    universe.put("virtual-machine-interface", ("default-domain", "demo", "port"), refs=refs)
    universe.put("instance-ip", ("address",))
    commit = universe.commit()
    watched = Watched(universe.snapshot)
    assert compiler.update(watched, commit) == PlanDelta(2)
    assert watched.asked == []


def test_a_network_asks_nothing_about_networks_it_has_nothing_to_do_with(universe, compiler):
    for number in range(50):
        universe.network(f"n{number}")
    step(universe, compiler)
    universe.network("red")
    commit = universe.commit()
    watched = Watched(universe.snapshot)
    assert compiler.update(watched, commit) == PlanDelta(2, frozenset({RED_INSTANCE}))
    assert {question[0] for question in watched.asked} == {"named", "allocations_of"}
    assert len(watched.asked) < 5


def test_a_new_as_number_renames_every_target(universe, compiler):
    universe.network("red")
    universe.network("blue")
    step(universe, compiler)
    universe.global_system_config(65000)
    assert step(universe, compiler).instances_put == {RED_INSTANCE, BLUE_INSTANCE}
    assert compiler.plan.routing_instances[RED_INSTANCE].target.startswith("target:65000:")
    universe.global_system_config(65000, config_version="1.1")
    assert step(universe, compiler) == PlanDelta(3)


def test_a_network_leaving_a_policy_leaves_the_rules_that_name_the_policy(universe, compiler):
    universe.policy("members")
    universe.policy("talk", rule("local", address(policy=universe.fq("members"))))
    universe.network("red", ["talk"])
    universe.network("blue", ["members"])
    step(universe, compiler)
    assert len(compiler.plan.acls[RED_INSTANCE].rules) == 3
    universe.network("blue")
    assert step(universe, compiler).acls_put == {RED_INSTANCE}
    assert len(compiler.plan.acls[RED_INSTANCE].rules) == 2


def test_an_instance_that_a_client_makes_is_planned_with_its_targets_and_leaks(universe, compiler):
    universe.network("red")
    universe.network("blue")
    universe.target("target:64512:7")
    step(universe, compiler)
    extra = f"{RED}:extra"
    made = universe.instance(
        "red",
        "extra",
        [("target:64512:7", "import")],
        [rendered_uuid("routing-instance", BLUE_INSTANCE)],
    )
    assert step(universe, compiler).instances_put == {extra, BLUE_INSTANCE}
    rows = compiler.plan.routing_instances
    own = rows[extra].target
    blue = rows[BLUE_INSTANCE]
    assert own == "target:64512:8000002"
    assert rows[extra].imports == {own, "target:64512:7", blue.target}
    assert rows[extra].own_imports == {own, "target:64512:7"}
    assert rows[extra].exports == {own}
    assert (rows[extra].connections, rows[extra].is_default) == ((BLUE_INSTANCE,), False)
    assert rows[extra].intent_uuid == made.uuid
    assert (blue.connections, blue.imports) == ((extra,), {blue.target, own})
    universe.delete("routing-instance", extra)
    assert step(universe, compiler) == PlanDelta(
        3, instances_put=frozenset({BLUE_INSTANCE}), instances_deleted=frozenset({extra})
    )
    assert compiler.plan.routing_instances[BLUE_INSTANCE].connections == ()


def test_verify_finds_a_row_that_is_wrong(universe, compiler):
    universe.network("red")
    universe.commit()  # and the compiler is not told
    with pytest.raises(AssertionError, match=r"networks.*default-domain:demo:red.*recomputed"):
        compiler.verify(universe.snapshot)


# property: any commits, followed, give what recompiling gives ------------------------------

NETWORKS = ("red", "blue", "green", "far")
POLICIES = ("p", "q", "r")
INSTANCES = ("red:x", "red:y", "blue:x")
TARGETS = ("target:64512:7", "target:1:1")
PLACES = st.sampled_from(
    [
        *(Universe.fq(name) for name in NETWORKS[:3]),
        "default-domain:other:far",
        "any",
        "local",
        *(address(policy=Universe.fq(name)) for name in POLICIES),
        address(RED, subnet="10.1.0.0/16"),
        address(subnet="10.1.1.0/24"),
    ]
)
RULES = st.builds(
    rule,
    PLACES,
    PLACES,
    protocol=st.sampled_from(["any", "tcp"]),
    action=st.sampled_from(["pass", "pass", "deny"]),
    direction=st.sampled_from(["<>", ">"]),
)
PROPS = st.fixed_dictionaries(
    {},
    optional={
        "export_route_target_list": st.just({"route_target": ["target:1:1"]}),
        "fabric_snat": st.just(True),
        "is_provider_network": st.just(True),
    },
)
VPNS = ("v", "w")
VPN_LISTS = st.dictionaries(
    st.sampled_from(["both", "imports", "exports"]),
    st.lists(st.sampled_from(TARGETS), max_size=2, unique=True),
)
GROUPS = ("web", "db")
GROUP_RULES = st.builds(
    rule,
    st.just({"security_group": "local"}),
    st.sampled_from([{"security_group": Universe.fq(name)} for name in GROUPS]),
)
EDITS = st.one_of(
    st.tuples(
        st.just("network"),
        st.sampled_from(NETWORKS),
        st.lists(st.sampled_from(POLICIES), unique=True, max_size=2),
        st.booleans(),
        PROPS,
        st.lists(st.sampled_from(VPNS), unique=True, max_size=2),
    ),
    st.tuples(st.just("vpn"), st.sampled_from(VPNS), VPN_LISTS),
    st.tuples(st.just("policy"), st.sampled_from(POLICIES), st.lists(RULES, max_size=3)),
    st.tuples(st.just("delete"), st.sampled_from([*NETWORKS, *POLICIES])),
    st.tuples(
        st.just("instance"),
        st.sampled_from(INSTANCES),
        st.lists(
            st.tuples(st.sampled_from(TARGETS), st.sampled_from([None, "import", "export"])),
            max_size=2,
            unique_by=lambda each: each[0],
        ),
        st.lists(st.sampled_from([*NETWORKS[:3], *INSTANCES]), unique=True, max_size=2),
    ),
    st.tuples(st.just("delete-instance"), st.sampled_from(INSTANCES)),
    st.tuples(
        st.just("group"),
        st.sampled_from(GROUPS),
        st.lists(GROUP_RULES, max_size=2),
        st.sampled_from([7, 8000000]),
    ),
    st.tuples(st.just("delete-group"), st.sampled_from(GROUPS)),
    st.tuples(st.just("asn"), st.sampled_from([64512, 65000])),
)


def stage(universe, edit):
    """Stage one edit, if references stay whole (the API sees to that)."""
    what, name, *more = edit
    project = ("default-domain", "other" if name == "far" else "demo")
    if what == "network":
        policies, is_linked, props, vpns = more
        vpns = [each for each in vpns if holds(universe, "bgpvpn", each)]
        known = [each for each in policies if holds(universe, "network-policy", each)]
        links = [RED] if is_linked and name != "red" and holds(universe, "virtual-network") else []
        universe.network(name, known, project=project, networks=links, vpns=vpns, **props)
    elif what == "vpn":
        universe.vpn(name, **more[0])
    elif what == "policy":
        universe.policy(name, *more[0])
    elif what == "instance":
        stage_instance(universe, name, *more)
    elif what == "delete-instance":
        found = universe.snapshot.named("routing-instance", (*project, *name.split(":")))
        if found and found.uuid not in universe.puts and not is_referred_to(universe, found):
            universe.delete("routing-instance", found.name)
    elif what == "group":
        universe.group(name, *more[0], number=more[1])
    elif what == "delete-group":
        found = universe.snapshot.named("security-group", (*project, name))
        if found and found.uuid not in universe.puts:
            universe.delete("security-group", found.name)
    elif what == "asn":
        universe.global_system_config(name)
    else:
        kind = "virtual-network" if name in NETWORKS else "network-policy"
        found = universe.snapshot.named(kind, (*project, name))
        if found and found.uuid not in universe.puts and not is_referred_to(universe, found):
            universe.delete(kind, found.name)


def stage_instance(universe, name, targets, wanted):
    network, _, own = name.partition(":")
    if not holds(universe, "virtual-network", network):
        return
    uuids = []
    for other in wanted:
        if ":" in other and other != name and holds(universe, "routing-instance", other):
            uuids.append(uuid_of("routing-instance", Universe.fq(other)))
        elif ":" not in other:  # a network's own, which is rendered, whether it is there or not
            uuids.append(rendered_uuid("routing-instance", Universe.fq(f"{other}:{other}")))
    for target, _ in targets:
        universe.target(target)
    gone = uuid_of("routing-instance", Universe.fq(name))
    if gone not in universe.deletes:
        universe.instance(network, own, targets, uuids)


def holds(universe, kind, name="red"):
    found = uuid_of(kind, Universe.fq(name))
    exists = universe.snapshot.get(found) is not None or found in universe.puts
    return exists and found not in universe.deletes


def is_referred_to(universe, found):
    """Whether something that stays refers to an object."""
    staged = any(
        found.uuid in (put.parent_uuid, *(ref.uuid for ref in put.refs))
        for put in universe.puts.values()
    )
    referrers = [
        *universe.snapshot.referrers(found.uuid, "virtual-network"),
        *universe.snapshot.referrers(found.uuid, "routing-instance"),
        *universe.snapshot.children(found.uuid, "routing-instance"),
    ]
    return staged or any(
        each.uuid not in universe.deletes and each.uuid not in universe.puts for each in referrers
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(EDITS, min_size=1, max_size=3), min_size=1, max_size=12))
def test_following_commits_equals_recompiling_and_reverting_undoes(commits):
    universe, compiler = Universe(), Compiler()
    compiler.load(universe.snapshot)
    for edits in commits:
        before = {each.uuid: each for each in universe.snapshot.objects()}
        plan = copy.deepcopy(compiler.plan)
        for edit in edits:
            stage(universe, edit)
        commit = universe.commit()
        delta = compiler.update(universe.snapshot, commit)
        compiler.verify(universe.snapshot)
        assert_delta(plan, compiler.plan, delta)
        after = copy.deepcopy(compiler.plan)

        compiler.update(universe.snapshot, universe.revert(commit, before))
        assert compiler.plan.routing_instances == plan.routing_instances
        assert compiler.plan.acls == plan.acls

        compiler.update(universe.snapshot, universe.apply(commit))
        assert compiler.plan.routing_instances == after.routing_instances
        assert compiler.plan.acls == after.acls
        compiler.verify(universe.snapshot)


def assert_delta(before, after, delta):
    """Nothing moved but what the delta names."""
    for old, new, put, deleted in (
        (before.routing_instances, after.routing_instances, *named_instances(delta)),
        (before.acls, after.acls, delta.acls_put, delta.acls_deleted),
    ):
        assert put == {name for name, row in new.items() if old.get(name) != row}
        assert deleted == old.keys() - new.keys()


def named_instances(delta):
    return delta.instances_put, delta.instances_deleted
