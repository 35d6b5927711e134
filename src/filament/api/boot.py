"""Objects every database starts with, as contrail-api's first start makes them."""

from __future__ import annotations

from typing import Any

from filament.api.engine import ConfigEngine
from filament.api.rbac import ACCESS_LIST, DEFAULT_NAME, default_entries
from filament.api.request import Create
from filament.model.body import convert_body
from filament.model.change import Commit
from filament.model.kinds import KINDS

BOOT = "boot"
_DOMAIN = ["default-domain"]
_PROJECT = [*_DOMAIN, "default-project"]
_SYSTEM = ["default-global-system-config"]
_READ_AND_LINK = 5

PREDEFINED_TAG_TYPES = {
    "label": 0,
    "application": 1,
    "tier": 2,
    "deployment": 3,
    "site": 4,
    "neutron_fwaas": 5,
    "neutron_tag": 6,
}

# Routing instances of these networks (`ip-fabric:__default__` too) are rendered from the plan.
_OBJECTS: tuple[tuple[str, list[str], dict[str, Any]], ...] = (
    ("global-system-config", _SYSTEM, {"autonomous_system": 64512, "config_version": "1.0"}),
    ("global-vrouter-config", [*_SYSTEM, "default-global-vrouter-config"], {}),
    ("global-qos-config", [*_SYSTEM, "default-global-qos-config"], {}),
    ("fabric", [*_SYSTEM, "default-fabric"], {}),
    (
        "alarm",
        [*_SYSTEM, "system-defined-bottle-request-size-limit"],
        {
            "parent_type": "global-system-config",
            "alarm_severity": 1,
            "uve_keys": {"uve_key": ["config-node"]},
        },
    ),
    ("discovery-service-assignment", ["default-discovery-service-assignment"], {}),
    *(
        (
            "tag-type",
            [name],
            {"tag_type_id": f"0x{number:04x}", "id_perms": {"user_visible": False}},
        )
        for name, number in PREDEFINED_TAG_TYPES.items()
    ),
    ("policy-management", ["default-policy-management"], {}),
    (
        "application-policy-set",
        ["default-policy-management", "default-application-policy-set"],
        {
            "parent_type": "policy-management",
            "all_applications": True,
            "global_vrouter_config_refs": [{"to": [*_SYSTEM, "default-global-vrouter-config"]}],
        },
    ),
    ("domain", _DOMAIN, {}),
    ("namespace", [*_DOMAIN, "default-namespace"], {}),
    ("project", _PROJECT, {}),
    ("virtual-network", [*_PROJECT, "ip-fabric"], {"is_provider_network": True}),
    ("virtual-network", [*_PROJECT, "__link_local__"], {}),
    ("virtual-network", [*_PROJECT, "dci-network"], {}),
    ("virtual-network", [*_PROJECT, "default-virtual-network"], {}),
    (
        "network-ipam",
        [*_PROJECT, "default-network-ipam"],
        {"perms2": {"owner": "cloud-admin", "global_access": _READ_AND_LINK}},
    ),
    (
        "security-group",
        [*_PROJECT, "__no_rule__"],
        {"perms2": {"owner": "cloud-admin", "global_access": _READ_AND_LINK}},
    ),
    (
        "network-ipam",
        [*_PROJECT, "service-chain-flat-ipam"],
        {
            "ipam_subnet_method": "flat-subnet",
            "ipam_subnets": {
                "subnets": [
                    {"subnet": {"ip_prefix": "0.0.0.0", "ip_prefix_len": 8}},
                    {"subnet": {"ip_prefix": "::ffff", "ip_prefix_len": 104}},
                ]
            },
        },
    ),
)

# Roles may look names up; everything else an administrator grants.
_RULES: tuple[str, list[str], dict[str, Any]] = (
    ACCESS_LIST,
    list(DEFAULT_NAME),
    {"parent_type": "global-system-config", "api_access_list_entries": default_entries()},
)


def boot_commit(engine: ConfigEngine, now: float, *, has_rules: bool = False) -> Commit | None:
    """One commit with every boot object that is missing, or None; `has_rules` is rbac mode."""
    listed = (*_OBJECTS, _RULES) if has_rules else _OBJECTS
    missing = [
        Create(kind, convert_body(KINDS[kind], {"fq_name": fq_name, **fields}))
        for kind, fq_name, fields in listed
        if engine.snapshot.named(kind, tuple(fq_name)) is None
    ]
    return engine.prepare_all(missing, now=now, who=BOOT) if missing else None
