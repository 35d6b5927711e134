"""Run by `test_vnc_client.py` in a process of its own: the VNC client against every kind it knows.

Prints one JSON line per kind: what failed, or null. The client warns of deprecated things on
import, which is why it is kept out of the suite's own process.
"""

import inspect
import json
import sys
import traceback

from vnc_api import vnc_api
from vnc_api.exceptions import NoIdError, RefsExistError
from vnc_api.gen import resource_client, resource_xsd

COMMON = {"id_perms", "perms2", "annotations", "display_name"}
# Numbers and names that the API chooses, or that mean something among objects: see RECIPES.
CHOSEN = {
    "virtual_network_network_id",
    "security_group_id",
    "sub_cluster_id",
    "tag_id",
    "tag_type_id",
    "config_version",
    "draft_mode_state",  # read-only, as in TF
    # The client of 2020 still calls these by names that the schema has left since.
    "structured_syslog_message_integer_fields",
}
TEXTS = {
    "ip_address": "10.3.0.5",
    "address": "10.3.0.5",
    "ip_prefix": "10.0.0.0",
    "mac_address": "02:00:00:00:00:01",
    "protocol": "tcp",
    "vxlan_network_identifier": "77",
    "route_target": "target:64512:100",
    "virtual_router_ip_address": "10.3.0.5",
}
SUBNET = {"ip_prefix": "10.9.0.0", "ip_prefix_len": 24}
RULE = {
    "direction": ">",
    "protocol": "tcp",
    "src_addresses": [{"security_group": "local"}],
    "dst_addresses": [{"subnet": SUBNET}],
    "action_list": {"simple_action": "pass"},
}
ANY = {"virtual_network": "any"}
POLICY_RULE = RULE | {"src_addresses": [ANY], "dst_addresses": [ANY]}

CLASSES = {
    made.resource_type: made
    for made in vars(resource_client).values()
    if inspect.isclass(made) and hasattr(made, "resource_type")
}
HOST_POOL = {"start": "10.8.0.8", "end": "10.8.0.9"}
FLAT_SUBNET = {
    "subnet": {"ip_prefix": "10.8.0.0", "ip_prefix_len": 24},
    "default_gateway": "10.8.0.1",
    "allocation_pools": [HOST_POOL | {"vrouter_specific_pool": True}],
}
# Of an IPAM that is whole, or that a compute host has a range of; networks need none of it.
FLAT = {
    "ipam_subnet_method": "flat-subnet",
    "ipam_subnets": {"subnets": [FLAT_SUBNET]},
    "ipam_subnetting": False,
}
# Property values per kind; None: leave it out.
RECIPES = {
    "virtual-network": {
        "virtual_network_properties": {"vxlan_network_identifier": 4711, "forwarding_mode": "l3"},
    },
    "network-policy": {"network_policy_entries": {"policy_rule": [POLICY_RULE]}},
    "security-group": {
        "security_group_entries": {"policy_rule": [RULE]},
        "configured_security_group_id": None,
    },
    "instance-ip": {
        "instance_ip_address": "10.9.0.77",
        "instance_ip_family": "v4",
        "instance_ip_subnet": None,
        "subnet_uuid": None,
    },
    "floating-ip": {"floating_ip_address": "10.9.0.88"},
    "alias-ip": {"alias_ip_address": "10.9.0.99"},
    "tag": {"tag_type_name": "colour", "tag_value": "red"},
    "logical-router": {"logical_router_type": "snat-routing"},
    "global-system-config": {"autonomous_system": 64512},
    "firewall-rule": {
        "service": {"protocol": "tcp", "dst_ports": {"start_port": 80, "end_port": 80}},
        "endpoint_1": {"any": True},
        "endpoint_2": {"subnet": SUBNET},
        "match_tags": {"tag_list": ["application"]},
        "match_tag_types": {"tag_type": [1]},
    },
    "floating-ip-pool": {"floating_ip_pool_subnets": None},
    "virtual-machine-interface": {
        "virtual_machine_interface_bindings": {
            "key_value_pair": [
                {"key": "vnic_type", "value": "direct"},
                {"key": "vif_type", "value": "vrouter"},
            ]
        },
    },
}


def sample(field, of=0):
    """A legal value of a property or attribute, from what the client knows of its type."""
    kind = field.get("attr_type") or field.get("xsd_type")
    limits = field.get("restrictions")
    if field["is_complex"]:
        return compound(kind)
    if field.get("simple_type") == "unsignedShort":
        return 24 + of
    if limits and field["restriction_type"] == "enum":
        return limits[of % len(limits)]
    if limits and field["restriction_type"] == "range":
        return limits[0] + of
    return {"boolean": bool(of), "integer": 24 + of, "unsignedLong": 7}.get(kind, f"text{of}")


