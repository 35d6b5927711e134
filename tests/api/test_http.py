"""The VNC dialect over real HTTP: shapes, queries, errors. One server for the whole module."""

import http.client
import json
import re
from urllib.parse import urlsplit

import pytest

from filament.base.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from filament.base.limits import MAX_REQUEST_BYTES
from filament.client.sync import Client

from .office import IPAM, PROJECT, ipam_refs, rule, subnet


def raw(api, method, path, body=None, **headers):
    """Send bytes as they are; returns status, headers and text."""
    connection = http.client.HTTPConnection(urlsplit(api.url).netloc, timeout=60)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, response.headers, text


@pytest.fixture
def project(client, request):
    """A project of the test's own, so that tests do not see each other's objects."""
    name = request.node.name.partition("[")[0]
    client.create("project", ["default-domain", name])
    return ["default-domain", name]


def make_network(client, project, name="red", **fields):
    refs = ipam_refs(subnet())
    return client.create("virtual-network", [*project, name], network_ipam_refs=refs, **fields)


def test_the_home_page_leads_to_every_kind_and_action(api):
    status, _, text = raw(api, "GET", "/")
    page = json.loads(text)
    assert (status, page["href"]) == (200, api.url)
    links = [entry["link"] for entry in page["links"]]
    assert {"rel", "href", "name", "method"} == links[0].keys()
    found = {(link["rel"], link["name"]): (link["href"], link["method"]) for link in links}
    assert found["collection", "network-policy"] == (f"{api.url}/network-policys", None)
    assert found["resource-base", "virtual-network"] == (f"{api.url}/virtual-network", None)
    assert found["action", "name-to-id"] == (f"{api.url}/fqname-to-id", "POST")
    assert found["action", "ref-update"] == (f"{api.url}/ref-update", "POST")
    assert found["root", "config-root"] == (f"{api.url}/config-root", None)
    # Links are built on what the caller called us.
    assert json.loads(raw(api, "GET", "/", Host="api.example:80")[2])["href"] == (
        "http://api.example:80"
    )


def test_create_answers_identity_and_revision(api, client):
    body = json.dumps({"virtual-network": {"fq_name": [*PROJECT, "shape"]}})
    status, headers, text = raw(api, "POST", "/virtual-networks", body)
    answer = json.loads(text)["virtual-network"]
    parent = client.uuid_of("project", PROJECT)
    assert status == 200
    assert answer == {
        "name": "shape",
        "fq_name": [*PROJECT, "shape"],
        "uuid": client.uuid_of("virtual-network", [*PROJECT, "shape"]),
        "href": f"{api.url}/virtual-network/{answer['uuid']}",
        "parent_type": "project",
        "parent_uuid": parent,
        "parent_href": f"{api.url}/project/{parent}",
    }
    assert int(headers["X-Filament-Revision"]) > 1


def test_read_answers_properties_references_children_and_back_references(client, project):
    network = make_network(client, project)
    port = client.create(
        "virtual-machine-interface",
        [*project, "port"],
        parent_type="project",
        virtual_network_refs=[{"to": [*project, "red"]}],
    )
    answer = client.get("virtual-network", network)
    base = "http://localhost"
    assert answer["href"] == f"{base}/virtual-network/{network}"
    ipam = client.uuid_of("network-ipam", IPAM)
    (ref,) = answer["network_ipam_refs"]
    assert ref["to"] == IPAM
    assert ref["href"] == f"{base}/network-ipam/{ipam}"
    assert ref["attr"]["ipam_subnets"][0]["default_gateway"] == "10.1.1.1"
    (instance,) = answer["routing_instances"]
    assert instance["to"] == [*project, "red", "red"]
    assert answer["virtual_machine_interface_back_refs"] == [
        {
            "to": [*project, "port"],
            "uuid": port,
            "href": f"{base}/virtual-machine-interface/{port}",
            "attr": None,
        }
    ]
    assert answer["id_perms"]["description"] is None
    assert answer["id_perms"]["creator"] is None
    (named,) = client.get("virtual-machine-interface", port)["virtual_network_refs"]
    assert (named["uuid"], named["attr"]) == (network, None)

    bare = client.get(
        "virtual-network", network, exclude_back_refs="1", exclude_children="1", exclude_hrefs="1"
    )
    assert "routing_instances" not in bare
    assert "virtual_machine_interface_back_refs" not in bare
    assert "href" not in json.dumps(bare)

    some = client.get("virtual-network", network, fields="display_name,routing_instances")
    assert {"display_name", "routing_instances", "id_perms", "perms2"} <= some.keys()
    assert "network_ipam_refs" not in some
    with pytest.raises(InputError, match=r"no field 'displayname' at fields; did you mean display"):
        client.get("virtual-network", network, fields="displayname")


