"""TF's actions over real HTTP: elements, key-value pairs, addresses, pools, access, quotas."""

import json

import pytest

from filament.base.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from filament.base.limits import MAX_ADDRESSES_AT_ONCE, MAX_JSON_DEPTH

from .office import ipam_refs, subnet
from .served import ServedApi
from .test_http import make_network, project, raw

__all__ = ["project"]


def post(client, path, **body):
    return client.request("POST", path, body).value


def elements(client, uuid, field, **query):
    answer = client.request("GET", "/prop-collection-get", uuid=uuid, fields=field, **query)
    return answer.value[field]


def change(client, uuid, field, operation, **more):
    update = {"field": field, "operation": operation, **more}
    return client.request("POST", "/prop-collection-update", {"uuid": uuid, "updates": [update]})


FLOWS = "virtual_network_fat_flow_protocols"


def flow(port):
    return {"protocol": "tcp", "port": port}


def test_elements_of_a_list_have_positions(client, project):
    network = make_network(client, project)
    assert elements(client, network, FLOWS) == []
    client.update("virtual-network", network, **{FLOWS: {"fat_flow_protocol": [flow(1), flow(2)]}})
    assert elements(client, network, FLOWS) == [[flow(1), "0"], [flow(2), "1"]]
    assert change(client, network, FLOWS, "add", value=flow(3), position="05").value == ""
    change(client, network, FLOWS, "modify", value=flow(9), position="1")
    assert elements(client, network, FLOWS) == [[flow(1), "0"], [flow(3), "05"], [flow(9), "1"]]
    assert elements(client, network, FLOWS, position="05") == [[flow(3), "05"]]
    change(client, network, FLOWS, "add", value=flow(4))
    assert len(elements(client, network, FLOWS)[-1][1]) == 36  # a uuid
    for _ in range(2):  # deleting what is gone is no error
        change(client, network, FLOWS, "delete", position="0")
    assert [value["port"] for value, _ in elements(client, network, FLOWS)] == [3, 9, 4]
    whole = client.get("virtual-network", network)
    assert [one["port"] for one in whole[FLOWS]["fat_flow_protocol"]] == [3, 9, 4]
    assert "list_positions" not in whole
    client.update("virtual-network", network, **{FLOWS: {"fat_flow_protocol": [flow(7)]}})
    assert elements(client, network, FLOWS) == [[flow(7), "0"]]
    change(client, network, FLOWS, "delete", position="0")
    assert FLOWS not in client.get("virtual-network", network)
    with pytest.raises(InputError, match=r"no element at position '8' at .*positions there: none"):
        change(client, network, FLOWS, "modify", value=flow(9), position="8")
    with pytest.raises(InputError, match=r"'set' is no operation on a list such as .*use add, mod"):
        change(client, network, FLOWS, "set", value=flow(9))
    with pytest.raises(InputError, match=r"expected `int \| null`|expected `int`"):
        change(client, network, FLOWS, "add", value={"port": "http"})
    with pytest.raises(InputError, match="'mtu' is no list or map property of a virtual-network"):
        change(client, network, "mtu", "add", value=1)
    with pytest.raises(NotFoundError, match="UUID 42 not found"):
        elements(client, "42", FLOWS)
    with pytest.raises(NotFoundError, match="UUID 42 not found"):
        change(client, "42", FLOWS, "delete", position="0")


def test_elements_of_a_map_have_keys(client, project):
    network = make_network(client, project)
    for value in ("1", "2"):
        change(client, network, "annotations", "set", value={"key": "a", "value": value})
    change(client, network, "annotations", "set", value={"key": "b", "value": "3"})
    assert elements(client, network, "annotations") == [
        [{"key": "a", "value": "2"}, "a"],
        [{"key": "b", "value": "3"}, "b"],
    ]
    change(client, network, "annotations", "delete", position="a")
    assert elements(client, network, "annotations") == [[{"key": "b", "value": "3"}, "b"]]
    with pytest.raises(InputError, match="an element of annotations needs its 'key'"):
        change(client, network, "annotations", "set", value={"value": "x"})
    with pytest.raises(InputError, match="'add' is no operation on a map such as annotations"):
        change(client, network, "annotations", "add", value={"key": "x"})


