"""Random writers against real API processes, and what must hold whatever was killed meanwhile."""

import itertools
import random
import threading
import time

import msgspec

from filament.base.errors import FilamentError, TransientError
from filament.client.sync import Client
from filament.model.change import Allocation, Object
from filament.model.invariants import check

from .office import PROJECT, ipam_refs, subnet

STUCK_S = 60.0


class Mutator(threading.Thread):
    """Creates, changes and deletes its own objects in one shared network; remembers what was
    acknowledged (uuid -> display name, None once deleted) and what may have happened.
    """

    def __init__(self, seed, name, addresses, network, is_over):
        super().__init__(name=f"mutator-{seed}-{name}")
        self.random = random.Random(f"{seed}-{name}")
        self.label = f"{seed}-{name}"
        self.addresses, self.network, self.is_over = addresses, network, is_over
        self.certain = {}
        self.uncertain = set()
        self.kinds = {}
        self.acknowledged = 0
        self.retries = 0
        self.unexpected = []

    def run(self):
        for number in itertools.count():
            if self.is_over():
                return
            try:
                with Client(self.random.choice(self.addresses), timeout_s=20) as client:
                    for step in range(25):
                        if self.is_over():
                            return
                        self.mutate(client, f"{self.label}-{number}-{step}")
            except TransientError:
                self.retries += 1
                if not self.is_over():
                    threading.Event().wait(0.02)
            except FilamentError as error:
                self.unexpected.append(f"{type(error).__name__}: {error}")
                return

    def mutate(self, client, name):
        live = [
            uuid for uuid, shown in self.certain.items() if shown and uuid not in self.uncertain
        ]
        what = self.random.random()
        if what < 0.6 or not live:
            self.create(client, name)
            return
        uuid = self.random.choice(live)
        kind = self.kinds[uuid]
        self.uncertain.add(uuid)  # until it is acknowledged
        if what < 0.8:
            client.update(kind, uuid, display_name=name)
            self.certain[uuid] = name
        else:
            client.delete(kind, uuid)
            self.certain[uuid] = None
        self.uncertain.discard(uuid)
        self.acknowledged += 1

    def create(self, client, name):
        network = [{"uuid": self.network}]
        kind = self.random.choice(["instance-ip", "instance-ip", "virtual-network", "port"])
        if kind == "virtual-network":
            prefix = f"10.{self.random.randrange(200)}.0.0"
            fields = {"network_ipam_refs": ipam_refs(subnet(prefix))}
            uuid = client.create(kind, [*PROJECT, name], display_name=name, **fields)
        elif kind == "port":
            kind = "virtual-machine-interface"
            fields = {"parent_type": "project", "virtual_network_refs": network}
            uuid = client.create(kind, [*PROJECT, name], display_name=name, **fields)
        else:
            uuid = client.create(kind, [name], display_name=name, virtual_network_refs=network)
        self.kinds[uuid] = kind
        self.certain[uuid] = name
        self.acknowledged += 1


class Progress:
    """How many writes were acknowledged. Fails when none was for a while: a busy machine may take
    its time for all of them.
    """

    def __init__(self, mutators, label):
        self.mutators, self.label = mutators, label
        self.last, self.since = 0, time.monotonic()

    def count(self):
        now = sum(mutator.acknowledged for mutator in self.mutators)
        if now > self.last:
            self.last, self.since = now, time.monotonic()
        assert time.monotonic() - self.since < STUCK_S, f"{self.label}: stuck at {now} writes"
        return now


def make_network(address):
    with Client(address) as client:
        return client.create(
            "virtual-network",
            [*PROJECT, "shared"],
            network_ipam_refs=ipam_refs(subnet("10.250.0.0", 18)),
        )


def problems(mutators, revision, objects, allocations, log_revisions=()):
    """Everything that is wrong with a database after the mutators were at it."""
    objects = list(objects)
    found = [
        f"{one.of}: {one.text}" for one in check(revision, objects, allocations, log_revisions)
    ]
    by_uuid = {item.uuid: item for item in objects}
    for mutator in mutators:
        found += mutator.unexpected
        for uuid, shown in mutator.certain.items():
            if uuid in mutator.uncertain:
                continue
            item = by_uuid.get(uuid)
            if shown is None and item is not None:
                found.append(f"{uuid} was deleted, and is there")
            elif shown is not None and item is None:
                found.append(f"{uuid} ({shown}) was acknowledged, and is not there")
            elif shown is not None and item.props["display_name"] != shown:
                found.append(f"{uuid} was changed to {shown}, and is {item.props['display_name']}")
    return found


def snapshot_of(address):
    """Revision, objects and allocations as an API shows them."""

    with Client(address) as client:
        value = client.request("GET", "/filament/snapshot").value
    return (
        value["revision"],
        msgspec.convert(value["objects"], list[Object]),
        sorted(msgspec.convert(value["allocations"], list[Allocation]), key=str),
    )
