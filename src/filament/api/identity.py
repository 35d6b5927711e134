"""Names, parents, identity and permissions of objects, by contrail-api's rules. Pure."""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime
from typing import Any

from filament.base.errors import InputError
from filament.base.net import RouteTarget
from filament.model.body import Body
from filament.model.change import Object
from filament.model.kind import Kind

_BAD_NAME = re.compile("[:\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_CLOUD_ADMIN = "cloud-admin"
_UTC = "+00:00"  # left out of time stamps, as TF does
_LEGACY_PERMISSIONS = {
    "owner": "cloud-admin",
    "owner_access": 7,
    "group": "cloud-admin-group",
    "group_access": 7,
    "other_access": 7,
}


def require_name(kind: Kind, body: Body) -> tuple[str, ...]:
    path = f"$.{kind.name}.fq_name"
    if body.fq_name is None:
        raise InputError(
            "no-fq-name",
            f"a new {kind.name} needs an fq_name",
            path=path,
            hint='write the names from the root down, for example ["default-domain", "demo"]',
        )
    name = body.fq_name[-1]
    if kind.name == "tag" and {"tag_type_name", "tag_value"} <= body.props.keys():
        # Whatever the client calls it, as TF: its schema's clients send a default name.
        name = f"{body.props['tag_type_name']}={body.props['tag_value']}"
    if kind.name == "route-target":  # the one name that holds colons, because they are its own
        RouteTarget.parse(name)
        return body.fq_name
    bad = _BAD_NAME.search(name)
    if bad or not name:
        what = f"contains {bad[0]!r}" if bad else "is empty"
        raise InputError(
            "bad-name",
            f"the name {name!r} {what}",
            path=path,
            hint="names may not be empty, nor contain ':' or control characters",
        )
    return (*body.fq_name[:-1], name)


def parent_kind_of(kind: Kind, body: Body) -> str | None:
    """The parent's kind, None for no parent (TF's rules for a missing parent_type)."""
    if body.parent_kind is None:
        if kind.may_be_root:
            return None
        if len(kind.parents) == 1:
            return kind.parents[0]
        raise InputError(
            "no-parent-type",
            f"Missing parent type: a {kind.name} may have several",
            path=f"$.{kind.name}.parent_type",
            hint=f"write {either_parent(kind)}",
        )
    given = body.parent_kind.replace("_", "-")
    if given not in kind.parents:
        raise InputError(
            "bad-parent-type",
            f"Invalid parent type: {body.parent_kind} for a {kind.name}",
            path=f"$.{kind.name}.parent_type",
            hint=f"write {either_parent(kind)}" if kind.real_parents else "leave it out",
        )
    return given if given in kind.real_parents else None


def either_parent(kind: Kind) -> str:
    return " or ".join(f'"{parent}"' for parent in kind.real_parents)


def require_same_identity(kind: Kind, before: Object, body: Body) -> None:
    for field, given, is_value in (
        ("fq_name", body.fq_name, before.fq_name),
        ("uuid", body.uuid, before.uuid),
        ("parent_uuid", body.parent_uuid, before.parent_uuid),
        ("parent_type", body.parent_kind, before.parent_kind or "config-root"),
    ):
        if given is not None and given != is_value:
            raise InputError(
                "immutable",
                f"{field} of {kind.name} {before.name} cannot be changed to {given!r}",
                path=f"$.{kind.name}.{field}",
                hint="leave it out, or create another object",
            )


def timestamp(now: float) -> str:
    second, microsecond = divmod(round(now * 1_000_000), 1_000_000)
    return f"{_to_the_second(second)}.{microsecond:06d}"


@functools.lru_cache(maxsize=4)
def _to_the_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat().removesuffix(_UTC)


def new_id_perms(uuid: str, given: dict[str, Any], now: float) -> dict[str, Any]:
    number = int(uuid.replace("-", ""), 16)
    stamp = timestamp(now)
    id_perms = {
        "enable": given.get("enable", True),
        "uuid": {"uuid_mslong": number >> 64, "uuid_lslong": number & (1 << 64) - 1},
        "created": stamp,
        "last_modified": stamp,
        "user_visible": given.get("user_visible", True),
        "permissions": _LEGACY_PERMISSIONS | given["permissions"]
        if given.get("permissions")
        else _LEGACY_PERMISSIONS,
    }
    return id_perms | {key: given[key] for key in ("description", "creator") if key in given}


def new_perms2(
    kind: Kind, uuid: str, parent: Object | None, given: dict[str, Any], tenant: str | None
) -> dict[str, Any]:
    if given.get("owner"):
        owner = given["owner"]
    elif kind.name == "project":
        owner = uuid.replace("-", "")
    elif parent is not None and parent.kind != "domain":
        owner = parent.props.get("perms2", {}).get("owner", _CLOUD_ADMIN)
    else:
        owner = tenant.replace("-", "") if tenant else _CLOUD_ADMIN
    return {
        "owner": owner,
        "owner_access": given.get("owner_access", 7),
        "global_access": given.get("global_access", 0),
        "share": given.get("share", []),
    }


def changed_perms2(kind: Kind, before: dict[str, Any], given: dict[str, Any] | None) -> Any:
    if not given or not given.get("owner"):
        raise InputError(
            "no-owner",
            "perms2 without owner",
            path=f"$.{kind.name}.perms2",
            hint=f'include "owner": "{before.get("owner")}" to keep it',
        )
    return before | given