def test_objects_of_the_plan_are_read_like_others(client, project):
    network = make_network(client, project)
    (instance,) = client.list("routing-instance", parent_id=network, detail="true")
    assert instance["fq_name"] == [*project, "red", "red"]
    assert instance["routing_instance_is_default"] is True
    (target,) = instance["route_target_refs"]
    assert re.fullmatch(r"target:64512:80000\d\d", target["to"][0])
    assert client.get("routing-instance", instance["uuid"])["route_target_refs"] == [target]
    (back,) = client.get("route-target", target["uuid"])["routing_instance_back_refs"]
    assert back["to"] == [*project, "red", "red"]
    assert client.uuid_of("route-target", target["to"]) == target["uuid"]
    assert client.name_of(instance["uuid"]) == ("routing-instance", [*project, "red", "red"])
    assert target["to"] in [item["fq_name"] for item in client.list("route-target")]
    with pytest.raises(ForbiddenError, match="change the virtual-network, its route target lists"):
        client.delete("routing-instance", instance["uuid"])
    name = ":".join([*project, "red"])
    entries = {"policy_rule": [rule(name, "any")]}
    policy = client.create("network-policy", [*project, "p"], network_policy_entries=entries)
    client.add_ref("virtual-network", network, "network-policy", policy, {"sequence": {"major": 0}})
    (acl,) = client.list("access-control-list", parent_id=network, detail="true")
    assert acl["access_control_list_entries"]["acl_rule"][0]["action_list"]["simple_action"]


def test_update_changes_and_answers_uuid_and_href(api, client, project):
    network = make_network(client, project, mtu=1500)
    answer = client.update("virtual-network", network, mtu=9000)
    assert answer.value == {
        "virtual-network": {"uuid": network, "href": f"http://localhost/virtual-network/{network}"}
    }
    assert client.get("virtual-network", network)["mtu"] == 9000
    client.update("virtual-network", network, mtu=None)
    assert "mtu" not in client.get("virtual-network", network)
    status, _, text = raw(api, "PUT", f"/virtual-network/{network}")  # an empty body is no change
    assert (status, json.loads(text)["virtual-network"]["uuid"]) == (200, network)
    # What was read may be sent back whole.
    whole = client.get("virtual-network", network)
    revision = client.request("GET", "/filament/status").value["revision"]
    assert client.update("virtual-network", network, **whole).revision == revision


def test_an_unchanged_object_is_304(api, client, project):
    network = make_network(client, project)
    status, headers, _ = raw(api, "GET", f"/virtual-network/{network}")
    tag = headers["ETag"]
    modified = client.get("virtual-network", network)["id_perms"]["last_modified"]
    assert (status, tag) == (200, f'"{modified}"')
    unchanged = raw(api, "GET", f"/virtual-network/{network}", **{"If-None-Match": tag})
    assert (unchanged[0], unchanged[2]) == (304, "")
    client.update("virtual-network", network, mtu=1400)
    assert raw(api, "GET", f"/virtual-network/{network}", **{"If-None-Match": tag})[0] == 200


def test_delete_answers_nothing_and_then_there_is_nothing(api, client, project):
    network = make_network(client, project)
    status, headers, text = raw(api, "DELETE", f"/virtual-network/{network}")
    assert (status, text) == (200, "")
    assert headers["X-Filament-Revision"]
    with pytest.raises(NotFoundError, match=f"No virtual_network object found for id {network}"):
        client.get("virtual-network", network)


def test_names_and_uuids_are_translated(api, client, project):
    uuid = client.uuid_of("project", project)
    assert client.uuid_of("project", project) == uuid
    assert client.name_of(uuid) == ("project", project)
    body = json.dumps({"type": "virtual_network", "fq_name": [*PROJECT, "ip-fabric"]})
    assert raw(api, "POST", "/fqname-to-id", body)[0] == 200
    with pytest.raises(NotFoundError, match=r"Name \['nobody'\] not found"):
        client.uuid_of("domain", ["nobody"])
    with pytest.raises(NotFoundError, match="UUID 42 not found"):
        client.name_of("42")
    with pytest.raises(NotFoundError, match="'virtual-netwok' not found; did you mean virtual-ne"):
        client.uuid_of("virtual-netwok", ["x"])
    status, _, text = raw(api, "POST", "/fqname-to-id", b'{"type": "domain"}')
    assert (status, text) == (400, "object missing required field `fq_name` at $\n")


