"""A configuration engine over a memory store: what the API does, without HTTP or time."""

import itertools

from filament.api.boot import boot_commit
from filament.api.engine import ConfigEngine
from filament.api.request import Create, Delete, RefUpdate, Update
from filament.model.body import RefBody, convert_body
from filament.model.kinds import KINDS
from filament.store.memory import MemoryStore

PROJECT = ["default-domain", "default-project"]
IPAM = [*PROJECT, "default-network-ipam"]
NOW = 1_795_185_000.5


def subnet(prefix="10.1.1.0", length=24, **fields):
    return {
        "subnet": {"ip_prefix": prefix, "ip_prefix_len": length},
        "addr_from_start": True,
        **fields,
    }


def ipam_refs(*subnets):
    return [{"to": IPAM, "attr": {"ipam_subnets": list(subnets)}}]


def rule(source, destination, **fields):
    return {
        "direction": "<>",
        "protocol": "any",
        "src_addresses": [{"virtual_network": source}],
        "dst_addresses": [{"virtual_network": destination}],
        "src_ports": [{"start_port": -1, "end_port": -1}],
        "dst_ports": [{"start_port": -1, "end_port": -1}],
        "action_list": {"simple_action": "pass"},
        **fields,
    }


class Office:
    """Carries out requests at once; `now` is the clock."""

    def __init__(self):
        numbers = itertools.count(1)
        self.store = MemoryStore()
        self.engine = ConfigEngine(lambda: f"00000000-0000-4000-8000-{next(numbers):012x}")
        self.engine.load(self.store)
        self.now = NOW
        self.keep(boot_commit(self.engine, self.now))

    @property
    def view(self):
        return self.engine.snapshot

    def keep(self, commit):
        self.store.commit(commit)
        self.engine.apply(commit)

    def do(self, request):
        prepared = self.engine.prepare(request, now=self.now, who="test")
        if prepared.commit is not None:
            self.keep(prepared.commit)
        return prepared

    def create(self, kind, *fq_name, **fields):
        body = convert_body(KINDS[kind], {"fq_name": list(fq_name), **fields})
        return self.do(Create(kind, body)).object

    def update(self, item, **fields):
        body = convert_body(KINDS[item.kind], fields)
        return self.do(Update(item.kind, item.uuid, body))

    def delete(self, item):
        return self.do(Delete(item.kind, item.uuid))

    def add_ref(self, item, target, attr=None):
        ref = RefBody(target.kind, None, target.uuid, attr)
        return self.do(RefUpdate(item.kind, item.uuid, ref, "ADD"))

    def remove_ref(self, item, target):
        ref = RefBody(target.kind, None, target.uuid)
        return self.do(RefUpdate(item.kind, item.uuid, ref, "DELETE"))

    def network(self, name="red", *subnets, **fields):
        refs = ipam_refs(*(subnets or (subnet(),)))
        return self.create("virtual-network", *PROJECT, name, network_ipam_refs=refs, **fields)

    def port(self, network, name="port", **fields):
        return self.create(
            "virtual-machine-interface",
            *PROJECT,
            name,
            parent_type="project",
            virtual_network_refs=[{"uuid": network.uuid}],
            **fields,
        )

    def address(self, network, name="ip", **fields):
        refs = [{"uuid": network.uuid}]
        return self.create("instance-ip", name, virtual_network_refs=refs, **fields)

    def policy(self, name, *rules, **fields):
        return self.create(
            "network-policy",
            *PROJECT,
            name,
            network_policy_entries={"policy_rule": list(rules)},
            **fields,
        )

    def get(self, item):
        return self.view.get(item.uuid)

    def named(self, kind, *fq_name):
        return self.view.named(kind, fq_name)

    def shown(self, kind):
        return [item.name for item in self.engine.shown.objects.of_kind(kind)]
