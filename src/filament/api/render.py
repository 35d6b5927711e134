"""Objects as contrail-api answers them: JSON with names, uuids and links resolved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from filament.api.engine import LIST_POSITIONS
from filament.api.shown import ShownPlan
from filament.compiler.render import ACCESS_CONTROL_LIST, uuid_of
from filament.model.change import Object, Ref
from filament.model.kind import Kind, field_of
from filament.model.kinds import KINDS
from filament.model.stored import STORED_VALUE
from filament.model.view import View


class Include(msgspec.Struct, frozen=True):
    """Which parts of an object to answer.

    `fields` None means all properties and references; children and back references are answered
    when asked for by name or with `children` / `back_references`. `links` are the hrefs.
    """

    fields: frozenset[str] | None = None
    children: bool = False
    back_references: bool = False
    links: bool = True

    def has(self, field: str, by_default: bool) -> bool:
        """Say whether a field is wanted."""
        return by_default if self.fields is None else field in self.fields


# Answered even when `fields` does not name them.
_ALWAYS = ("id_perms", "perms2")
# What `Reader.identity` answers; clients of TF name these in `fields`, too.
_IDENTITY = ("name", "fq_name", "uuid", "href", "parent_type", "parent_uuid", "parent_href")


class Reader:
    """Reads stored and rendered objects alike. One per API process, over the committed state."""

    def __init__(
        self, view: View, shown: ShownPlan, sees: Callable[[Object], bool] | None = None
    ) -> None:
        """`sees` says what the reader's user may read (None: everything); the rest is not there."""
        self._view = view
        self._shown = shown.objects
        self._sees = sees
        self._find = shown.find

    def sees(self, item: Object) -> bool:
        """Whether the reader's user may read an object."""
        return self._sees is None or self._sees(item)

    def get(self, uuid: str) -> Object | None:
        """The object with this uuid, stored or rendered."""
        item = self._view.get(uuid)
        if item is not None and item.kind == STORED_VALUE:
            return None  # ours, not an object of the configuration
        item = item or self._find(self._view, uuid)
        return item if item is None or self._sees is None or self._sees(item) else None

    def _seen(self, items: Iterable[Object]) -> Iterable[Object]:
        return items if self._sees is None else filter(self._sees, items)

    def known(self, uuids: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Those uuids that are of objects we may read."""
        if uuids is None or self._sees is None:
            return uuids
        return tuple(uuid for uuid in uuids if self.get(uuid) is not None)

    def named(self, kind: Kind, fq_name: tuple[str, ...]) -> Object | None:
        """The object of a kind by name."""
        item = self._view.named(kind.name, fq_name)
        if item is None and kind.rendered_from:
            item = self._shown.named(kind.name, fq_name)
        return item if item is None or self._sees is None or self._sees(item) else None

    def of_kind(self, kind: Kind) -> Iterator[Object]:
        """All objects of a kind, in order of creation."""
        yield from self._seen(self._view.of_kind(kind.name))
        if kind.rendered_from:
            yield from self._seen(self._not_stored(self._shown.of_kind(kind.name)))

    def count(self, kind: Kind) -> int:
        """How many objects of a kind there are."""
        if self._sees is not None:
            return sum(1 for _ in self.of_kind(kind))
        named = self._view.named
        rendered = self._shown.fq_names(kind.name) if kind.rendered_from else ()
        return self._view.count(kind.name) + sum(
            1 for fq_name in rendered if named(kind.name, fq_name) is None
        )

    def rendered_called(self, kind: Kind, name: str) -> Iterator[Object]:
        """Rendered objects of a kind whose fq_name or its end is `name`."""
        for fq_name in self._shown.fq_names(kind.name) if kind.rendered_from else ():
            if name in (fq_name[-1], ":".join(fq_name)):
                rendered = self.named(kind, fq_name)
                if rendered is not None and self._view.get(rendered.uuid) is None:
                    yield rendered

    def children(self, uuid: str, kind: Kind) -> Iterator[Object]:
        """Children of one kind."""
        yield from self._seen(self._view.children(uuid, kind.name))
        if kind.rendered_from:
            yield from self._seen(self._not_stored(self._shown.children(uuid, kind.name)))

    def referrers(self, uuid: str, kind: Kind) -> Iterator[Object]:
        """Objects of one kind that refer to `uuid`."""
        yield from self._seen(self._view.referrers(uuid, kind.name))
        if kind.rendered_from:
            target = self._view.get(uuid)
            if target is not None and KINDS[target.kind].rendered_from:
                uuid = uuid_of(target.kind, target.name)  # what rendered objects call it
            yield from self._seen(self._not_stored(self._shown.referrers(uuid, kind.name)))

    def _not_stored(self, rendered: Iterable[Object]) -> Iterator[Object]:
        """Rendered objects but those that stand for intent of the same name."""
        named = self._view.named
        return (item for item in rendered if named(item.kind, item.fq_name) is None)

    def full(self, item: Object, base: str, include: Include) -> dict[str, Any]:
        """An object with properties, references, and what `include` says. `base` is our URL."""
        kind = KINDS[item.kind]
        answer = self.identity(item, base, include)
        for name, value in self._told(item).items():
            if name == LIST_POSITIONS:
                continue
            if name in _ALWAYS or include.has(name, by_default=True):
                answer[name] = value
        if "id_perms" in answer:  # TF answers these as null when they were never set
            answer["id_perms"] = {"description": None, "creator": None} | answer["id_perms"]
        for field, target in kind.reference_fields.items():
            if include.has(field, by_default=True):
                refs = self._shown_refs(item, target)
                if refs:
                    answer[field] = [
                        self._link(target, ref.uuid, base, include) | {"attr": ref.attr}
                        for ref in refs
                    ]
        self._add_related(answer, item, kind, base, include)
        return answer

    def _told(self, item: Object) -> dict[str, Any]:
        """The properties of an object that the reader's user may know.

        Intent is its author's words. But what the plan says in an access control list names
        networks that somebody else's policy brings in: rules about those that the user may not
        read are left out, and the hash, which would tell that there are some.
        """
        if self._sees is None or item.kind != ACCESS_CONTROL_LIST or self._view.get(item.uuid):
            return item.props
        entries = item.props["access_control_list_entries"]
        rules = [rule for rule in entries["acl_rule"] if self._sees_networks(rule)]
        if len(rules) == len(entries["acl_rule"]):
            return item.props
        told = {**item.props, "access_control_list_entries": {**entries, "acl_rule": rules}}
        del told["access_control_list_hash"]
        return told

    def _sees_networks(self, rule: dict[str, Any]) -> bool:
        """Whether the reader's user may read the networks that a rendered rule is about."""
        for side in ("src_address", "dst_address"):
            name = rule["match_condition"][side]["virtual_network"]
            if name is None or name == "any":
                continue
            network = self._view.named("virtual-network", tuple(name.split(":")))
            if network is None or not self.sees(network):
                return False
        return True

    def _shown_refs(self, item: Object, target: str) -> list[Ref]:
        refs = item.refs_to(target)
        if self._sees is None:
            return refs
        return [ref for ref in refs if self.get(ref.uuid) is not None]

    def identity(self, item: Object, base: str, include: Include) -> dict[str, Any]:
        """Name, uuid, parent and links of an object."""
        answer: dict[str, Any] = {
            "name": item.fq_name[-1],
            "fq_name": list(item.fq_name),
            "uuid": item.uuid,
        }
        if include.links:
            answer["href"] = href(base, item.kind, item.uuid)
        if item.parent_kind is not None and item.parent_uuid is not None:
            answer["parent_type"] = item.parent_kind
            answer["parent_uuid"] = item.parent_uuid
            if include.links:
                answer["parent_href"] = href(base, item.parent_kind, item.parent_uuid)
        return answer

    def _add_related(
        self, answer: dict[str, Any], item: Object, kind: Kind, base: str, include: Include
    ) -> None:
        for field, child in kind.children.items():
            if include.has(field, by_default=include.children):
                listed = self._links(self.children(item.uuid, KINDS[child]), base, include)
                if listed:
                    answer[field] = listed
        for field, referrer in kind.back_references.items():
            if include.has(field, by_default=include.back_references):
                users = list(self.referrers(item.uuid, KINDS[referrer]))
                if users:
                    answer[field] = [
                        link | {"attr": _attribute(user, item.uuid)}
                        for user, link in zip(users, self._links(users, base, include), strict=True)
                    ]

    def _links(self, items: Iterable[Object], base: str, include: Include) -> list[dict[str, Any]]:
        return [_link_to(item, base, include) for item in items]

    def _link(self, kind: str, uuid: str, base: str, include: Include) -> dict[str, Any]:
        target = self.get(uuid)
        if target is not None:
            return _link_to(target, base, include)
        answer: dict[str, Any] = {"to": ["ERROR"], "uuid": uuid}  # TF's word for a lost target
        return answer | ({"href": href(base, kind, uuid)} if include.links else {})


def href(base: str, kind: str, uuid: str) -> str:
    """The URL of an object."""
    return f"{base}/{kind}/{uuid}"


def answerable_fields(kind: Kind) -> frozenset[str]:
    """Every name that `fields` may hold for a kind."""
    return frozenset(
        {
            *_IDENTITY,
            *kind.properties,
            *kind.reference_fields,
            *kind.children,
            *kind.back_references,
        }
    )


def back_reference_field(kind: str) -> str:
    """`virtual-network` -> `virtual_network_back_refs`."""
    return f"{field_of(kind)}_back_refs"


def _link_to(item: Object, base: str, include: Include) -> dict[str, Any]:
    answer: dict[str, Any] = {"to": list(item.fq_name), "uuid": item.uuid}
    return answer | ({"href": href(base, item.kind, item.uuid)} if include.links else {})


def _attribute(user: Object, uuid: str) -> dict[str, Any] | None:
    return next((ref.attr for ref in user.refs if ref.uuid == uuid), None)
