"""What a row of the kinds registry says, and what follows from all rows together.

Names: `virtual-network` in URLs and envelopes, `virtual_network` in fields; collections, children
fields and reference fields are formed blindly (`network_policys`, `network_policy_refs`), as in
Tungsten Fabric's API.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import Any

import msgspec

from filament.base.errors import NotFoundError
from filament.model.types_common import IdPermsType, KeyValuePairs, PermType2

ROOT = "config-root"
TAG = "tag"
COMMON_PROPERTIES: dict[str, Any] = {
    "id_perms": IdPermsType,
    "perms2": PermType2,
    "annotations": KeyValuePairs,
    "display_name": str,
}
COMMON_MAPS = {"annotations": ("key_value_pair", "key")}


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the registry.

    `parents` are dashed kinds ("config-root": may stand without a parent). `properties` maps
    names to types (common ones included), `references` the kinds it may refer to, to the type of
    the reference's attribute (None: no attribute). `list_properties` maps the properties that can
    be changed element by element to the field of their wrapper that holds the list,
    `map_properties` to that field and to the field of its elements that is the key; so do
    `keyed_lists`, whose elements have an order besides.
    `derived_children` do not block the deletion of an object, nor do references of its kind that
    others hold as one of their `derived_references`.
    `columns` are fields that a table of such objects shows. `allocates` names the pools it draws
    on; `system_properties` only the API sets. Of a kind with `rendered_from` there are, besides
    what clients create, objects rendered from the plan, which are read-only; the text says which
    intent to change instead.
    `children` and `back_references` are derived from the other rows: field name -> kind.
    """

    name: str
    parents: tuple[str, ...]
    properties: dict[str, Any]
    references: dict[str, Any] = {}
    list_properties: dict[str, str] = {}
    map_properties: dict[str, tuple[str, str]] = {}
    keyed_lists: dict[str, tuple[str, str]] = {}
    derived_children: frozenset[str] = frozenset()
    derived_references: frozenset[str] = frozenset()
    columns: tuple[str, ...] = ()
    allocates: tuple[str, ...] = ()
    system_properties: frozenset[str] = frozenset()
    rendered_from: str = ""
    children: dict[str, str] = {}
    back_references: dict[str, str] = {}

    @property
    def field(self) -> str:
        """The name inside field names: `virtual_network`."""
        return field_of(self.name)

    @property
    def collection(self) -> str:
        """The collection's name in URLs and envelopes: `virtual-networks`."""
        return f"{self.name}s"

    @property
    def reference_fields(self) -> dict[str, str]:
        """Reference field -> kind referred to (`network_ipam_refs` -> `network-ipam`)."""
        return _reference_fields(tuple(self.references))

    @property
    def may_be_root(self) -> bool:
        """Whether such objects may stand without a parent."""
        return ROOT in self.parents or not self.parents

    @property
    def real_parents(self) -> tuple[str, ...]:
        """Parents other than the root."""
        return tuple(parent for parent in self.parents if parent != ROOT)


def row(
    name: str,
    parents: tuple[str, ...],
    properties: dict[str, Any] | None = None,
    references: dict[str, Any] | None = None,
    *,
    lists: dict[str, str] | None = None,
    maps: dict[str, tuple[str, str]] | None = None,
    **more: Any,
) -> Kind:
    """A row of the registry, with what all kinds have in common added."""
    return Kind(
        name=name,
        parents=parents,
        properties=COMMON_PROPERTIES | (properties or {}),
        references={**(references or {}), TAG: None},
        list_properties=lists or {},
        map_properties=COMMON_MAPS | (maps or {}),
        **more,
    )


@cache
def _reference_fields(kinds: tuple[str, ...]) -> dict[str, str]:
    return {f"{field_of(kind)}_refs": kind for kind in kinds}


@lru_cache(maxsize=512)
def field_of(kind: str) -> str:
    """`virtual-network` -> `virtual_network`."""
    return kind.replace("-", "_")


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint naming the known word most like `word`, or ""."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else ""


class Registry(Mapping[str, Kind]):
    """All kinds by dashed name, with children and back references filled in."""

    def __init__(self, rows: Iterable[Kind]) -> None:
        listed = {row.name: row for row in rows}
        children: dict[str, dict[str, str]] = {name: {} for name in listed}
        back: dict[str, dict[str, str]] = {name: {} for name in listed}
        for row in listed.values():
            for parent in row.parents:
                children[parent][f"{row.field}s"] = row.name
            for target in row.references:
                # References between objects of one kind are symmetric, so they have no back side.
                if target != row.name:
                    back[target][f"{row.field}_back_refs"] = row.name
        self._kinds = {
            name: msgspec.structs.replace(row, children=children[name], back_references=back[name])
            for name, row in listed.items()
        }
        self._by_collection = {kind.collection: kind for kind in self._kinds.values()}

    def __getitem__(self, name: str) -> Kind:
        return self._kinds[name]

    def __iter__(self) -> Any:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    def named(self, name: str) -> Kind:
        """The kind called `name` (dashed or underscored); NotFoundError names the nearest."""
        kind = self._kinds.get(name) or self._kinds.get(name.replace("_", "-"))
        if kind is None:
            hint = nearest(name.replace("_", "-"), self._kinds)
            raise NotFoundError(f"Resource type '{name}' not found" + (f"; {hint}" if hint else ""))
        return kind

    def collected(self, collection: str) -> Kind:
        """The kind of a collection (`virtual-networks`); NotFoundError names the nearest."""
        kind = self._by_collection.get(collection)
        if kind is None:
            hint = nearest(collection, self._by_collection)
            raise NotFoundError(
                f"Resource type '{collection}' not found" + (f"; {hint}" if hint else "")
            )
        return kind
