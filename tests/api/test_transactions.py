"""Transactions, dry runs and expected revisions: all or nothing, or nothing at all."""

import json

import pytest

from filament.api.stored import StoreValue
from filament.api.transaction import Expecting, Operation, Transaction
from filament.base.errors import (
    ConflictError,
    InputError,
    NotFoundError,
    PreconditionError,
    QuotaError,
)
from filament.base.limits import MAX_TRANSACTION_OPERATIONS
from filament.compiler.compile import compile_plan
from filament.model.snapshot import Staged

from .office import PROJECT, ipam_refs, rule, subnet
from .test_http import make_network, project, raw

__all__ = ["project"]


def create(kind, *fq_name, **fields):
    return Operation("create", kind, object={"fq_name": list(fq_name), **fields})


def site(name="t"):
    """A network, a port in it and its address, all new."""
    network, port = [*PROJECT, name], [*PROJECT, f"{name}-port"]
    return [
        create("virtual-network", *network, network_ipam_refs=ipam_refs(subnet())),
        create("virtual-machine", name),
        create(
            "virtual-machine-interface",
            *port,
            parent_type="project",
            virtual_network_refs=[{"to": network}],
        ),
        create(
            "instance-ip",
            name,
            virtual_network_refs=[{"to": network}],
            virtual_machine_interface_refs=[{"to": port}],
        ),
        Operation(
            "ref-update",
            "virtual-machine-interface",
            fq_name=port,
            ref_type="virtual-machine",
            ref_fq_name=[name],
        ),
        Operation("update", "virtual-network", fq_name=network, object={"mtu": 1400}),
    ]


def test_a_transaction_is_one_commit(office):
    before = office.view.revision
    prepared = office.do(Transaction(site()))
    assert office.view.revision == before + 1 == prepared.commit.revision
    network = office.named("virtual-network", *PROJECT, "t")
    address = office.named("instance-ip", "t")
    port = office.named("virtual-machine-interface", *PROJECT, "t-port")
    assert address.props["instance_ip_address"] == "10.1.1.3"
    assert network.props["mtu"] == 1400
    assert [ref.kind for ref in port.refs] == ["virtual-machine", "virtual-network"]
    assert [one["op"] for one in prepared.answer] == ["create"] * 4 + ["ref-update", "update"]
    assert prepared.answer[3] == {
        "op": "create",
        "type": "instance-ip",
        "uuid": address.uuid,
        "fq_name": ["t"],
    }
    assert f"{network.name}:t" in office.shown("routing-instance")
    deletes = [
        Operation("delete", one["type"], uuid=one["uuid"]) for one in reversed(prepared.answer[:4])
    ]
    office.do(Transaction(deletes))
    assert office.view.revision == before + 2
    assert office.named("virtual-network", *PROJECT, "t") is None


def test_a_transaction_may_replace_an_object(office):
    network = office.network("red")
    same = create("virtual-network", *PROJECT, "red", network_ipam_refs=ipam_refs(subnet()))
    office.do(Transaction([Operation("delete", "virtual-network", uuid=network.uuid), same]))
    assert office.named("virtual-network", *PROJECT, "red").uuid != network.uuid


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (
            create("virtual-network", *PROJECT, "u", mtuu=1),
            InputError,
            r"unknown field 'mtuu' at \$\.operations\[6\]; did you mean mtu",
        ),
        (
            create("instance-ip", "t"),
            ConflictError,
            r"operation 6 \(create instance-ip\): .*exists",
        ),
        (
            Operation("delete", "domain", fq_name=["x"]),
            NotFoundError,
            r"operation 6 \(delete domain\): Name",
        ),
        (Operation("delete", "domain"), InputError, r"\[6\]\.uuid; give uuid or fq-name"),
        (
            Operation("ref-update", "virtual-network", fq_name=[*PROJECT, "t"]),
            InputError,
            "a ref-update names the object to refer to",
        ),
        (create("nothing", "x"), NotFoundError, "Resource type 'nothing' not found"),
    ],
)
def test_a_wrong_operation_undoes_them_all(office, wrong, error, text):
    before = list(office.view.objects()), set(office.view.allocations())
    with pytest.raises(error, match=text):
        office.do(Transaction([*site(), wrong]))
    assert (list(office.view.objects()), set(office.view.allocations())) == before


