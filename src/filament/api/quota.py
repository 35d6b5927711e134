"""How many objects of a kind a project may have (TF's `quota` property). Pure.

Objects count for the project above them, or where there is none for the project that owns them.
Nothing is counted for projects that have no quota, so that they pay nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from uuid import UUID

from filament.base.errors import QuotaError
from filament.model.address import subnet_values
from filament.model.change import Object
from filament.model.kind import field_of
from filament.model.snapshot import Candidate

UNLIMITED = -1
_UUID_DIGITS = 32
# Quotas on parts of objects: field of QuotaType -> (kind, name of the part).
_PARTS = {
    "virtual-network": "subnet",
    "security-group": "security_group_rule",
}


def require_within_quota(change: Candidate, item: Object) -> None:
    """Refuse a new object (already in `change`) that is one too many for its project."""
    project = project_of(change, item)
    if project is None or item.kind == "project":
        return
    quota = project.props.get("quota") or {}
    if not quota:
        return
    limit = _limit(quota, field_of(item.kind))
    if limit is not None:
        count = sum(1 for _ in islice(_counted(change, project, item.kind), limit + 1))
        if count > limit:
            raise _exceeded(limit, field_of(item.kind), project)
    require_parts_within_quota(change, item)


def require_parts_within_quota(change: Candidate, item: Object) -> None:
    """Refuse an object (in `change`) whose parts are too many for its project."""
    part = _PARTS.get(item.kind)
    project = project_of(change, item) if part is not None else None
    if part is None or project is None:
        return
    limit = _limit(project.props.get("quota") or {}, part)
    if limit is not None:
        count = sum(_part_count(each) for each in change.children(project.uuid, item.kind))
        if count > limit:
            raise _exceeded(limit, part, project)


def project_of(change: Candidate, item: Object) -> Object | None:
    """The project an object counts for: itself, above it, or its owner."""
    above: Object | None = item
    while above is not None:
        if above.kind == "project":
            return above
        above = change.get(above.parent_uuid) if above.parent_uuid else None
    name = _owner(item)
    if len(name) < _UUID_DIGITS:  # most often cloud-admin
        return None
    try:
        owner = str(UUID(name))
    except ValueError:  # an owner that is no project
        return None
    project = change.get(owner)
    return project if project is not None and project.kind == "project" else None


def _counted(change: Candidate, project: Object, kind: str) -> Iterator[Object]:
    yield from change.children(project.uuid, kind)
    owner = project.uuid.replace("-", "")
    for item in change.of_kind(kind):
        if item.parent_uuid != project.uuid and _owner(item).replace("-", "") == owner:
            yield item


def _owner(item: Object) -> str:
    return str((item.props.get("perms2") or {}).get("owner") or "")


def _part_count(item: Object) -> int:
    if item.kind == "virtual-network":
        return sum(1 for _ in subnet_values(item))
    return len((item.props.get("security_group_entries") or {}).get("policy_rule") or ())


def _limit(quota: dict[str, int], field: str) -> int | None:
    limit = quota.get(field, quota.get("defaults", UNLIMITED))
    return limit if limit >= 0 else None


def _exceeded(limit: int, field: str, project: Object) -> QuotaError:
    return QuotaError(
        f"quota limit ({limit}) exceeded for resource {field} of project {project.name}; delete"
        f" one, or raise {field} in the project's quota"
    ).naming(project.uuid, QuotaError(f"quota limit exceeded for resource {field}"))
