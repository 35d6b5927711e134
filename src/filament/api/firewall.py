"""What the API fills in for tags and firewall rules: numbers of tags, and rules by number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from filament.base.errors import ConflictError, InputError, NotFoundError
from filament.compiler.firewall_view import is_draft
from filament.model.change import Object, Ref
from filament.model.snapshot import Candidate

NewUuid = Callable[[], str]

TAG_TYPE_POOL = "tag-type"
FIRST_TAG_TYPE = 255  # below: predefined types
_MAX_NUMBER = 0xFFFF
FIRST_CHOSEN_TAG = 0x8000  # values below are ours to allocate
FIREWALL_RULE = "firewall-rule"
# What a rule refers to because an endpoint names it.
NAMED_BY_RULES = frozenset({"tag", "address-group", "virtual-network"})
GLOBAL_TAG = "global:"
_APPLICATION = 1
_ENDPOINTS = ("endpoint_1", "endpoint_2")
_WAYS = ("tags", "address_group", "virtual_network", "subnet", "any")
_PROTOCOL_IDS = {"any": 0, "icmp": 1, "tcp": 6, "udp": 17, "icmp6": 58}


def with_props(item: Object, **props: Any) -> Object:
    """The object with some properties replaced."""
    return msgspec.structs.replace(item, props=item.props | props)


def tag_type(change: Candidate, item: Object, before: Object | None, new_uuid: NewUuid) -> Object:
    """Give a new tag type its number, or hold the one it asks for."""
    del new_uuid
    if before is not None:
        return _immutable(item, before, ("tag_type_id",))
    given = item.props.get("tag_type_id")
    if given:
        number = _hexadecimal(given, "$.tag-type.tag_type_id")
        if change.allocated(TAG_TYPE_POOL, number) is not None:
            raise ConflictError(f"tag_type_id {given} is in use; leave it out")
    else:
        number = change.free_from(TAG_TYPE_POOL, FIRST_TAG_TYPE)
        if number > _MAX_NUMBER:
            raise ConflictError("all tag type ids are in use; delete unused tag-type objects")
    change.take(TAG_TYPE_POOL, number, item.uuid)
    return with_props(item, tag_type_id=f"0x{number:04x}")


def tag(change: Candidate, item: Object, before: Object | None, new_uuid: NewUuid) -> Object:
    """Give a new tag its number (16 bits of type, 16 of value) and a reference to its type."""
    del new_uuid
    if before is not None:
        return _immutable(item, before, ("tag_type_name", "tag_value", "tag_id"))
    name, value = item.props.get("tag_type_name"), item.props.get("tag_value")
    kind = change.named("tag-type", (name,)) if name else None
    if kind is None or not value:
        raise InputError(
            "incomplete-tag",
            f"tag {item.name} needs tag_type_name and tag_value",
            path="$.tag.tag_type_name",
            hint='write for example "tag_type_name": "application", "tag_value": "web"',
        )
    number = int(kind.props["tag_type_id"], 16)
    pool = f"tag-value/{name}"
    given = item.props.get("tag_id")
    if given:
        low = _chosen_value(given, number)
        if change.allocated(pool, low) is not None:
            raise ConflictError(f"tag_id {given} is in use; leave it out")
    else:
        low = change.free_from(pool, 1)
        if low >= FIRST_CHOSEN_TAG:
            raise ConflictError(f"all tag ids of type {name} are in use; delete unused tags")
    change.take(pool, low, item.uuid)
    refs = (Ref("tag-type", kind.uuid), *(ref for ref in item.refs if ref.kind != "tag-type"))
    item = msgspec.structs.replace(item, refs=refs)
    return with_props(item, tag_id=f"0x{number:04x}{low:04x}")


def _chosen_value(given: str, type_number: int) -> int:
    wanted = _hexadecimal(given, "$.tag.tag_id")
    if wanted >> 16 != type_number or wanted & _MAX_NUMBER < FIRST_CHOSEN_TAG:
        raise InputError(
            "bad-tag-id",
            f"tag_id {given} is not one a caller may choose for this type",
            path="$.tag.tag_id",
            hint=f"0x{type_number:04x}8000 to 0x{type_number:04x}ffff, or leave it out",
        )
    return wanted & _MAX_NUMBER


def _hexadecimal(text: str, path: str) -> int:
    try:
        return int(text, 16)
    except ValueError as error:
        raise InputError(
            "bad-number", f"'{text}' is not hexadecimal", path=path, hint="write for example 0x0100"
        ) from error


def _immutable(item: Object, before: Object, fields: tuple[str, ...]) -> Object:
    for field in fields:
        if item.props.get(field) != before.props.get(field):
            raise InputError(
                "immutable",
                f"{field} of {item.kind} {item.name} cannot be changed",
                path=f"$.{item.kind}.{field}",
                hint=f"create another {item.kind}",
            )
    return item


def firewall_rule(
    change: Candidate, item: Object, before: Object | None, new_uuid: NewUuid
) -> Object:
    """Number a rule's protocol, tags and tag types; keep its references to what it names."""
    del before, new_uuid
    service = item.props.get("service")
    if bool(service) == bool(item.refs_to("service-group")):
        raise InputError(
            "service-or-group",
            f"firewall-rule {item.name} needs either a service or a service-group",
            path="$.firewall-rule.service",
            hint='write for example "service": {"protocol": "tcp"}, or service_group_refs',
        )
    props: dict[str, Any] = {"match_tag_types": {"tag_type": _match_types(change, item)}}
    if service:
        props["service"] = {**service, "protocol_id": _protocol_id(service.get("protocol"))}
    refs: dict[str, Ref] = {}
    for field in _ENDPOINTS:
        endpoint = item.props.get(field)
        if endpoint:
            props[field] = _numbered(change, item, field, endpoint, refs)
    named = ("tag", "address-group", "virtual-network")
    kept = [ref for ref in item.refs if ref.kind not in named]
    found = [ref for kind in named for ref in refs.values() if ref.kind == kind]
    order = ("address-group", "security-logging-object", "service-group", "virtual-network", "tag")
    listed = tuple(sorted((*kept, *found), key=lambda ref: order.index(ref.kind)))
    return with_props(msgspec.structs.replace(item, refs=listed), **props)