def test_a_transaction_heeds_quotas(office):
    parent = office.named("project", *PROJECT)
    office.update(parent, quota={"virtual_network": 5})  # there are four from the start
    two = [create("virtual-network", *PROJECT, name) for name in "ab"]
    with pytest.raises(QuotaError, match=r"operation 1 .*quota limit \(5\) exceeded"):
        office.do(Transaction(two))


def test_a_transaction_has_a_bounded_length(office):
    with pytest.raises(InputError, match="send 1 to"):
        office.do(Transaction([]))
    many = [create("virtual-machine", str(n)) for n in range(MAX_TRANSACTION_OPERATIONS + 1)]
    with pytest.raises(InputError, match=f"of {MAX_TRANSACTION_OPERATIONS + 1} operations"):
        office.do(Transaction(many))
    office.do(Transaction(many[1:]))


def test_what_changed_since_is_not_changed_again(office):
    network, other = office.network("red"), office.network("blue", subnet("10.9.0.0"))
    read_at = office.view.revision
    office.update(other, mtu=1300)
    update = Transaction(
        [
            Operation("update", "virtual-network", network.uuid, object={"mtu": 1}),
            Operation("update", "virtual-network", other.uuid, object={"mtu": 2}),
        ]
    )
    now = office.view.revision
    with pytest.raises(PreconditionError, match=f"blue was changed at revision {now}, after") as at:
        office.do(Expecting(update, read_at))
    assert at.value.revision == now
    assert "mtu" not in office.get(network).props
    office.do(Expecting(update, now))
    assert office.get(other).props["mtu"] == 2
    office.do(Expecting(StoreValue("useragent", "k", 1), 0))  # what is new cannot have changed


def test_conditions_over_http(api, client, project):
    network = make_network(client, project)
    path = f"/virtual-network/{network}"
    tag = raw(api, "GET", path)[1]["ETag"]

    def put(mtu, query="", **headers):
        body = json.dumps({"virtual-network": {"mtu": mtu}})
        return raw(api, "PUT", path + query, body, **headers)

    status, headers, _ = put(1300, **{"If-Match": tag})
    revision = int(headers["X-Filament-Revision"])
    assert status == 200
    status, headers, text = put(1400, **{"If-Match": tag})
    assert (status, int(headers["X-Filament-Revision"])) == (412, revision)
    assert f"not at {tag}" in text
    assert put(1500, **{"If-Match": f'"{revision - 1}"'})[0] == 412
    assert put(1500, f"?revision={revision - 1}")[0] == 412
    assert client.get("virtual-network", network)["mtu"] == 1300
    assert put(1500, f"?revision={revision}")[0] == 200
    assert raw(api, "DELETE", f"{path}?revision={revision}")[0] == 412
    assert put(1, **{"If-Match": "7"})[2].startswith("If-Match 7 is no quoted tag")
    assert put(1, "?revision=x")[2].startswith("'x' is not a revision at revision")
    assert put(1, "?dry_run=maybe")[2].startswith("dry_run 'maybe' is neither true nor false")
    assert raw(api, "DELETE", path, **{"If-Match": "*"})[0] == 200


def test_a_transaction_over_http(api, client):
    operations = [
        {"op": "create", "type": "virtual-machine", "object": {"fq_name": ["tx"]}},
        {"op": "update", "type": "virtual_machine", "fq-name": ["tx"],
         "object": {"display_name": "x"}},
    ]  # fmt: skip
    answer = client.request("POST", "/transaction", {"operations": operations})
    assert answer.revision == answer.value["revision"]
    (uuid,) = {one["uuid"] for one in answer.value["results"]}
    assert client.get("virtual-machine", uuid)["display_name"] == "x"
    with pytest.raises(InputError, match="unknown field 'kind'"):
        client.request("POST", "/transaction", {"operations": [{"op": "delete", "kind": "x"}]})


def dry(client, method, path, body=None):
    return client.request(method, path, body, dry_run="true").value


