"""Objects as the store keeps them, and the commits that change them.

An `Object` is generic (kind + properties + references); the kinds registry (`model.kinds`) says
what each kind may hold, and validates. Properties keep TF's JSON shapes and underscored names,
so an object goes to and from the wire without translation. Objects are never changed in place, so
they are in no cycle and the garbage collector need not look at them (`gc=False`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from filament.base.origin import Origin


class Ref(msgspec.Struct, frozen=True, gc=False):
    """A reference to another object, with the attribute its kind declares (or None).

    A relaxed one does not keep its target from being deleted: it goes with it.
    """

    kind: str
    uuid: str
    attr: dict[str, Any] | None = None
    is_relaxed: bool = False


class Object(msgspec.Struct, frozen=True, gc=False):
    """One configuration object. Lives from the commit that creates it to the one that deletes it.

    `kind` is dashed (`virtual-network`); `fq_name` ends in the object's own name; `props` maps
    underscored property names to JSON values (absent means unset); `revision` is the commit that
    last changed it (0 before it is committed).
    """

    kind: str
    uuid: str
    fq_name: tuple[str, ...]
    parent_kind: str | None = None
    parent_uuid: str | None = None
    props: dict[str, Any] = {}
    refs: tuple[Ref, ...] = ()
    revision: int = 0

    @property
    def name(self) -> str:
        """The fq_name in one string (`default-domain:demo:red`)."""
        return ":".join(self.fq_name)

    def refs_to(self, kind: str) -> list[Ref]:
        """References to objects of one kind, in order."""
        return [ref for ref in self.refs if ref.kind == kind]

    def origin(self, rule: str) -> Origin:
        """Provenance of a row that `rule` derives from this object."""
        return Origin(f"{self.kind} {self.name}", rule, self.revision)


class Allocation(msgspec.Struct, frozen=True, gc=False):
    """One number taken from a pool by an owner, in the same commit as the intent that needs it.

    Pools: `vn-id`, `route-target/<asn>`, `ip/<virtual-network uuid>/<subnet uuid>` (value: the
    address as an int), `mac` (value: the MAC as an int). `owner` is an object's uuid, or a
    routing instance's fq name for route targets. (pool, value) is unique in a store.
    """

    pool: str
    value: int
    owner: str


class Commit(msgspec.Struct, frozen=True):
    """One atomic change of the whole database: everything in it happens, or nothing.

    `revision` counts commits from 1 without gaps; `at` is epoch seconds; `who` the caller.
    `puts` are whole objects as they are after the commit, `deletes` whole objects as they were.
    """

    revision: int
    at: float
    who: str
    puts: tuple[Object, ...] = ()
    deletes: tuple[Object, ...] = ()
    takes: tuple[Allocation, ...] = ()
    frees: tuple[Allocation, ...] = ()