def compound(name):
    made = getattr(resource_xsd, name)
    values = {}
    for attribute, field in made.attr_field_type_vals.items():
        is_free = not field["is_complex"] and not field["restrictions"]
        value = (TEXTS.get(attribute) if is_free else None) or sample(field)
        values[attribute] = [value] if field["is_array"] else value
    return made(params_dict=plain(values))


def plain(value):
    """Builtins, without nulls and empty lists, which the API does not keep."""
    if isinstance(value, resource_xsd.GeneratedsSuper):
        value = value.exportDict("")
    if isinstance(value, dict):
        kept = {key: plain(each) for key, each in value.items()}
        return {key: each for key, each in kept.items() if each is not None and each != []}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


def covers(got, want):
    """Whether the API answers everything that was written (it may add)."""
    if isinstance(want, dict):
        return isinstance(got, dict) and all(covers(got.get(k), v) for k, v in want.items())
    if isinstance(want, list):
        return len(got or ()) == len(want) and all(map(covers, got, want))
    return got == want


def recipe_of(kind, is_full):
    return FLAT if kind == "network-ipam" and is_full else RECIPES.get(kind, {})


class World:
    """Objects that others need, made once."""

    def __init__(self, client):
        self.client = client
        self.count = 0
        self.shared = {}

    def call(self, verb, kind):
        return getattr(self.client, f"{CLASSES[kind].object_type}_{verb}")

    def need(self, kind):
        """An object of a kind, made once."""
        if kind not in self.shared:
            if kind in ("global-system-config", "global-vrouter-config", "project", "domain"):
                name = {
                    "global-system-config": ["default-global-system-config"],
                    "global-vrouter-config": [
                        "default-global-system-config",
                        "default-global-vrouter-config",
                    ],
                    "domain": ["default-domain"],
                    "project": ["default-domain", "default-project"],
                }[kind]
                self.shared[kind] = self.call("read", kind)(fq_name=name)
            elif kind == "tag-type":
                self.shared[kind] = self.call("read", kind)(fq_name=["application"])
            else:
                self.shared[kind] = self.another(kind)
        return self.shared[kind]

    def another(self, kind, *, is_full=False):
        """A new object of a kind."""
        made = self.build(kind, is_full=is_full)
        self.call("create", kind)(made)
        return made

    def build(self, kind, *, is_full):
        made = CLASSES[kind]
        self.count += 1
        name = f"{kind}-{self.count}"
        if kind == "route-target":
            name = f"target:64512:{self.count}"
        parents = [each for each in made.parent_types if each != "config-root"]
        stands_alone = not parents or kind in ("tag", "policy-management")
        item = made(name) if stands_alone else made(name, self.need(parents[0]))
        self.fill(item, kind, is_full)
        self.link(item, kind)
        return item

    def fill(self, item, kind, is_full):
        recipe = recipe_of(kind, is_full)
        for name, field in CLASSES[kind].prop_field_types.items():
            is_needed = name in recipe or kind in ("loadbalancer-healthmonitor", "bgp-router")
            if name in COMMON or name in CHOSEN or not (is_full or is_needed):
                continue
            value = recipe[name] if name in recipe else TEXTS.get(name) or sample(field)
            if value is None or ("address" in name and not is_full and name in recipe):
                continue
            if isinstance(value, dict):
                value = getattr(resource_xsd, field["xsd_type"])(params_dict=value)
            getattr(item, f"set_{name}")(value)
        if kind == "tag":
            item.set_tag_value(f"value{self.count}")
        if kind == "virtual-network" and not is_full:
            item.set_virtual_network_properties(None)

    def link(self, item, kind):
        """The references without which an object makes no sense."""
        if kind == "virtual-network":
            subnet = resource_xsd.IpamSubnetType(subnet=resource_xsd.SubnetType(**SUBNET))
            item.add_network_ipam(self.need("network-ipam"), resource_xsd.VnSubnetsType([subnet]))
        if kind in ("virtual-machine-interface", "instance-ip"):
            item.add_virtual_network(self.need("virtual-network"))
        if kind == "instance-ip":
            item.add_virtual_machine_interface(self.need("virtual-machine-interface"))


def link_all(world, item, kind):
    """Every other reference the client knows for a kind, with a whole attribute; returns them."""
    added = []
    for field, (target, attribute, *_) in CLASSES[kind].ref_field_types.items():
        if target in (kind, "service-group", "tag-type") or getattr(item, f"get_{field}")():
            continue
        if kind in ("instance-ip", "firewall-rule", "virtual-network") and target in (
            "network-ipam", "tag", "address-group", "virtual-network", "virtual-router"
        ):  # fmt: skip
            continue
        value = compound(attribute) if attribute != "None" else None
        linked = world.need(target)
        if (kind, target) == ("logical-router", "virtual-network"):
            linked = world.another(target)  # its way out is not the network of its ports
        if (kind, target) == ("virtual-router", "network-ipam"):
            linked = world.another(target, is_full=True)
            value = resource_xsd.VirtualRouterNetworkIpamType(
                allocation_pools=[resource_xsd.AllocationPoolType(**HOST_POOL)]
            )
        arguments = (linked, value) if value is not None else (linked,)
        getattr(item, f"add_{field.removesuffix('_refs')}")(*arguments)
        added.append((field, linked, value))
    return added


