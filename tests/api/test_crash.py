"""kill -9 in the middle of writes: every acknowledged write is there, and no half object."""

import threading

from filament.base.errors import TransientError
from filament.client.sync import Client
from filament.store.sqlite import SqliteStore

from .office import PROJECT, ipam_refs, subnet
from .served import api_process


def write_until_it_dies(address, name, acknowledged, enough):
    """Create networks and addresses; remember those the API acknowledged."""
    number = 0
    with Client(address) as client:
        while True:
            number += 1
            refs = ipam_refs(subnet(f"10.{number % 250}.0.0"))
            try:
                network = client.create(
                    "virtual-network", [*PROJECT, f"{name}-{number}"], network_ipam_refs=refs
                )
                acknowledged.append(network)
                links = [{"uuid": network}]
                acknowledged.append(
                    client.create("instance-ip", [f"{name}-{number}"], virtual_network_refs=links)
                )
            except TransientError:
                return
            if len(acknowledged) > 100:
                enough.set()


def read(directory):
    store = SqliteStore(directory / "filament.db")
    revision, objects, allocations = store.load()
    found = revision, {item.uuid: item for item in objects}, list(allocations)
    store.close()
    return found


def snapshot_of(client):
    """The whole configuration; the order of allocations means nothing."""
    value = client.request("GET", "/filament/snapshot").value
    return value | {"allocations": sorted(value["allocations"], key=str)}


def test_a_killed_api_keeps_what_it_acknowledged_and_nothing_half(tmp_path):
    acknowledged = []
    for life in range(2):
        enough, done = threading.Event(), []
        with api_process(tmp_path) as (process, address):
            writers = [
                threading.Thread(
                    target=write_until_it_dies, args=(address, f"{life}{name}", done, enough)
                )
                for name in "abcd"
            ]
            for writer in writers:
                writer.start()
            assert enough.wait(30)
            process.kill()
            for writer in writers:
                writer.join(30)
        acknowledged += done
        _, objects, allocations = read(tmp_path)
        assert set(acknowledged) <= objects.keys()
        held = {(one.pool.partition("/")[0], one.owner) for one in allocations}
        for item in objects.values():
            if item.kind == "virtual-network":
                assert ("vn-id", item.uuid) in held
                if item.fq_name[-1] != "__link_local__":
                    assert ("route-target", f"{item.name}:{item.fq_name[-1]}") in held
            if item.kind == "instance-ip":
                assert ("ip", item.uuid) in held
                assert all(ref.uuid in objects for ref in item.refs)
        assert len(allocations) == len({(one.pool, one.value) for one in allocations})
        owners = {one.owner for one in allocations if one.pool.partition("/")[0] != "route-target"}
        assert owners <= objects.keys()


def test_a_restarted_api_goes_on_where_it_was(tmp_path):
    with api_process(tmp_path) as (_, address), Client(address) as client:
        network = client.create(
            "virtual-network", [*PROJECT, "red"], network_ipam_refs=ipam_refs(subnet())
        )
        refs = [{"uuid": network}]
        client.create("instance-ip", ["first"], virtual_network_refs=refs)
        before = snapshot_of(client)
        shown = client.get("virtual-network", network)
    with api_process(tmp_path) as (_, address), Client(address) as client:
        assert snapshot_of(client) == before
        assert client.get("virtual-network", network) == shown
        second = client.create("instance-ip", ["second"], virtual_network_refs=refs)
        assert client.get("instance-ip", second)["instance_ip_address"] == "10.1.1.4"
