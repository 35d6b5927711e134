"""Three API processes on one etcd cluster of three members: nothing doubled, nothing lost."""

import random
import threading
import time

import pytest

from filament.base.errors import ConflictError
from filament.client.sync import Client
from filament.store.etcd import EtcdStore
from filament.testing.etcd import EtcdCluster

from .mutations import Mutator, Progress, make_network, problems, snapshot_of
from .office import PROJECT, ipam_refs, subnet
from .served import start_api, stop_api

NAMES = ("api1", "api2", "api3")
ENOUGH = 500  # acknowledged writes per life of the cluster


@pytest.fixture
def etcd(tmp_path):
    with EtcdCluster(tmp_path, members=3) as cluster:
        yield cluster


class Apis:
    """API processes by name, on one store."""

    def __init__(self, directory, store):
        self.directory, self.store = directory, store
        self.processes, self.addresses = {}, []
        for name in NAMES:
            self.addresses.append(self.start(name))

    def start(self, name):
        self.processes[name], address = start_api(self.directory, self.store, name)
        return address

    def kill(self, name):
        stop_api(self.processes.pop(name))

    def close(self):
        for name in list(self.processes):
            self.kill(name)


@pytest.fixture
def apis(tmp_path, etcd):
    made = Apis(tmp_path, etcd.address)
    yield made
    made.close()


def settle(addresses):
    """What all processes show, once they agree."""
    deadline = time.monotonic() + 60
    while True:
        shown = [snapshot_of(address) for address in addresses]
        if all(each == shown[0] for each in shown) or time.monotonic() > deadline:
            assert all(each[0] == shown[0][0] for each in shown), [each[0] for each in shown]
            assert all(each == shown[0] for each in shown)
            return shown[0]
        threading.Event().wait(0.05)


def test_concurrent_creates_never_get_the_same_name_number_or_address(apis):
    network = make_network(apis.addresses[0])
    settle(apis.addresses)
    made, refused, failures = [], [], []
    barrier = threading.Barrier(6)

    def create(number):
        try:
            with Client(apis.addresses[number % 3]) as client:
                barrier.wait(20)
                for step in range(25):
                    refs = [{"uuid": network}]
                    made.append(
                        client.create(
                            "instance-ip", [f"{number}-{step}"], virtual_network_refs=refs
                        )
                    )
                    fields = {"network_ipam_refs": ipam_refs(subnet())}
                    try:  # six processes want the same name at once: one gets it
                        client.create("virtual-network", [*PROJECT, f"net-{step}"], **fields)
                        made.append(f"net-{step}")
                    except ConflictError as error:
                        refused.append(str(error))
        except Exception as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    _, objects, allocations = shown = settle(apis.addresses)
    assert problems([], *shown) == []
    addresses = [
        item.props["instance_ip_address"] for item in objects if item.kind == "instance-ip"
    ]
    assert len(addresses) == len(set(addresses)) == 150
    assert len(made) == 150 + 25
    assert len(refused) == 5 * 25
    assert all("already exists" in text for text in refused)
    numbers = [one.value for one in allocations if one.pool == "vn-id"]
    targets = [one.value for one in allocations if one.pool.startswith("route-target/")]
    assert len(numbers) == len(set(numbers)) >= 26
    assert len(targets) == len(set(targets)) >= 26


@pytest.mark.parametrize("seed", [20261120, 3])
def test_killing_api_processes_and_members_loses_nothing(apis, etcd, seed):
    chance = random.Random(seed)
    network = make_network(apis.addresses[0])
    settle(apis.addresses)
    enough = threading.Event()
    mutators = [Mutator(seed, name, apis.addresses, network, enough.is_set) for name in "abcd"]
    for mutator in mutators:
        mutator.start()
    kills = 0
    progress = Progress(mutators, f"seed {seed}")
    while progress.count() < ENOUGH:
        threading.Event().wait(chance.uniform(0.05, 0.5))
        if chance.random() < 0.5:
            victim = chance.choice(NAMES)
            apis.kill(victim)
            threading.Event().wait(chance.uniform(0, 0.2))
            apis.start(victim)
        else:
            member = chance.randrange(3)
            etcd.kill(member)
            threading.Event().wait(chance.uniform(0.1, 0.8))
            etcd.start(member)
            etcd.wait()
        kills += 1
    enough.set()
    for mutator in mutators:
        mutator.join(60)
    shown = settle(apis.addresses)
    store = EtcdStore(etcd.endpoints)
    try:
        stored = store.load()
        assert (stored[0], list(stored[1]), sorted(stored[2], key=str)) == shown
        revisions = [commit.revision for commit in store.log(0, 1_000_000)]
    finally:
        store.close()
    assert problems(mutators, *shown, revisions) == [], f"seed {seed}, {kills} kills"
    assert kills >= 3