def rule_to(port, **more):
    return {
        "direction": ">",
        "protocol": "tcp",
        "src_addresses": [{"subnet": {"ip_prefix": "10.0.0.0", "ip_prefix_len": 8}}],
        "dst_addresses": [{"security_group": "local"}],
        "dst_ports": [{"start_port": port, "end_port": port}],
        **more,
    }


def ports_of(client, kind, uuid, field):
    listed = client.get(kind, uuid).get(field, {"policy_rule": []})
    return [rule["dst_ports"][0]["start_port"] for rule in listed["policy_rule"]]


RULES = "security_group_entries"


def test_rules_of_a_group_are_changed_one_by_one(client, project):
    group = client.create(
        "security-group",
        ["default-domain", "default-project", "long"],
        parent_type="project",
        **{RULES: {"policy_rule": [rule_to(1), rule_to(2)]}},
    )
    first, second = (position for _, position in elements(client, group, RULES))
    assert change(client, group, RULES, "add", value=rule_to(3)).value == ""
    change(client, group, RULES, "add", value=rule_to(4), position=second)
    assert ports_of(client, "security-group", group, RULES) == [1, 4, 2, 3]
    listed = elements(client, group, RULES)
    assert len({position for _, position in listed}) == 4
    assert all(value["rule_uuid"] == position for value, position in listed)
    change(client, group, RULES, "modify", value=rule_to(9), position=first)
    ((value, _),) = elements(client, group, RULES, position=first)
    assert (value["rule_uuid"], value["dst_ports"][0]["start_port"]) == (first, 9)
    named = "3f6f7c0a-0000-4000-8000-000000000001"
    change(client, group, RULES, "add", value=rule_to(5, rule_uuid=named, src_ports=None))
    assert elements(client, group, RULES)[-1][1] == named
    for _ in range(2):  # deleting what is gone is no error
        change(client, group, RULES, "delete", position=second)
    assert ports_of(client, "security-group", group, RULES) == [9, 4, 3, 5]
    whole = client.get("security-group", group)
    assert "src_ports" not in whole[RULES]["policy_rule"][-1]
    assert "list_positions" not in whole


def test_changes_of_one_rule_are_checked_like_others(client, project):
    group = client.create(
        "security-group",
        ["default-domain", "default-project", "checked"],
        parent_type="project",
        **{RULES: {"policy_rule": [rule_to(1), rule_to(2)]}},
    )
    first, second = (position for _, position in elements(client, group, RULES))
    before = client.get("security-group", group)
    with pytest.raises(InputError, match=rf"no element at position 'x' at .*: {first}, {second}"):
        change(client, group, RULES, "modify", value=rule_to(9), position="x")
    with pytest.raises(InputError, match=r"no element at position 'None'"):
        change(client, group, RULES, "modify", value=rule_to(9))
    with pytest.raises(InputError, match=r"'set' is no operation on a list such as security_gr"):
        change(client, group, RULES, "set", value=rule_to(9))
    with pytest.raises(InputError, match=r"cannot become 'other': it keeps its rule_uuid at"):
        change(client, group, RULES, "modify", value=rule_to(9, rule_uuid="other"), position=first)
    with pytest.raises(InputError, match=rf"an element with rule_uuid {second} in .* already"):
        change(client, group, RULES, "add", value=rule_to(9, rule_uuid=second))
    with pytest.raises(InputError, match=r"\$\.updates\[0\]\.value\.protocol"):
        change(client, group, RULES, "add", value=rule_to(9, protocol=6))
    with pytest.raises(InputError, match=r"got `null` at \$\.updates\[0\]\.value"):
        change(client, group, RULES, "add")
    with pytest.raises(InputError, match="a security group rule needs 'local' on one side"):
        change(client, group, RULES, "add", value=rule_to(9, dst_addresses=[]))
    with pytest.raises(ConflictError, match=r"rule 2 of security-group .* repeats another rule"):
        change(client, group, RULES, "add", value=rule_to(1))
    with pytest.raises(ConflictError, match=r"rule 1 of security-group .* repeats another rule"):
        change(client, group, RULES, "modify", value=rule_to(2), position=first)
    assert client.get("security-group", group) == before


