"""A small configuration to compile: commits made from a few words, applied to a Snapshot."""

from __future__ import annotations

import uuid

import msgspec

from filament.compiler.slots import slot_owners, slots
from filament.model.change import Allocation, Commit, Object, Ref
from filament.model.snapshot import Snapshot

PROJECT = ("default-domain", "demo")


def uuid_of(kind, name):
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{kind} {name}"))


def address(network=None, policy=None, subnet=None, subnets=()):
    def subnet_type(text):
        prefix, _, length = text.partition("/")
        return {"ip_prefix": prefix, "ip_prefix_len": int(length)}

    return {
        "virtual_network": network,
        "network_policy": policy,
        "security_group": None,
        "subnet": subnet_type(subnet) if subnet else None,
        "subnet_list": [subnet_type(each) for each in subnets],
    }


def rule(
    source,
    destination,
    *,
    protocol="any",
    action="pass",
    direction="<>",
    source_ports=((-1, -1),),
    destination_ports=((-1, -1),),
    rule_uuid="r1",
    **more,
):
    """A policy_rule; sides are fq names, `any`, `local` or whole addresses, or lists of these."""

    def addresses(side):
        sides = side if isinstance(side, list) else [side]
        return [each if isinstance(each, dict) else address(each) for each in sides]

    def ports(ranges):
        return [{"start_port": start, "end_port": end} for start, end in ranges]

    return {
        "direction": direction,
        "protocol": protocol,
        "src_addresses": addresses(source),
        "dst_addresses": addresses(destination),
        "src_ports": ports(source_ports),
        "dst_ports": ports(destination_ports),
        "action_list": {"simple_action": action},
        "rule_uuid": rule_uuid,
    } | more