def test_a_dry_run_tells_the_plan_and_changes_nothing(client, project):
    red, blue = make_network(client, project), make_network(client, project, "blue")
    machine = client.create("virtual-machine", [f"{project[1]}-vm"])
    client.create(
        "virtual-machine-interface",
        [*project, "port"],
        parent_type="project",
        virtual_network_refs=[{"uuid": blue}],
        virtual_machine_refs=[{"uuid": machine}],
    )
    client.create(
        "virtual-router",
        ["default-global-system-config", "host-of-dry"],
        virtual_machine_refs=[{"uuid": machine}],
    )
    names = [":".join([*project, name]) for name in ("red", "blue")]
    entries = {"policy_rule": [rule(*names)]}
    policy = client.create("network-policy", [*project, "p"], network_policy_entries=entries)
    client.add_ref("virtual-network", red, "network-policy", policy, {"sequence": {"major": 0}})
    before = client.request("GET", "/filament/snapshot").value

    body = {
        "type": "virtual-network", "uuid": blue, "ref-type": "network-policy", "ref-uuid": policy,
        "operation": "ADD", "attr": {"sequence": {"major": 0}},
    }  # fmt: skip
    answer = dry(client, "POST", "/ref-update", body)
    assert answer["revision_would_be"] == before["revision"] + 1
    (put,) = answer["changes"]["puts"]
    assert (put["fq_name"], put["is_new"]) == ([*project, "blue"], False)
    assert put["fields"].keys() == {"id_perms", "network_policy_refs"}
    plan = answer["plan"]
    instances = {one["name"]: one["diff"] for one in plan["routing_instances"]["put"]}
    assert instances.keys() == {f"{names[0]}:red", f"{names[1]}:blue"}
    lines = instances[f"{names[1]}:blue"]
    assert f"+ connect {names[0]}:red" in lines
    assert [line for line in lines if line.startswith("+ import target:64512:80000")]
    (acl,) = plan["access_control_lists"]["put"]
    assert acl["is_new"]
    assert any("+ pass protocol any" in line and names[0] in line for line in acl["diff"])
    assert plan["agents"] == ["default-global-system-config:host-of-dry"]
    assert plan["route_targets"] == {"taken": [], "freed": []}

    made = dry(
        client, "POST", "/virtual-networks", {"virtual-network": {"fq_name": [*project, "g"]}}
    )
    (taken,) = made["plan"]["route_targets"]["taken"]
    assert taken["routing_instance"] == f"{project[0]}:{project[1]}:g:g"
    assert made["plan"]["routing_instances"]["put"][0]["is_new"]
    deleted = dry(client, "DELETE", f"/virtual-network/{red}")
    assert deleted["plan"]["routing_instances"]["deleted"] == [f"{names[0]}:red"]
    assert deleted["plan"]["access_control_lists"]["deleted"] == [f"{names[0]}:red"]
    nothing = dry(client, "PUT", f"/virtual-network/{red}")
    assert nothing["revision_would_be"] == before["revision"]
    operations = [
        {"op": "delete", "type": "virtual-network", "uuid": red},
        {"op": "create", "type": "virtual-network", "object": {"fq_name": [*project, "n"]}},
    ]
    both = dry(client, "POST", "/transaction", {"operations": operations})
    assert len(both["changes"]["puts"]) == len(both["changes"]["deletes"]) == 1
    with pytest.raises(ConflictError, match="Delete when resource still referred"):
        dry(client, "DELETE", f"/network-policy/{policy}")
    assert client.request("GET", "/filament/snapshot").value == before


def test_a_dry_run_tells_the_plan_that_is_then_made(office):
    """Whatever was previewed is what compiling the committed configuration gives."""
    office.network("red")
    office.network("blue", subnet("10.2.0.0"))
    names = [":".join([*PROJECT, name]) for name in ("red", "blue")]
    policy = office.policy("p", rule(*names))
    attach = [
        Operation("ref-update", "virtual-network", fq_name=[*PROJECT, name],
                  ref_type="network-policy", ref_uuid=policy.uuid)
        for name in ("red", "blue")
    ]  # fmt: skip
    prepared = office.engine.prepare(Transaction(attach), now=office.now, who="test")
    after = Staged(office.view)
    after.absorb(prepared.commit)
    shown = office.engine.shown
    old, new, delta = shown.preview(after, prepared.commit)
    assert old.routing_instances != new.routing_instances
    assert delta.acls_put
    shown.verify(office.view)  # the live plan is untouched
    office.keep(prepared.commit)
    made = compile_plan(office.view)
    assert (new.routing_instances, new.acls) == (made.routing_instances, made.acls)