def test_rules_of_a_policy_are_changed_one_by_one(client, project):
    field = "network_policy_entries"
    passing = {"action_list": {"simple_action": "pass"}, "dst_addresses": [{}]}
    policy = client.create(
        "network-policy",
        ["default-domain", "default-project", "long"],
        parent_type="project",
        **{field: {"policy_rule": [rule_to(1, **passing)]}},
    )
    ((_, first),) = elements(client, policy, field)
    change(client, policy, field, "add", value=rule_to(2, **passing), position=first)
    assert ports_of(client, "network-policy", policy, field) == [2, 1]
    with pytest.raises(InputError, match=r"a policy rule needs an action_list at .*rule\[2\]"):
        change(client, policy, field, "add", value=rule_to(3, dst_addresses=[{}]))
    passing["dst_addresses"] = [{"virtual_network": "a:b:c"}]
    with pytest.raises(InputError, match="names virtual-network 'a:b:c', which does not exist"):
        change(client, policy, field, "add", value=rule_to(3, **passing))
    change(client, policy, field, "delete", position=first)
    assert ports_of(client, "network-policy", policy, field) == [2]


def test_key_value_pairs_are_durable_and_hidden(tmp_path):
    with ServedApi(tmp_path) as api, api.client() as client:
        for key, value in (("one", "1"), ("two", "x"), ("two", "2")):
            assert post(client, "/useragent-kv", operation="STORE", key=key, value=value) == {}
    with ServedApi(tmp_path) as api, api.client() as client:

        def retrieve(key):
            return post(client, "/useragent-kv", operation="RETRIEVE", key=key)["value"]

        assert retrieve("two") == "2"
        assert retrieve(["two", "none", "one"]) == ["2", "1"]
        pairs = [{"key": "one", "value": "1"}, {"key": "two", "value": "2"}]
        assert retrieve(None) == pairs
        for _ in range(2):
            post(client, "/useragent-kv", operation="DELETE", key="one")
        with pytest.raises(NotFoundError, match="Unknown User-Agent key one"):
            retrieve("one")
        with pytest.raises(InputError, match="useragent-kv needs a key"):
            post(client, "/useragent-kv", operation="STORE", value="v")
        stored = client.request("GET", "/filament/snapshot").value["objects"]
        (hidden,) = [item["uuid"] for item in stored if item["kind"] == "stored-value"]
        with pytest.raises(NotFoundError):
            client.name_of(hidden)
        with pytest.raises(NotFoundError):
            client.uuid_of("stored-value", ["useragent", "two"])
        with pytest.raises(NotFoundError):
            client.list("stored-value")