class Universe:
    """A snapshot and the next commit. `put_*` stage, `commit` allocates targets and applies."""

    def __init__(self):
        self.snapshot = Snapshot()
        self.puts = {}
        self.deletes = {}
        self.frees = []
        self.next_target = 8000000

    # staging ---------------------------------------------------------------------------

    def put(self, kind, fq_name, props=None, refs=(), parent=None):
        made = Object(
            kind=kind,
            uuid=uuid_of(kind, ":".join(fq_name)),
            fq_name=tuple(fq_name),
            parent_kind=parent[0] if parent else None,
            parent_uuid=parent[1] if parent else None,
            props=props or {},
            refs=tuple(refs),
            revision=self.snapshot.revision + 1,
        )
        self.puts[made.uuid] = made
        return made

    def global_system_config(self, asn=64512, **props):
        return self.put(
            "global-system-config",
            ("default-global-system-config",),
            {"autonomous_system": asn, **props},
        )

    def network(
        self, name, policies=(), project=PROJECT, networks=(), subnets=(), vpns=(), **props
    ):
        """`policies`: names, or (name, attr); `networks`: fq names of provider networks; `vpns`:
        names of bgpvpns.
        """
        refs = []
        for each in policies:
            policy, attr = each if isinstance(each, tuple) else (each, None)
            if attr is None:
                attr = {"sequence": {"major": len(refs), "minor": 0}}
            refs.append(Ref("network-policy", uuid_of("network-policy", self.fq(policy)), attr))
        refs += [Ref("virtual-network", uuid_of("virtual-network", name)) for name in networks]
        refs += [Ref("bgpvpn", uuid_of("bgpvpn", self.fq(vpn))) for vpn in vpns]
        if subnets:
            ipam = uuid_of("network-ipam", self.fq("ipam"))
            refs.append(Ref("network-ipam", ipam, {"ipam_subnets": list(subnets)}))
        parent = ("project", uuid_of("project", ":".join(project)))
        return self.put("virtual-network", (*project, name), props, refs, parent)

    def policy(self, name, *rules):
        return self.put(
            "network-policy",
            (*PROJECT, name),
            {"network_policy_entries": {"policy_rule": list(rules)}},
            parent=("project", uuid_of("project", ":".join(PROJECT))),
        )

    def group(self, name, *rules, number=8000000):
        return self.put(
            "security-group",
            (*PROJECT, name),
            {"security_group_entries": {"policy_rule": list(rules)}, "security_group_id": number},
            parent=("project", uuid_of("project", ":".join(PROJECT))),
        )

    def vpn(self, name, **lists):
        """A bgpvpn; `lists`: route targets by `both`, `imports` and `exports`."""
        fields = {"both": "", "imports": "import_", "exports": "export_"}
        props = {
            f"{fields[key]}route_target_list": {"route_target": list(targets)}
            for key, targets in lists.items()
        }
        parent = ("project", uuid_of("project", ":".join(PROJECT)))
        return self.put("bgpvpn", (*PROJECT, name), props, parent=parent)

    def target(self, name):
        return self.put("route-target", (name,))

    def instance(self, network, name, targets=(), instances=()):
        """A routing instance that a client makes; `targets`: (name, import_export), `instances`:
        uuids.
        """
        refs = [
            Ref("route-target", uuid_of("route-target", target), {"import_export": direction})
            for target, direction in targets
        ]
        refs += [Ref("routing-instance", uuid, {}) for uuid in instances]
        parent = ("virtual-network", uuid_of("virtual-network", self.fq(network)))
        return self.put("routing-instance", (*PROJECT, network, name), {}, refs, parent)

    def ipam(self):
        return self.put("network-ipam", (*PROJECT, "ipam"), {"ipam_subnet_method": "x"})

    def router(self, host):
        fq_name = ("default-global-system-config", host)
        system = uuid_of("global-system-config", "default-global-system-config")
        return self.put("virtual-router", fq_name, parent=("global-system-config", system))

    def vrouter_config(self):
        fq_name = ("default-global-system-config", "default-global-vrouter-config")
        system = uuid_of("global-system-config", "default-global-system-config")
        return self.put("global-vrouter-config", fq_name, parent=("global-system-config", system))

    def machine(self, name):
        return self.put("virtual-machine", (name,))

    def port(self, name, network, machine=None, groups=()):
        refs = [Ref("virtual-network", uuid_of("virtual-network", self.fq(network)))]
        if machine:
            refs.append(Ref("virtual-machine", uuid_of("virtual-machine", machine)))
        refs += [Ref("security-group", uuid_of("security-group", self.fq(each))) for each in groups]
        return self.put("virtual-machine-interface", (*PROJECT, name), {"port": name}, refs)

    def instance_ip(self, name, port=None, address="10.1.1.3"):
        refs = []
        if port:
            kind = "virtual-machine-interface"
            refs.append(Ref(kind, uuid_of(kind, self.fq(port))))
        return self.put("instance-ip", (name,), {"instance_ip_address": address}, refs)

    def delete(self, kind, fq_name):
        gone = self.snapshot.named(kind, tuple(fq_name.split(":")))
        assert gone, fq_name
        if gone.uuid in self.deletes:
            return
        self.deletes[gone.uuid] = gone
        for owner in slot_owners(gone):
            self.frees += self.snapshot.allocations_of(owner)

    @staticmethod
    def fq(name):
        return ":".join((*PROJECT, name))

    # committing ------------------------------------------------------------------------

    def commit(self):
        """Apply what is staged with the targets it needs, as the API would; return the commit."""
        puts = tuple(self.puts.values())
        staged = Commit(
            revision=self.snapshot.revision + 1,
            at=0.0,
            who="test",
            puts=puts,
            deletes=tuple(self.deletes.values()),
            frees=tuple(self.frees),
        )
        probe = Snapshot(
            self.snapshot.revision, self.snapshot.objects(), self.snapshot.allocations()
        )
        probe.apply(staged)
        takes = []
        for slot in slots(probe, puts):
            takes.append(Allocation(slot.pool, self.next_target, slot.owner))
            self.next_target += 1
        done = msgspec.structs.replace(staged, takes=tuple(takes))
        self.snapshot.apply(done)
        self.puts, self.deletes, self.frees = {}, {}, []
        return done

    def revert(self, commit, before):
        """Apply the opposite of `commit`; `before` is uuid -> object as it was."""
        return self.apply(opposite(commit, before))

    def apply(self, commit):
        """Apply a whole commit under the next revision."""
        made = msgspec.structs.replace(commit, revision=self.snapshot.revision + 1)
        self.snapshot.apply(made)
        return made


def opposite(commit, before):
    return Commit(
        revision=0,
        at=0.0,
        who="test",
        puts=(*commit.deletes, *(before[each.uuid] for each in commit.puts if each.uuid in before)),
        deletes=tuple(each for each in commit.puts if each.uuid not in before),
        takes=commit.frees,
        frees=commit.takes,
    )
