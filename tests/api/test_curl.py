"""The `curl` lines of the TF primer, as an operator types them, with the real curl."""

import json
import subprocess

import pytest

from .office import PROJECT

JSON = ("-H", "Content-Type: application/json")


@pytest.fixture
def curl(api, tmp_path):
    """Run curl as the primer does: the address without scheme, the body from a file."""
    address = api.url.removeprefix("http://")

    def run(path, *options, body=None):
        if body is not None:
            (tmp_path / "jsonfile").write_text(json.dumps(body))
        command = ["curl", "-s", "-w", "\n%{http_code}", *options, f"{address}{path}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
        text, _, status = done.stdout.rpartition("\n")
        return int(status), text

    return run


def test_the_primers_lines(api, curl):
    status, text = curl("")
    collections = {
        link["link"]["href"]
        for link in json.loads(text)["links"]
        if link["link"]["rel"] == "collection"
    }
    assert status == 200
    assert f"{api.url}/virtual-networks" in collections

    name = [*PROJECT, "vn1"]
    made = {"virtual-network": {"parent_type": "project", "fq_name": name}}
    post = ("-X", "POST", *JSON, "-d@jsonfile")
    status, text = curl("/virtual-networks", *post, body=made)
    uuid = json.loads(text)["virtual-network"]["uuid"]
    assert status == 200

    listed = json.loads(curl("/virtual-networks")[1])["virtual-networks"]
    assert {"uuid", "fq_name", "href"} <= listed[0].keys()
    assert uuid in [one["uuid"] for one in listed]
    detailed = json.loads(curl("/virtual-networks?detail=True")[1])["virtual-networks"]
    (whole,) = [one for one in detailed if one["virtual-network"]["uuid"] == uuid]
    assert whole["virtual-network"]["display_name"] == "vn1"

    status, text = curl(f"/virtual-network/{uuid}")
    shown = json.loads(text)
    assert (status, shown["virtual-network"]["fq_name"]) == (200, name)
    # What was read is edited and sent back whole: hrefs, children and back references included.
    shown["virtual-network"]["route_target_list"] = {"route_target": ["target:64512:101"]}
    put = ("-X", "PUT", *JSON, "-d@jsonfile")
    assert curl(f"/virtual-network/{uuid}", *put, body=shown)[0] == 200
    again = json.loads(curl(f"/virtual-network/{uuid}")[1])["virtual-network"]
    assert again["route_target_list"] == {"route_target": ["target:64512:101"]}

    asked = ("-X", "POST", "-H", "content-type: application/json", "-d")
    by_name = json.dumps({"type": "virtual_network", "fq_name": name})
    assert json.loads(curl("/fqname-to-id", *asked, by_name)[1]) == {"uuid": uuid}
    found = json.loads(curl("/id-to-fqname", *asked, json.dumps({"uuid": uuid}))[1])
    assert found == {"fq_name": name, "type": "virtual-network"}

    # With a token that nobody looks at while authentication is off.
    assert curl(f"/virtual-network/{uuid}", "-H", "x-auth-token: tokenid")[0] == 200
    assert curl(f"/virtual-network/{uuid}", "-X", "DELETE") == (200, "")
    assert curl(f"/virtual-network/{uuid}")[0] == 404
