"""Who asks: made once per request at the boundary and passed inwards. Pure."""

from __future__ import annotations

from uuid import UUID

import msgspec


class Caller(msgspec.Struct, frozen=True):
    """The author of one request, as authentication knows it.

    `user` is what commits call `who`. `roles` are lower case: role names are compared without
    case. `project` and `domain` are uuids of our objects, dashed. A cloud admin may do
    everything; a global reader may read everything that is visible; for others objects and rules
    decide.
    """

    user: str
    roles: frozenset[str] = frozenset()
    project: str | None = None
    domain: str | None = None
    is_cloud_admin: bool = False
    is_global_reader: bool = False


def trusted(user: str) -> Caller:
    """Someone who may do everything: the system itself, or anybody while authentication is off."""
    return Caller(user, is_cloud_admin=True)


def dashed(uuid: str) -> str:
    """A uuid as our objects carry it (keystone writes its own without dashes); else as it is."""
    try:
        return str(UUID(uuid))
    except ValueError:
        return uuid


def same_uuid(one: str, other: str) -> bool:
    """Compare uuids whether or not they have dashes, as perms2 holds them."""
    return one.replace("-", "").lower() == other.replace("-", "").lower()
