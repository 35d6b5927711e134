"""What contrail-api-cli asks, replayed: each command's requests, and what it reads of the answers.

The tool itself (0.3.0, 2017) wants a gevent that no Python of today builds, and a Python whose
generators may raise StopIteration.
"""

import json

import pytest

from .office import IPAM, PROJECT
from .test_http import raw


class Cli:
    """The tool's session: every body is JSON, every answer with one is parsed."""

    HEADERS = {"Content-Type": "application/json", "User-Agent": "contrail-api-cli"}

    def __init__(self, api):
        self.api = api

    def ask(self, method, path, body=None):
        content = None if body is None else json.dumps(body)
        status, _, text = raw(self.api, method, path, content, **self.HEADERS)
        assert status == 200, (method, path, text)
        return json.loads(text) if text else None

    def types(self):
        """Resource types: the names of the home page's collections."""
        links = [entry["link"] for entry in self.ask("GET", "/")["links"]]
        return [one["name"] for one in links if one["rel"] == "collection"]

    def named(self, kind, *fq_name):
        """How a path with a name becomes one with a uuid."""
        return self.ask("POST", "/fqname-to-id", {"type": kind, "fq_name": list(fq_name)})["uuid"]

    def cat(self, kind, uuid, query=""):
        return self.ask("GET", f"/{kind}/{uuid}{query}")[kind]


@pytest.fixture
def cli(api):
    return Cli(api)


@pytest.fixture
def network(cli, request):
    name = [*PROJECT, request.node.name[:40]]
    body = {"virtual-network": {"fq_name": name, "parent_type": "project",
                                "network_ipam_refs": [{"to": IPAM, "attr": None}]}}  # fmt: skip
    made = cli.ask("POST", "/virtual-networks", body)["virtual-network"]
    yield made
    cli.ask("DELETE", f"/virtual-network/{made['uuid']}")


def test_ls(cli, network):
    types = cli.types()
    assert "virtual-network" in types
    assert "config-root" in types
    for kind in types:  # ls of a wildcard asks each of them
        assert f"{kind}s" in cli.ask("GET", f"/{kind}s")
    project = cli.named("project", *PROJECT)
    assert network["uuid"] in [
        one["uuid"]
        for one in cli.ask("GET", f"/virtual-networks?parent_id={project}")["virtual-networks"]
    ]
    name = network["fq_name"][-1]
    filtered = cli.ask("GET", f'/virtual-networks?filters=display_name=="{name}"')
    assert [one["uuid"] for one in filtered["virtual-networks"]] == [network["uuid"]]
    fields = "display_name,network_ipam_refs"
    listed = cli.ask("GET", f"/virtual-networks?fields={fields}&filters=display_name=={name}")
    assert listed["virtual-networks"][0]["network_ipam_refs"][0]["to"] == IPAM
    (brief,) = [  # ls -l asks for names, which it is answered anyway
        one
        for one in cli.ask("GET", "/virtual-networks?fields=fq_name")["virtual-networks"]
        if one["uuid"] == network["uuid"]
    ]
    assert brief.keys() == {"uuid", "fq_name", "href", "parent_type", "parent_uuid", "parent_href"}
    ipam = cli.named("network-ipam", *IPAM)
    back = cli.ask("GET", f"/virtual-networks?back_ref_id={ipam}&detail=true")
    assert network["uuid"] in [one["virtual-network"]["uuid"] for one in back["virtual-networks"]]


def test_du_counts(cli, network):
    assert network
    counted = cli.ask("GET", "/virtual-networks?count=True")["virtual-networks"]["count"]
    assert counted == len(cli.ask("GET", "/virtual-networks")["virtual-networks"])


def test_cat_and_tree_follow_links_everywhere(cli, network):
    """tree follows references, -r what refers to it, -P the parent: by `to` and `uuid`."""
    whole = cli.cat("virtual-network", network["uuid"])
    (ipam,) = whole["network_ipam_refs"]
    (instance,) = whole["routing_instances"]
    assert cli.cat("network-ipam", ipam["uuid"])["fq_name"] == ipam["to"]
    assert cli.cat("routing-instance", instance["uuid"])["fq_name"] == instance["to"]
    refs = cli.cat("network-ipam", ipam["uuid"])["virtual_network_back_refs"]
    assert network["uuid"] in [one["uuid"] for one in refs]
    parent = cli.cat(whole["parent_type"], whole["parent_uuid"])
    assert parent["fq_name"] == whole["fq_name"][:-1]
    found = cli.ask("POST", "/id-to-fqname", {"uuid": network["uuid"]})
    assert found == {"fq_name": whole["fq_name"], "type": "virtual-network"}


def test_edit_sends_back_what_it_read_without_id_perms(cli, network):
    query = "?exclude_children=True&exclude_back_refs=True"
    shown = cli.cat("virtual-network", network["uuid"], query)
    assert "routing_instances" not in shown
    del shown["id_perms"]
    shown["display_name"] = "edited"
    cli.ask("PUT", f"/virtual-network/{network['uuid']}", {"virtual-network": shown})
    again = cli.cat("virtual-network", network["uuid"], query)
    del again["id_perms"]
    assert again == shown
    # -t makes another one of it, once the person at the editor took out what TF allocates.
    allocated = {"uuid", "href", "name", "virtual_network_network_id"}
    copy = {key: value for key, value in shown.items() if key not in allocated}
    copy["fq_name"] = [*PROJECT, "copied"]
    made = cli.ask("POST", "/virtual-networks", {"virtual-network": copy})["virtual-network"]
    cli.ask("DELETE", f"/virtual-network/{made['uuid']}")


def test_ln_adds_and_removes_references(cli, network):
    body = {"fq_name": [*PROJECT, f"policy-{network['uuid']}"]}
    policy = cli.ask("POST", "/network-policys", {"network-policy": body})["network-policy"]
    link = {
        "type": "virtual-network",
        "uuid": network["uuid"],
        "ref-type": "network-policy",
        "ref-uuid": policy["uuid"],
        "ref-fq-name": policy["fq_name"],
        "operation": "ADD",
        "attr": {"sequence": {"major": 0, "minor": 0}},
    }
    assert cli.ask("POST", "/ref-update", link) == {"uuid": network["uuid"]}
    (ref,) = cli.cat("virtual-network", network["uuid"])["network_policy_refs"]
    assert (ref["to"], ref["attr"]) == (policy["fq_name"], link["attr"])
    cli.ask("POST", "/ref-update", link | {"operation": "DELETE", "attr": None})
    assert "network_policy_refs" not in cli.cat("virtual-network", network["uuid"])
    cli.ask("DELETE", f"/network-policy/{policy['uuid']}")


def test_kv(cli):
    cli.ask("POST", "/useragent-kv", {"operation": "STORE", "key": "cli", "value": "text"})
    asked = {"operation": "RETRIEVE", "key": "cli"}
    assert cli.ask("POST", "/useragent-kv", asked) == {"value": "text"}
    every = cli.ask("POST", "/useragent-kv", {"operation": "RETRIEVE", "key": None})["value"]
    assert {"key": "cli", "value": "text"} in every
    cli.ask("POST", "/useragent-kv", {"operation": "DELETE", "key": "cli"})