def test_lists_select_filter_and_count(client, project):
    uuid = client.uuid_of("project", project)
    networks = [
        make_network(client, project, f"net{number}", mtu=1000 + number) for number in (1, 2, 3)
    ]
    port = client.create(
        "virtual-machine-interface",
        [*project, "port"],
        parent_type="project",
        virtual_network_refs=[{"uuid": networks[1]}],
    )

    def listed(kind="virtual-network", **query):
        return [item["uuid"] for item in client.list(kind, **query)]

    assert listed(parent_id=uuid) == networks
    assert listed(parent_fq_name_str=":".join(project), parent_type="project") == networks
    assert listed(parent_fq_name_str="no:where") == []
    assert listed(obj_uuids=f"{networks[2]},nothing,{networks[0]}") == [networks[2], networks[0]]
    assert listed(obj_uuids=networks[0], parent_id="other") == []
    names = ",".join(":".join([*project, name]) for name in ("net2", "net9"))
    assert listed(fq_names=names) == [networks[1]]
    assert listed("virtual-machine-interface", back_ref_id=networks[1]) == [port]
    assert listed("virtual-machine-interface", back_ref_id=networks[0]) == []
    assert listed(parent_id=uuid, filters="mtu==1001,mtu==1003") == [networks[0], networks[2]]
    assert listed(parent_id=uuid, filters='mtu==1001,display_name=="net2"') == []
    assert listed(filters='id_perms=={"enable": true},display_name==net3') == [networks[2]]
    count = client.request("GET", "/virtual-networks", parent_id=uuid, count="true").value
    assert count == {"virtual-networks": {"count": 3}}
    with pytest.raises(InputError, match="filter 'mtuu==1' does not compare a property"):
        listed(filters="mtuu==1")


def test_lists_answer_little_some_or_everything(client, project):
    uuid = client.uuid_of("project", project)
    network = make_network(client, project, mtu=1400)
    (brief,) = client.list("virtual-network", parent_id=uuid)
    assert brief == {
        "fq_name": [*project, "red"],
        "uuid": network,
        "href": f"http://localhost/virtual-network/{network}",
        "parent_type": "project",
        "parent_uuid": uuid,
    }
    (some,) = client.list("virtual-network", parent_id=uuid, fields="mtu", exclude_hrefs="1")
    assert some == {
        "fq_name": [*project, "red"],
        "uuid": network,
        "parent_type": "project",
        "parent_uuid": uuid,
        "mtu": 1400,
    }
    (detail,) = client.list("virtual-network", parent_id=uuid, detail="True")
    assert detail == client.get(
        "virtual-network", network, exclude_children="1", exclude_back_refs="1"
    )
    (more,) = client.list(
        "virtual-network", parent_id=uuid, detail="1true", fields="routing_instances"
    )
    assert more.keys() - detail.keys() == {"routing_instances"}
    # The same as a POST, for what does not fit into a URL.
    bulk = {"type": "virtual-network", "parent_id": uuid, "fields": "mtu", "detail": False}
    answer = client.request("POST", "/list-bulk-collection", bulk).value
    assert [item["mtu"] for item in answer["virtual-networks"]] == [1400]


def test_pages_cover_the_whole_exactly_once(client, project):
    uuid = client.uuid_of("project", project)
    networks = {make_network(client, project, f"net{number}") for number in range(5)}
    marker, seen = "None", []
    while marker is not None:
        query = {"parent_id": uuid, "page_limit": "2", "page_marker": marker}
        answer = client.request("GET", "/virtual-networks", **query).value
        marker = answer["marker"]
        seen.append([item["uuid"] for item in answer["virtual-networks"]])
    assert [len(page) for page in seen] == [2, 2, 1]
    assert {one for page in seen for one in page} == networks
    with pytest.raises(InputError, match="page_limit 'x' is not a positive number"):
        client.list("virtual-network", page_limit="x")