def _numbered(
    change: Candidate, rule: Object, field: str, endpoint: dict[str, Any], refs: dict[str, Ref]
) -> dict[str, Any]:
    """An endpoint with its tags' numbers; adds what it names to `refs`."""
    ways = [way for way in _WAYS if endpoint.get(way)]
    if len(ways) > 1:
        raise InputError(
            "two-endpoints",
            f"{field} of firewall-rule {rule.name} is given as {' and as '.join(ways)}",
            path=f"$.firewall-rule.{field}",
            hint=f"give one of {', '.join(_WAYS)}",
        )
    numbers = []
    for name in endpoint.get("tags") or ():
        found = _named(change, "tag", _tag_name(rule, name))
        refs[found.uuid] = Ref("tag", found.uuid)
        numbers.append(int(found.props["tag_id"], 16))
    for way, kind in (("address_group", "address-group"), ("virtual_network", "virtual-network")):
        name = endpoint.get(way)
        if name and name != "any":
            found = _named(change, kind, tuple(name.split(":")))
            refs[found.uuid] = Ref(kind, found.uuid)
    return {**endpoint, "tag_ids": numbers} if numbers else endpoint


def _tag_name(rule: Object, name: str) -> tuple[str, ...]:
    """Global tags are written with a prefix; others are the project's of the rule (or of what it is
    a draft of).
    """
    scope = rule.fq_name[:-2] if is_draft(rule) else rule.fq_name[:-1]
    is_global = not scope if is_draft(rule) else rule.parent_kind != "project"
    if name.startswith(GLOBAL_TAG) or is_global:
        return (name.removeprefix(GLOBAL_TAG),)
    return (*scope, name)


def _named(change: Candidate, kind: str, fq_name: tuple[str, ...]) -> Object:
    found = change.named(kind, fq_name)
    if found is None:
        raise NotFoundError(f"{kind} {':'.join(fq_name)}, named by a firewall rule, does not exist")
    return found


def _match_types(change: Candidate, rule: Object) -> list[int]:
    match = rule.props.get("match_tags")
    if match is None:
        return [_APPLICATION]
    types = [_named(change, "tag-type", (name,)) for name in match.get("tag_list") or ()]
    return sorted(int(one.props["tag_type_id"], 16) for one in types)


def _protocol_id(protocol: str | None) -> int:
    text = (protocol or "any").lower()
    number = int(text) if text.isascii() and text.isdigit() else _PROTOCOL_IDS.get(text)
    if number is None or number > 255:
        raise InputError(
            "bad-protocol",
            f"protocol '{protocol}' is neither a known name nor a number 0-255",
            path="$.firewall-rule.service.protocol",
            hint="use any, tcp, udp, icmp, icmp6 or a number",
        )
    return number
