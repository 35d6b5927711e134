"""Collections: selection, filters, pages and detail, as contrail-api answers them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from filament.api.render import Include, Reader, answerable_fields
from filament.base.errors import InputError
from filament.model.body import decode
from filament.model.change import Object
from filament.model.kind import Kind, nearest
from filament.model.kinds import KINDS

PAGE_LENGTH = 256  # contrail-api's paginate_count
PORTION = 100  # objects rendered before others have their turn: a few milliseconds
_encode = msgspec.json.Encoder().encode
_any_json = msgspec.json.Decoder(Any)
_BETWEEN_FILTERS = re.compile(r",(?=[A-Za-z0-9_]+==)")


class ListQuery(msgspec.Struct, frozen=True):
    """What of a collection to answer. None and empty mean "not asked".

    `shared_with` is a project (or "" for any caller) whose shared objects are answered beside
    those of the parents asked for.
    """

    include: Include = Include()
    parents: tuple[str, ...] | None = None
    referred: tuple[str, ...] | None = None
    uuids: tuple[str, ...] | None = None
    names: tuple[tuple[str, ...], ...] | None = None
    filters: dict[str, list[Any]] = {}
    shared_with: str | None = None
    has_detail: bool = False
    is_count: bool = False
    after: str | None = None
    limit: int | None = None


def parse_query(
    reader: Reader, kind: Kind, given: Mapping[str, Any], tenant: str = ""
) -> ListQuery:
    """Parse query parameters (texts), or the body of list-bulk-collection (texts and booleans)."""
    fields = _split(given, "fields")
    if fields:
        check_fields(kind, fields)
    is_paged = "page_marker" in given or "page_limit" in given
    marker = str(given.get("page_marker") or "None")
    return ListQuery(
        include=Include(
            fields=frozenset(fields) if fields else None,
            links="exclude_hrefs" not in given,
        ),
        parents=_parents(reader, kind, given),
        referred=reader.known(_split(given, "back_ref_id")),
        uuids=_split(given, "obj_uuids"),
        names=_names(given),
        filters=_filters(kind, given),
        shared_with=tenant if _flag(given, "shared") else None,
        has_detail=_flag(given, "detail"),
        is_count=_flag(given, "count"),
        after=(marker if marker != "None" else "") if is_paged else None,
        limit=_limit(given) if is_paged else None,
    )


async def answer_list(reader: Reader, kind: Kind, query: ListQuery, base: str) -> dict[str, Any]:
    """Answer a collection.

    A large one is rendered in portions, between which others are answered: each object is whole,
    as it is when its turn comes, and one that was deleted meanwhile is left out.
    """
    found = list(_selected(reader, kind, query))
    if query.is_count:
        return {kind.collection: {"count": len(found)}}
    answer: dict[str, Any] = {}
    if query.limit is not None:
        found = [item for item in found if item.uuid > (query.after or "")]
        found.sort(key=lambda item: item.uuid)
        page = found[: query.limit]
        answer["marker"] = page[-1].uuid if len(found) > len(page) else None
        found = page
    include = _with_everything(kind, query.include) if query.has_detail else query.include
    parts: list[bytes] = []
    for start in range(0, len(found), PORTION):
        some = found[start : start + PORTION]
        if start:
            await asyncio.sleep(0)
            now = (reader.get(item.uuid) for item in some)
            some = [item for item in now if item is not None and item.kind == kind.name]
        if query.has_detail:
            parts += [_encode({kind.name: reader.full(item, base, include)}) for item in some]
        else:
            parts += [_encode(_brief(reader, item, base, include)) for item in some]
    answer[kind.collection] = msgspec.Raw(b"[%b]" % b",".join(parts))
    return answer


def check_fields(kind: Kind, fields: Iterable[str]) -> None:
    """Refuse names that are no fields of a kind."""
    known = answerable_fields(kind)
    for field in fields:
        if field not in known:
            raise InputError(
                "unknown-field",
                f"a {kind.name} has no field '{field}'",
                path="fields",
                hint=nearest(field, known),
            )


def _brief(reader: Reader, item: Object, base: str, include: Include) -> dict[str, Any]:
    if include.fields is not None:
        answer = reader.full(item, base, include)
        for name in ("name", "id_perms", "perms2"):
            if name not in include.fields:
                answer.pop(name, None)
    else:
        answer = reader.identity(item, base, include)
        for name in ("name", "parent_href"):
            answer.pop(name, None)
    return answer


def _with_everything(kind: Kind, include: Include) -> Include:
    """Detail answers properties and references always, what `fields` names besides."""
    if include.fields is None:
        return include
    everything = include.fields | kind.properties.keys() | kind.reference_fields.keys()
    return msgspec.structs.replace(include, fields=everything)


def _selected(reader: Reader, kind: Kind, query: ListQuery) -> Iterator[Object]:
    # Callers list a thousand uuids at once: look them up, do not compare with each.
    names, parents = frozenset(query.names or ()), frozenset(query.parents or ())
    referred = frozenset(query.referred or ())
    for item in _candidates(reader, kind, query):  # those of `uuids`, when they are given
        if query.names is not None and item.fq_name not in names:
            continue
        is_child = query.parents is None or item.parent_uuid in parents
        if not is_child and (query.shared_with is None or not _is_shared(item, query.shared_with)):
            continue
        if query.referred is not None and not any(ref.uuid in referred for ref in item.refs):
            continue
        if all(_matches(item, name, values) for name, values in query.filters.items()):
            yield item


def _candidates(reader: Reader, kind: Kind, query: ListQuery) -> Iterable[Object]:
    """The narrowest set that the query names; the rest of the query filters it."""
    found: Iterable[Object | None]
    if query.uuids is not None:
        found = map(reader.get, query.uuids)
    elif query.names is not None:
        found = (reader.named(kind, name) for name in query.names)
    elif query.parents is not None and query.shared_with is None:
        found = (item for uuid in query.parents for item in reader.children(uuid, kind))
    elif query.referred is not None:
        found = (item for uuid in query.referred for item in reader.referrers(uuid, kind))
    else:
        found = reader.of_kind(kind)
    once = {item.uuid: item for item in found if item is not None and item.kind == kind.name}
    return once.values()


def _is_shared(item: Object, tenant: str) -> bool:
    """Whether everybody, or a project, is given access to an object (TF's shared=true)."""
    perms2 = item.props.get("perms2") or {}
    if perms2.get("global_access"):
        return True
    wanted = tenant.replace("-", "").removeprefix("tenant:")
    return any(
        share.get("tenant_access")
        and str(share.get("tenant")).replace("-", "").removeprefix("tenant:") == wanted
        for share in perms2.get("share") or ()
    )


def _matches(item: Object, name: str, values: list[Any]) -> bool:
    stored = item.props.get(name)
    for value in values:
        if isinstance(value, dict) and isinstance(stored, dict):
            if value.items() <= stored.items():
                return True
        elif value == stored or str(value) == stored:
            return True
    return False


def _parents(reader: Reader, kind: Kind, given: Mapping[str, Any]) -> tuple[str, ...] | None:
    parents = _split(given, "parent_id")
    names = _split(given, "parent_fq_name_str")
    if names is None:
        return parents
    wanted = given.get("parent_type")
    kinds = [KINDS.named(wanted)] if wanted else [KINDS[name] for name in kind.real_parents]
    found = (reader.named(one, tuple(name.split(":"))) for name in names for one in kinds)
    return (*(parents or ()), *(item.uuid for item in found if item is not None))


def _names(given: Mapping[str, Any]) -> tuple[tuple[str, ...], ...] | None:
    names = _split(given, "fq_names")
    return None if names is None else tuple(tuple(name.split(":")) for name in names)


def _filters(kind: Kind, given: Mapping[str, Any]) -> dict[str, list[Any]]:
    filters: dict[str, list[Any]] = {}
    text = str(given.get("filters") or "")
    for one in _BETWEEN_FILTERS.split(text) if text else ():
        name, equals, value = one.partition("==")
        if not equals or name not in kind.properties:
            raise InputError(
                "bad-filter",
                f"filter '{one}' does not compare a property of {kind.name}",
                path="filters",
                hint=nearest(name, kind.properties) or "write filters=property==value",
            )
        try:
            filters.setdefault(name, []).append(decode(_any_json, value.encode()))
        except InputError:  # a text without quotes
            filters.setdefault(name, []).append(value)
    return filters


def _split(given: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    value = given.get(name)
    if value is None:
        return None
    listed = value if isinstance(value, list) else str(value).split(",")
    return tuple(str(one).strip() for one in listed if str(one).strip())


def _flag(given: Mapping[str, Any], name: str) -> bool:
    return "true" in str(given.get(name, "")).lower()


def _limit(given: Mapping[str, Any]) -> int:
    text = str(given.get("page_limit") or PAGE_LENGTH)
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise InputError(
            "bad-page-limit", f"page_limit '{text}' is not a positive number", path="page_limit"
        )
    return int(text)