def test_references_are_updated_one_by_one(client, project):
    network = make_network(client, project)
    policy = client.create("network-policy", [*project, "p"])
    client.add_ref("virtual-network", network, "network-policy", policy)
    body = {
        "type": "virtual_network",
        "uuid": network,
        "ref-type": "network_policy",
        "ref-uuid": None,
        "ref-fq-name": [*project, "p"],
        "operation": "ADD",
        "attr": {"sequence": {"major": 3, "minor": 1}},
    }
    assert client.request("POST", "/ref-update", body).value == {"uuid": network}
    (ref,) = client.get("virtual-network", network)["network_policy_refs"]
    assert ref["attr"] == {"sequence": {"major": 3, "minor": 1}}
    client.remove_ref("virtual-network", network, "network-policy", policy)
    assert "network_policy_refs" not in client.get("virtual-network", network)
    with pytest.raises(
        InputError, match=r"'REMOVE' is not allowed at \$.operation; one of ADD, DEL"
    ):
        client.request("POST", "/ref-update", {**body, "operation": "REMOVE"})
    with pytest.raises(InputError, match="ref-update names no object to refer to"):
        client.request("POST", "/ref-update", {**body, "ref-fq-name": None})
    with pytest.raises(InputError, match="unknown field 'sequenz' at"):
        client.request("POST", "/ref-update", {**body, "attr": {"sequenz": {}}})


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "/virtual-netwoks", "{}", 404, "'virtual-netwoks' not found; did you mean virtua"),
        ("GET", "/virtual-network", None, 404, "did you mean virtual-networks?"),
        ("GET", "/virtual-networks/42", None, 404, "did you mean virtual-network?"),
        ("GET", "/virtual-network/42", None, 404, "No virtual_network object found for id 42"),
        ("PUT", "/virtual-network/42", "{}", 404, "No virtual_network object found for id 42"),
        ("DELETE", "/virtual-network/42", None, 404, "No virtual_network object found for id 42"),
        ("PATCH", "/virtual-network/42", "{}", 405, "Method Not Allowed"),
        ("GET", "/a/b/c", None, 404, "Not Found"),
        (
            "POST",
            "/virtual-networks",
            '{"virtual-network": {"mtu": }}',
            400,
            "line 1 column 29 (byte 28)",
        ),
        ("POST", "/virtual-networks", "", 400, "a new virtual-network needs an fq_name"),
        (
            "POST",
            "/virtual-networks",
            '{"virtual-network": {"fq_name": ["a"], "mtu": "big"}}',
            400,
            "expected `int`, got `str` at $.virtual-network.mtu",
        ),
        (
            "POST",
            "/virtual-networks",
            '{"virtual-network": {"fqname": ["a"]}}',
            400,
            "unknown field 'fqname' at $.virtual-network; did you mean fq_name?",
        ),
        ("POST", "/projects", "[" * 10_000, 400, "the JSON is nested more than 64 levels deep"),
        (
            "POST",
            "/projects",
            '{"project": {"fq_name": ["default-domain", "default-project"]}}',
            409,
            "project default-domain:default-project already exists with uuid: ",
        ),
        ("GET", "/watch", None, 400, "watch needs a revision to start after, not ''"),
        ("GET", "/filament/status?wait=agent", None, 400, "wait 'agent' is not known at wait; did"),
        ("GET", "/filament/status?timeout_s=x", None, 400, "timeout_s 'x' is not a number of sec"),
        ("DELETE", "/virtual-machine/42?wait=now", None, 400, "use control or agents"),
    ],
)  # fmt: skip
def test_errors_are_plain_text_that_says_what_would_be_right(api, method, path, body, status, text):
    got, headers, message = raw(api, method, path, body)
    assert (got, headers.get_content_type()) == (status, "text/plain")
    assert text in message
    assert message.count("\n") <= 1


def test_a_body_that_is_too_large_is_refused_and_the_server_goes_on(api, client):
    # The server may close before it has read everything, so the client may fail to send it all.
    body = b'{"virtual-network": {"display_name": "' + b"x" * MAX_REQUEST_BYTES + b'"}}'
    status, _, text = raw(api, "POST", "/virtual-networks", body)
    assert (status, text) == (
        413,
        f"the request body exceeds {MAX_REQUEST_BYTES} bytes; send less at once\n",
    )
    assert client.request("GET", "/").value["links"]


def test_duplicates_and_used_objects_are_conflicts(client, project):
    network = make_network(client, project)
    with pytest.raises(ConflictError, match="already exists with uuid"):
        make_network(client, project)
    with pytest.raises(ConflictError, match="Delete when children still present"):
        client.delete("project", client.uuid_of("project", project))
    client.delete("virtual-network", network)


def test_the_same_over_tcp(api):
    with Client(api.url) as client:
        (domain,) = client.list("domain")
        assert client.get("domain", domain["uuid"])["href"].startswith(api.url)


def test_the_status_tells_the_revision_and_who_follows(client):
    before = client.request("GET", "/filament/status").value
    assert before["role"] == "api"
    uuid = client.create("virtual-machine", ["for-status"])
    revision = client.delete("virtual-machine", uuid).revision
    after = client.request("GET", "/filament/status").value
    assert after["revision"] == revision == before["revision"] + 2
    assert after["objects"] == before["objects"]