def exercise(world, kind):
    """Create, read, list, update and delete one object of a kind; returns what went wrong."""
    item = world.build(kind, is_full=True)
    linked = link_all(world, item, kind)
    names = [name for name in CLASSES[kind].prop_fields if name not in COMMON]
    written = {name: plain(getattr(item, f"get_{name}")()) for name in names}
    world.call("create", kind)(item)
    read = world.call("read", kind)(id=item.uuid)
    assert (read.uuid, read.display_name) == (item.uuid, item.fq_name[-1])
    require_written(read, written)
    for field, target, value in linked:
        refs = getattr(read, f"get_{field}")()
        found = [ref for ref in refs if ref["uuid"] == target.uuid]
        assert found, f"{field} lacks {target.name}: {refs}"
        assert covers(plain(found[0]["attr"]), plain(value)), f"{field}: {found[0]} not {value}"
    by_name = world.call("read", kind)(fq_name=read.fq_name)
    assert by_name.uuid == item.uuid
    listed = getattr(world.client, f"{CLASSES[kind].object_type}s_list")(detail=True)
    assert item.uuid in [each.uuid for each in listed]
    require_one_of_a_name(world, kind, read)
    update(world, kind, read)
    require_refused_while_used(world, kind, read)
    world.call("delete", kind)(id=item.uuid)
    for lookup in ({"id": item.uuid}, {"fq_name": read.fq_name}):
        try:
            world.call("read", kind)(**lookup)
        except NoIdError:
            continue
        raise AssertionError(f"{lookup} is still found")


def require_written(read, written):
    for name, value in written.items():
        if value is None or (name == "tag_id"):
            continue
        got = plain(getattr(read, f"get_{name}")())
        assert covers(got, value), f"{name}: wrote {value}, read {got}"


def require_one_of_a_name(world, kind, item):
    twin = CLASSES[kind](fq_name=item.fq_name, parent_type=getattr(item, "parent_type", None))
    twin.fq_name = item.fq_name
    if kind == "tag":
        twin.set_tag_type_name(item.get_tag_type_name())
        twin.set_tag_value(item.get_tag_value())
    try:
        world.call("create", kind)(twin)
    except RefsExistError:
        return
    raise AssertionError(f"a second {item.fq_name} was created")


IMMUTABLE = {
    "tag_type_name", "tag_value", "logical_router_type", "instance_ip_address",
    "floating_ip_address", "alias_ip_address", "autonomous_system",
}  # fmt: skip


def update(world, kind, item):
    """Change display_name and one typed property; what was not changed stays."""
    fields = CLASSES[kind].prop_field_types
    item.set_display_name("another name")
    changed = {}
    recipe = recipe_of(kind, is_full=True)
    for name, field in sorted(fields.items()):
        if name in COMMON | CHOSEN | IMMUTABLE or field["is_complex"] or name in recipe:
            continue
        changed[name] = TEXTS.get(name) or sample(field, 1)
        getattr(item, f"set_{name}")(changed[name])
        break
    world.call("update", kind)(item)
    read = world.call("read", kind)(id=item.uuid)
    assert read.display_name == "another name"
    require_written(read, changed)


def require_refused_while_used(world, kind, item):
    """An object with children cannot be deleted."""
    if kind == "config-root":
        return  # what is below the root stands alone: the API drops that parent, as TF
    for child, derived in CLASSES[kind].children_field_types.values():
        made = CLASSES[child]
        if derived or child in ("virtual-network", "network-ipam", "namespace"):
            continue
        below = made(f"below-{world.count}", item)
        world.fill(below, child, False)
        world.link(below, child)
        if child in ("alias-ip", "floating-ip", "firewall-rule", "tag", "application-policy-set"):
            continue
        world.call("create", child)(below)
        try:
            world.call("delete", kind)(id=item.uuid)
        except RefsExistError:
            world.call("delete", child)(id=below.uuid)
            return
        raise AssertionError(f"deleted although it has a {child}")


def main():
    client = vnc_api.VncApi(
        api_server_host="127.0.0.1", api_server_port=sys.argv[1], auth_type="noauth"
    )
    world = World(client)
    for kind in sorted(CLASSES):
        problem = None
        try:
            exercise(world, kind)
        except Exception as error:
            line = traceback.extract_tb(error.__traceback__)[-1]
            problem = f"{type(error).__name__}: {error} at {line.name}: {line.line}"
        print(json.dumps({"kind": kind, "problem": problem}), flush=True)


main()
