"""Which role names have a meaning to the API."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from filament.api.caller import Caller


class RoleNames(msgspec.Struct, frozen=True):
    """The role of cloud admins and of global readers ("": nobody is one); case does not matter."""

    cloud_admin: str = "admin"
    global_reader: str = ""

    def caller(
        self, user: str, roles: Iterable[str], project: str | None, domain: str | None
    ) -> Caller:
        """A caller with these roles."""
        has = frozenset(role.lower() for role in roles)
        return Caller(
            user=user,
            roles=has,
            project=project,
            domain=domain,
            is_cloud_admin=bool(self.cloud_admin) and self.cloud_admin.lower() in has,
            is_global_reader=bool(self.global_reader) and self.global_reader.lower() in has,
        )