def test_addresses_are_reserved_and_given_back(client, project):
    network = make_network(client, project)
    path = f"/virtual-network/{network}"
    first = post(client, f"{path}/ip-alloc", count=2)["ip_addr"]
    assert first == ["10.1.1.3", "10.1.1.4"]
    (uuid,) = (
        one["subnet_uuid"]
        for ref in client.get("virtual-network", network)["network_ipam_refs"]
        for one in ref["attr"]["ipam_subnets"]
    )
    again = post(client, f"{path}/ip-alloc", count=1, subnet=uuid, family="v4")["ip_addr"]
    assert again == ["10.1.1.5"]
    address = client.create(
        "instance-ip", [f"{project[1]}-ip"], virtual_network_refs=[{"uuid": network}]
    )
    assert client.get("instance-ip", address)["instance_ip_address"] == "10.1.1.6"
    counts = post(client, f"{path}/subnet-ip-count", subnet_list=[uuid, "other"])
    assert counts == {"ip_count_list": [1, 0]}
    with pytest.raises(ConflictError, match=r"10\.1\.1\.6 is not reserved but held by instance-ip"):
        post(client, f"{path}/ip-free", ip_addr=["10.1.1.6"])
    for _ in range(2):
        post(client, f"{path}/ip-free", ip_addr=["10.1.1.3", "10.1.1.4"])
    assert post(client, f"{path}/ip-alloc", count=1)["ip_addr"] == ["10.1.1.3"]
    with pytest.raises(NotFoundError, match="Subnet id nope not found in virtual-network"):
        post(client, f"{path}/ip-alloc", subnet="nope")
    with pytest.raises(NotFoundError, match="v6 subnet not found"):
        post(client, f"{path}/ip-alloc", family="v6")
    with pytest.raises(ConflictError, match="has exhausted subnet"):
        post(client, f"{path}/ip-alloc", count=300)
    with pytest.raises(InputError, match=f"ask for 1 to {MAX_ADDRESSES_AT_ONCE}"):
        post(client, f"{path}/ip-alloc", count=MAX_ADDRESSES_AT_ONCE + 1)
    with pytest.raises(NotFoundError):
        post(client, "/virtual-network/42/ip-alloc")
    client.delete("instance-ip", address)
    client.delete("virtual-network", network)  # and the reserved addresses with it


def test_integers_are_taken_from_pools(api, client):
    pool = {"pool": "vlans", "start": 10, "end": 12}
    post(client, "/int-pools", **pool)
    post(client, "/int-pools", **pool)  # the same again is no error
    with pytest.raises(ConflictError, match="vlans already exists, from 10 to 12"):
        post(client, "/int-pools", **{**pool, "end": 13})
    assert post(client, "/int-pool", pool="vlans", owner="a") == {"value": 10}
    assert post(client, "/int-pool", pool="vlans", owner="b", value=11) == {"value": 11}
    assert post(client, "/int-pool", pool="vlans", owner="c") == {"value": 12}
    with pytest.raises(ConflictError, match="vlans is exhausted"):
        post(client, "/int-pool", pool="vlans")
    with pytest.raises(ConflictError, match="11 of int pool vlans is held by 'b'"):
        post(client, "/int-pool", pool="vlans", owner="z", value=11)
    with pytest.raises(InputError, match="9 is not in int pool vlans"):
        post(client, "/int-pool", pool="vlans", value=9)
    owner = client.request("GET", "/int-pool", pool="vlans", value="11").value
    assert owner == {"owner": "b"}
    client.request("DELETE", "/int-pool", {"pool": "vlans", "value": 11})
    assert client.request("GET", "/int-pool", pool="vlans", value="11").value == {"owner": None}
    client.request("DELETE", "/int-pools", {"pool": "vlans"})
    with pytest.raises(NotFoundError, match="int pool vlans not found; POST /int-pools makes one"):
        client.request("GET", "/int-pool", pool="vlans", value="11")
    assert client.request("GET", "/filament/snapshot").value["allocations"]
    assert not [
        one
        for one in client.request("GET", "/filament/snapshot").value["allocations"]
        if one["pool"].startswith("int-pool")
    ]


def test_a_relaxed_reference_goes_with_its_target(client, project):
    network = make_network(client, project)
    policy = client.create("network-policy", [*project, "p"])
    client.add_ref("virtual-network", network, "network-policy", policy)
    with pytest.raises(ConflictError, match="Delete when resource still referred"):
        client.delete("network-policy", policy)
    with pytest.raises(NotFoundError, match=f"has no reference to {network}"):
        post(client, "/ref-relax-for-delete", uuid=network, **{"ref-uuid": network})
    answer = post(client, "/ref-relax-for-delete", uuid=network, **{"ref-uuid": policy})
    assert answer == {"uuid": network}
    # Neither overwriting the attribute nor naming the list again takes it back.
    client.add_ref("virtual-network", network, "network-policy", policy, {"sequence": {"major": 1}})
    client.update("virtual-network", network, network_policy_refs=[{"uuid": policy}])
    client.delete("network-policy", policy)
    assert "network_policy_refs" not in client.get("virtual-network", network)

    other = client.create("network-policy", [*project, "q"])
    body = {
        "type": "virtual-network", "uuid": network, "ref-type": "network-policy",
        "ref-uuid": other, "operation": "ADD", "relax_ref_for_delete": True,
    }  # fmt: skip
    client.request("POST", "/ref-update", body)
    client.delete("network-policy", other)


