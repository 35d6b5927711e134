"""Role-based rules: which role may Create, Read, Update or Delete which kind, by which field.

Rules are `api-access-list` objects of the global system, the caller's domain and its project.
Their letters add up; nothing takes one away. Source: contrail-api's rbac mode.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from filament.api.caller import Caller
from filament.model.change import Object
from filament.model.view import View

Operation = Literal["C", "R", "U", "D"]
ANY = "*"
ACCESS_LIST = "api-access-list"
DEFAULT_NAME = ("default-global-system-config", "default-api-access-list")
_SYSTEM = DEFAULT_NAME[:1]
_MAX_CACHED = 4096

# What every role may do in a database that has just been made, as contrail-api's own default.
DEFAULT_RULES: tuple[tuple[str, str, str], ...] = (
    ("fqname-to-id", "", "CRUD"),
    ("id-to-fqname", "", "CRUD"),
    ("useragent-kv", "", "CRUD"),
    ("documentation", "", "R"),
    ("/", "", "R"),
    ("watch", "", "R"),
    ("logical-router", "logical_router_gateway_external", "R"),
)


class Rules:
    """Merged rules: letters by role, by (object, field); "" is the whole object."""

    def __init__(self, entries: Iterable[dict[str, Any]]) -> None:
        """`entries` are values of api_access_list_entries."""
        self._letters: dict[tuple[str, str], dict[str, set[str]]] = {}
        for value in entries:
            for rule in value.get("rbac_rule") or ():
                self._add(rule)

    def _add(self, rule: dict[str, Any]) -> None:
        name = _object_of(rule.get("rule_object") or ANY)
        given = rule.get("rule_field")
        fields = given if isinstance(given, list) else [given]
        for field in fields or [None]:
            by_role = self._letters.setdefault((name, "" if field in {None, ANY} else field), {})
            for perm in rule.get("rule_perms") or ():
                role = (perm.get("role_name") or ANY).lower()
                by_role.setdefault(role, set()).update((perm.get("role_crud") or "").upper())

    def lacking(
        self, roles: frozenset[str], name: str, operation: Operation, fields: Iterable[str] = ()
    ) -> str | None:
        """What the roles may not do: a field's name, "" for the whole object, None for nothing.

        A field without a rule of its own falls back to its object's rule, an object without one
        to the rule of every object.
        """
        for field in list(fields) or [""]:
            by_role = (
                (self._letters.get((name, field)) if field else None)
                or self._letters.get((name, ""))
                or (self._letters.get((ANY, field)) if field else None)
                or self._letters.get((ANY, ""))
                or {}
            )
            if not any(operation in by_role.get(role, ()) for role in (ANY, *roles)):
                return field
        return None


class RuleBook:
    """The rules in force for callers, merged again only when a list of theirs has changed.

    One per API process, bounded.
    """

    def __init__(self) -> None:
        self._merged: dict[tuple[str | None, str | None], tuple[list[Object], Rules]] = {}

    def rules(self, view: View, caller: Caller) -> Rules:
        """The rules for a caller: global, its domain's and its project's."""
        lists = list(_lists(view, caller))
        key = (caller.domain, caller.project)
        known = self._merged.get(key)
        # Objects are never changed in place, so the same objects are the same rules.
        if (
            known is not None
            and len(known[0]) == len(lists)
            and all(one is other for one, other in zip(known[0], lists, strict=True))
        ):
            return known[1]
        rules = Rules(item.props.get("api_access_list_entries") or {} for item in lists)
        if len(self._merged) >= _MAX_CACHED:
            self._merged.clear()
        self._merged[key] = (lists, rules)
        return rules


def _lists(view: View, caller: Caller) -> Iterable[Object]:
    system = view.named("global-system-config", _SYSTEM)
    for owner in (system.uuid if system is not None else None, caller.domain, caller.project):
        if owner is not None:
            yield from view.children(owner, ACCESS_LIST)


def _object_of(name: str) -> str:
    return name.strip("/").replace("_", "-") or "/"


def default_entries() -> dict[str, Any]:
    """The property of the access list that a new database in rbac mode starts with."""
    return {
        "rbac_rule": [
            {
                "rule_object": name,
                "rule_field": field,
                "rule_perms": [{"role_name": ANY, "role_crud": letters}],
            }
            for name, field, letters in DEFAULT_RULES
        ]
    }
