"""What must hold between the objects, allocations and log of one configuration, and proof of it.

The engine keeps all this true commit by commit. The check knows nothing of how: it looks at a
whole content, in time proportional to it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from filament.base.errors import InputError
from filament.model.change import Allocation, Object
from filament.model.flat_subnet import held_by
from filament.model.kinds import KINDS

CLASSES = {
    "kind": "every object is of a kind we know",
    "identity": "uuids are unique, and (kind, fq_name) is",
    "parent": "every parent exists, is of its kind, and its name begins the child's name",
    "reference": "every reference leads to an object of its kind",
    "back-reference": "references between objects of one kind are symmetric",
    "revision": "no object is of a later revision than the database",
    "doubled-allocation": "no value of a pool is held twice",
    "leaked-allocation": "every allocation has an owner that exists",
    "missing-allocation": "what an object shows as its own number or address, it holds",
    "log": "revisions of the log are gapless, and end at the database's",
}
_ROUTE_TARGET = "route-target/"


class Problem(msgspec.Struct, frozen=True):
    """One thing that must not be; `of` is a key of CLASSES."""

    of: str
    text: str


def check(
    revision: int,
    objects: Iterable[Object],
    allocations: Iterable[Allocation],
    log_revisions: Iterable[int] = (),
) -> list[Problem]:
    """Return everything that is wrong, class by class; nothing when all is well."""
    listed, held = list(objects), list(allocations)
    by_uuid = {item.uuid: item for item in listed}
    found = [
        *_identities(listed, revision),
        *(problem for item in listed for problem in _links(item, by_uuid)),
        *_allocations(by_uuid, held),
        *_missing(listed, {(one.pool, one.value, one.owner) for one in held}),
        *_log(revision, list(log_revisions)),
    ]
    order = list(CLASSES)
    return sorted(found, key=lambda problem: (order.index(problem.of), problem.text))


def _identities(listed: list[Object], revision: int) -> Iterator[Problem]:
    for uuid, count in Counter(item.uuid for item in listed).items():
        if count > 1:
            yield Problem("identity", f"{count} objects have uuid {uuid}")
    for (kind, fq_name), count in Counter((item.kind, item.fq_name) for item in listed).items():
        if count > 1:
            yield Problem("identity", f"{count} objects are the {kind} {':'.join(fq_name)}")
    for item in listed:
        if item.kind not in KINDS:
            yield Problem("kind", f"{_name(item)}: there is no such kind")
        if item.revision > revision:
            text = f"{_name(item)} is of revision {item.revision}, the database of {revision}"
            yield Problem("revision", text)


def _links(item: Object, by_uuid: dict[str, Object]) -> Iterator[Problem]:
    if item.parent_uuid is not None:
        parent = by_uuid.get(item.parent_uuid)
        # Children of what the plan renders have a parent that no store holds.
        if parent is None and not _is_rendered(item.parent_kind):
            text = f"{_name(item)}: its parent {item.parent_kind} {item.parent_uuid} is not there"
            yield Problem("parent", text)
        elif parent is not None and (
            parent.kind != item.parent_kind or parent.fq_name != item.fq_name[:-1]
        ):
            yield Problem("parent", f"{_name(item)} lies below the {_name(parent)}")
    for ref in item.refs:
        target = by_uuid.get(ref.uuid)
        if target is None:
            if not _is_rendered(ref.kind):
                text = f"{_name(item)} refers to {ref.kind} {ref.uuid}, which is not there"
                yield Problem("reference", text)
        elif target.kind != ref.kind:
            text = f"{_name(item)} refers to a {ref.kind} that is the {_name(target)}"
            yield Problem("reference", text)
        elif target.kind == item.kind and item.uuid not in {back.uuid for back in target.refs}:
            text = f"{_name(item)} refers to the {_name(target)}, which does not refer back"
            yield Problem("back-reference", text)


def _allocations(by_uuid: dict[str, Object], held: list[Allocation]) -> Iterator[Problem]:
    for (pool, value), count in Counter((one.pool, one.value) for one in held).items():
        if count > 1:
            yield Problem(
                "doubled-allocation", f"value {value} of pool {pool} is held {count} times"
            )
    networks = {item.fq_name for item in by_uuid.values() if item.kind == "virtual-network"}
    for one in held:
        # A route target belongs to a routing instance, which is rendered: its network is there.
        network = tuple(one.owner.split(":")[:-1])
        is_owned = network in networks if one.pool.startswith(_ROUTE_TARGET) else False
        if not is_owned and one.owner not in by_uuid:
            text = (
                f"value {one.value} of pool {one.pool} is held by {one.owner}, which is not there"
            )
            yield Problem("leaked-allocation", text)


def _missing(listed: list[Object], held: set[tuple[str, int, str]]) -> Iterator[Problem]:
    by_uuid = {item.uuid: item for item in listed}
    for item in listed:
        for pool, value in _shown(item, by_uuid):
            if (pool, value, item.uuid) not in held:
                text = f"{_name(item)} shows value {value} of pool {pool} and does not hold it"
                yield Problem("missing-allocation", text)


def _shown(item: Object, by_uuid: dict[str, Object]) -> Iterator[tuple[str, int]]:
    """What an object shows as its own number or address."""
    if item.kind == "virtual-network":
        number = item.props.get("virtual_network_network_id")
        if isinstance(number, int):
            yield "vn-id", number
    elif item.kind == "instance-ip":
        try:
            held = held_by(item, by_uuid.get)
        except InputError:
            return
        if held is not None:
            yield held


def _log(revision: int, revisions: list[int]) -> Iterator[Problem]:
    for before, after in itertools.pairwise(revisions):
        if after != before + 1:
            yield Problem("log", f"revision {after} follows {before}")
    if revisions and revisions[-1] != revision:
        yield Problem("log", f"ends at revision {revisions[-1]}, the database is at {revision}")


def _is_rendered(kind: str | None) -> bool:
    known = KINDS.get(kind) if kind is not None else None
    return known is not None and bool(known.rendered_from)


def _name(item: Object) -> str:
    return f"{item.kind} {item.name}"