def test_owner_and_permissions_change_in_parts(client, project):
    network = make_network(client, project)
    before = client.get("virtual-network", network)["perms2"]
    assert post(client, "/chown", uuid=network, owner="f" * 32) == {}
    assert client.get("virtual-network", network)["perms2"] == {**before, "owner": "f" * 32}
    share = [{"tenant": "e" * 32, "tenant_access": 5}]
    assert post(client, "/chmod", uuid=network, global_access=4, share=share) == {}
    after = client.get("virtual-network", network)["perms2"]
    expected = {"owner": "f" * 32, "owner_access": 7, "global_access": 4, "share": share}
    assert after == expected
    with pytest.raises(InputError, match="global_access"):
        post(client, "/chmod", uuid=network, global_access=9)
    with pytest.raises(NotFoundError):
        post(client, "/chown", uuid="42", owner="x")
    (instance,) = client.list("routing-instance", parent_id=network)
    with pytest.raises(ForbiddenError, match="only read"):
        post(client, "/ref-relax-for-delete", uuid=instance["uuid"], **{"ref-uuid": network})
    answer = client.request("GET", "/obj-perms", uuid=network).value
    assert (answer["token_info"], answer["permissions"]) == (None, "RWX")
    with pytest.raises(NotFoundError):
        client.request("GET", "/obj-perms", uuid="42")


def test_shared_objects_are_listed_beside_those_of_a_parent(api, client, project):
    uuid = client.uuid_of("project", project)
    own = make_network(client, project)
    client.create("project", ["default-domain", f"{project[1]}-b"])
    theirs = [*project[:1], f"{project[1]}-b"]
    shared = make_network(client, theirs)
    private = make_network(client, theirs, "blue")
    post(client, "/chmod", uuid=shared, share=[{"tenant": "tenant:aaa", "tenant_access": 5}])

    def listed(**headers):
        _, _, text = raw(api, "GET", f"/virtual-networks?parent_id={uuid}&shared=true", **headers)
        return {item["uuid"] for item in json.loads(text)["virtual-networks"]}

    assert listed(**{"X-Project-Id": "a-a-a"}) >= {own, shared}
    assert private not in listed(**{"X-Project-Id": "aaa"})
    assert shared not in listed(**{"X-Project-Id": "bbb"})


def test_quotas_of_a_project(api, client, project):
    uuid = client.uuid_of("project", project)
    quota = {"defaults": 5, "virtual_network": 1, "subnet": 2, "instance_ip": 1}
    client.update("project", uuid, quota=quota)
    network = make_network(client, project)
    body = json.dumps({"virtual-network": {"fq_name": [*project, "second"]}})
    status, _, text = raw(api, "POST", "/virtual-networks", body)
    assert status == 412
    assert text.startswith("quota limit (1) exceeded for resource virtual_network")
    two = ipam_refs(subnet(), subnet("10.2.0.0"))
    client.update("virtual-network", network, network_ipam_refs=two)
    three = ipam_refs(subnet(), subnet("10.2.0.0"), subnet("10.3.0.0"))
    with pytest.raises(ConflictError, match=r"quota limit \(2\) exceeded for resource subnet"):
        client.update("virtual-network", network, network_ipam_refs=three)
    owner = {"owner": uuid.replace("-", "")}
    refs = [{"uuid": network}]
    client.create("instance-ip", [f"{uuid}-1"], virtual_network_refs=refs, perms2=owner)
    with pytest.raises(ConflictError, match=r"quota limit \(1\) exceeded for resource instance_ip"):
        client.create("instance-ip", [f"{uuid}-2"], virtual_network_refs=refs, perms2=owner)
    client.create("instance-ip", [f"{uuid}-2"], virtual_network_refs=refs)  # of nobody
    for number in range(5):
        client.create("network-policy", [*project, str(number)])
    with pytest.raises(ConflictError, match=r"quota limit \(5\) exceeded"):
        client.create("network-policy", [*project, "sixth"])
    client.update("project", uuid, quota=None)
    make_network(client, project, "second")


