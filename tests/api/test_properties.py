"""Whatever is asked, in any order: no number twice, nothing left over, groups change nothing."""

import contextlib
import itertools

from hypothesis import given
from hypothesis import strategies as st

from filament.api.request import Create, Delete, RefUpdate, Update
from filament.base.errors import FilamentError
from filament.model.address import own_subnets
from filament.model.body import RefBody, convert_body
from filament.model.kinds import KINDS
from filament.model.snapshot import Snapshot, Staged

from .office import NOW, PROJECT, Office, ipam_refs, rule, subnet

NAMES = ("red", "blue", "green")


def network(name):
    refs = ipam_refs(subnet(f"10.{len(name)}.0.0", 29))
    return create("virtual-network", [*PROJECT, name], network_ipam_refs=refs)


def create(kind, fq_name, **fields):
    return ("create", kind, tuple(fq_name), fields)


def address(name, network_name, asked):
    fields = {"instance_ip_address": f"10.{len(network_name)}.0.{asked}"} if asked else {}
    refs = [{"to": [*PROJECT, network_name]}]
    return create("instance-ip", [name], virtual_network_refs=refs, **fields)


def port(name, network_name):
    refs = [{"to": [*PROJECT, network_name]}]
    return create(
        "virtual-machine-interface",
        [*PROJECT, name],
        parent_type="project",
        virtual_network_refs=refs,
    )


def policy(name, one, other):
    sides = (":".join([*PROJECT, one]), ":".join([*PROJECT, other]))
    entries = {"policy_rule": [rule(*sides)]}
    return create("network-policy", [*PROJECT, name], network_policy_entries=entries)


_name = st.sampled_from(NAMES)
_step = st.one_of(
    st.builds(network, _name),
    st.builds(port, _name, _name),
    st.builds(address, st.sampled_from("abcdef"), _name, st.integers(0, 8)),
    st.builds(policy, _name, _name, _name),
    st.tuples(st.just("attach"), _name, _name),
    st.tuples(st.just("detach"), _name, _name),
    st.tuples(st.just("asn"), st.sampled_from([64512, 65000, 70000])),
    st.tuples(
        st.just("delete"),
        st.sampled_from(["virtual-network", "network-policy", "virtual-machine-interface"]),
        _name.map(lambda name: (*PROJECT, name)),
    ),
    st.tuples(st.just("delete"), st.just("instance-ip"), st.sampled_from("abcdef").map(tuple)),
)
_steps = st.lists(_step, max_size=30)


def request_of(step, view):
    """A step as a request, or None when what it names does not exist."""
    match step:
        case ("create", kind, fq_name, fields):
            body = convert_body(KINDS[kind], {"fq_name": list(fq_name), **fields})
            return Create(kind, body)
        case ("attach" | "detach" as verb, name, policy_name):
            item = view.named("virtual-network", (*PROJECT, name))
            target = RefBody("network-policy", (*PROJECT, policy_name))
            operation = "ADD" if verb == "attach" else "DELETE"
            return item and RefUpdate(item.kind, item.uuid, target, operation)
        case ("asn", number):
            item = view.named("global-system-config", ("default-global-system-config",))
            body = convert_body(KINDS[item.kind], {"autonomous_system": number})
            return Update(item.kind, item.uuid, body)
        case ("delete", kind, fq_name):
            item = view.named(kind, fq_name)
            return item and Delete(kind, item.uuid)


def carry_out(office, steps):
    for step in steps:
        request = request_of(step, office.view)
        if request is not None:
            with contextlib.suppress(FilamentError):
                office.do(request)


def require_sound(office):
    view = office.view
    held = list(view.allocations())
    assert len(held) == len({(one.pool, one.value) for one in held})
    for item in view.objects():
        assert all(view.get(ref.uuid) is not None for ref in item.refs)
        assert item.parent_uuid is None or view.get(item.parent_uuid) is not None
        mine = {(one.pool.partition("/")[0], one.value) for one in view.allocations_of(item.uuid)}
        if item.kind == "virtual-network":
            assert mine == {("vn-id", item.props["virtual_network_network_id"])}
            if item.fq_name[-1] != "__link_local__":
                instance = f"{item.name}:{item.fq_name[-1]}"
                assert len(view.allocations_of(instance)) == 1
            for one in own_subnets(item):
                assert one.gateway not in {
                    held.value for held in held if held.pool.endswith(one.uuid)
                }
        elif item.kind == "instance-ip":
            assert len(mine) <= 1  # none for a gateway address
    rebuilt = Snapshot(view.revision, view.objects(), view.allocations())
    assert list(rebuilt.objects()) == list(view.objects())
    office.engine.shown.verify(view)


@given(_steps)
def test_no_number_is_given_twice_and_the_plan_is_a_fresh_one(steps):
    office = Office()
    carry_out(office, steps)
    require_sound(office)


@given(_steps)
def test_deleting_everything_gives_everything_back(steps):
    office = Office()
    start = set(office.view.allocations())
    first = {item.uuid for item in office.view.objects()}
    carry_out(office, [*steps, ("asn", 64512)])
    for kind in ("instance-ip", "virtual-machine-interface", "virtual-network", "network-policy"):
        for item in list(office.view.of_kind(kind)):
            if item.uuid not in first:
                office.delete(item)
    assert {item.uuid for item in office.view.objects()} == first
    # Numbers moved between pools by a new AS come back as they were, or as the next free.
    assert {(one.pool, one.owner) for one in office.view.allocations()} == {
        (one.pool, one.owner) for one in start
    }
    assert office.shown("access-control-list") == Office().shown("access-control-list")


@given(_steps, st.lists(st.integers(1, 6), min_size=1))
def test_requests_prepared_in_groups_do_what_they_do_one_by_one(steps, sizes):
    alone, grouped = Office(), Office()
    sizes = itertools.cycle(sizes)
    while steps:
        group = steps[: next(sizes)]
        steps = steps[len(group) :]
        staged, commits = Staged(grouped.view), []
        for step in group:
            outcomes = []
            for engine, view in ((grouped.engine, staged), (alone.engine, alone.view)):
                request = request_of(step, view)
                try:
                    prepared = request and engine.prepare(request, now=NOW, who="t", view=view)
                except FilamentError as error:
                    outcomes.append(str(error))
                else:
                    outcomes.append(prepared)
            assert outcomes[0] == outcomes[1]
            commit = getattr(outcomes[0], "commit", None)
            if commit is not None:
                staged.absorb(commit)
                commits.append(commit)
                alone.keep(commit)
        grouped.store.commit_all(commits)
        for commit in commits:
            grouped.engine.apply(commit)
    assert list(grouped.view.objects()) == list(alone.view.objects())
    assert set(grouped.view.allocations()) == set(alone.view.allocations())