def test_the_aaa_mode_is_that_of_the_settings(client):
    body = {"aaa-mode": "no-auth"}
    assert client.request("GET", "/aaa-mode").value == body
    assert client.request("PUT", "/aaa-mode", body).value == body
    with pytest.raises(ForbiddenError, match="cannot be set to rbac from here: it is no-auth"):
        client.request("PUT", "/aaa-mode", {"aaa-mode": "rbac"})
    with pytest.raises(InputError, match="one of"):
        client.request("PUT", "/aaa-mode", {"aaa-mode": "x"})


def test_refused_actions_say_what_to_do_instead(client):
    with pytest.raises(NotFoundError, match="amqp-publish is not there; there is no message bus"):
        client.request("POST", "/amqp-publish", {})


def test_no_key_may_be_given_twice(api):
    body = '{"virtual-machine": {"fq_name": ["a"], "display_name": "x", "display_name": "y"}}'
    status, _, text = raw(api, "POST", "/virtual-machines", body)
    assert (status, text) == (400, "the key 'display_name' is given twice; give it once\n")
    # Unless they are of different objects, or inside a text.
    body = '{"virtual-machine": {"fq_name": ["twice"], "display_name": "\\"a\\":1,\\"a\\":2"}}'
    assert raw(api, "POST", "/virtual-machines", body)[0] == 200


@pytest.mark.parametrize(
    ("body", "headers", "status", "text"),
    [
        (b'{"project": {"fq_name": ["\xff\xfe"]}}', {}, 400, "the body is not JSON"),
        (b'\xff{"project": {}}', {}, 400, "the body is not JSON"),
        (b'{"project": {"fq_name": ["a\\ud800"]}}', {}, 400, "the body is not JSON"),
        (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "the body is applic"),
        (b"<project/>", {"Content-Type": "text/xml; charset=utf-8"}, 415, "the body is text/xml"),
        (b"{}", {"Content-Type": 'application/json; charset="UTF-8"'}, 400, "a new project needs"),
        (b"\x00\x00\x00{", {}, 400, "the body is not JSON"),
        (b"[]", {}, 400, "expected `object`, got `array`"),
        (b'{"project": {"fq_name": [' + b"9" * 5000 + b"]}}", {}, 400, "number out of range"),
    ],
)
def test_bodies_that_are_none(api, body, headers, status, text):
    got, _, message = raw(api, "POST", "/projects", body, **headers)
    assert (got, text in message) == (status, True), message


@pytest.mark.parametrize(
    ("depth", "status", "text"),
    [(MAX_JSON_DEPTH, 200, "{}"), (MAX_JSON_DEPTH + 1, 400, "nested more than 64 levels deep")],
)
def test_json_has_a_bounded_depth(api, depth, status, text):
    value = "[" * (depth - 1) + "]" * (depth - 1)
    body = f'{{"operation": "STORE", "key": "deep", "value": {value}}}'
    got, _, message = raw(api, "POST", "/useragent-kv", body)
    assert (got, text in message) == (status, True), message


def test_filters_may_be_hostile(api):
    for value in ("[" * 20_000, '"' + "x" * 20_000, "9" * 5000, '{"a":1,"a":2}'):
        status, _, _ = raw(api, "GET", f"/projects?filters=display_name=={value}")
        assert status == 200
