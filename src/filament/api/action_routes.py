"""Handlers of contrail-api's actions and of transactions: HTTP to engine actions and back."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from filament.api import catalog
from filament.api.access import ChangeAccess, RelaxReference, SetTags, TagEdit
from filament.api.addresses import ReleaseAddresses, ReserveAddresses, count_addresses
from filament.api.auth import Authentication, caller_of, tenant_of
from filament.api.draft_action import SettleDraft
from filament.api.elements import UpdateElements, elements_of
from filament.api.engine import ConfigEngine
from filament.api.permission import READ, Access, letters
from filament.api.render import Reader
from filament.api.request import Prepared, RefUpdate
from filament.api.stored import (
    USERAGENT,
    CreateIntPool,
    DeleteIntPool,
    ForgetValue,
    FreeInt,
    StoreValue,
    TakeInt,
    find_value,
    int_owner,
    list_values,
)
from filament.api.transaction import Transaction
from filament.api.writing import Writing
from filament.base.errors import ForbiddenError, InputError, NotFoundError
from filament.model.body import RefBody, decode
from filament.model.change import Object
from filament.model.kinds import KINDS
from filament.runtime.web import json_response, read_body

_decoders = {
    kind: msgspec.json.Decoder(kind)
    for kind in (entry.body for entry in catalog.CATALOG)
    if kind is not None
}


class ActionRoutes:
    """One method per row of the catalogue that acts. One per API process."""

    def __init__(
        self, engine: ConfigEngine, writing: Writing, authentication: Authentication
    ) -> None:
        self._engine = engine
        self._writing = writing
        self._aaa_mode = authentication.aaa_mode if authentication.is_on else "no-auth"

    async def ref_update(self, request: Request) -> Response:
        """POST /ref-update."""
        given: catalog.RefUpdateBody = await _body(request, catalog.RefUpdateBody)
        kind, target = KINDS.named(given.type), KINDS.named(given.ref_type)
        if not given.ref_uuid and not given.ref_fq_name:
            raise InputError(
                "no-reference",
                "ref-update names no object to refer to",
                path="$.ref-uuid",
                hint="give ref-uuid or ref-fq-name",
            )
        ref = RefBody(
            target.name, tuple(given.ref_fq_name or ()) or None, given.ref_uuid or None, given.attr
        )
        write = RefUpdate(kind.name, given.uuid, ref, given.operation, bool(given.relax))
        return await self._writing.answer(request, write, lambda _: {"uuid": given.uuid})

    async def relax_reference(self, request: Request) -> Response:
        """POST /ref-relax-for-delete."""
        given: catalog.RelaxBody = await _body(request, catalog.RelaxBody)
        write = RelaxReference(given.uuid, given.ref_uuid)
        return await self._writing.answer(request, write, lambda _: {"uuid": given.uuid})

    async def elements(self, request: Request) -> Response:
        """GET /prop-collection-get."""
        query = request.query_params
        access = self._engine.access(caller_of(request))
        item = self._require(access, query.get("uuid", ""))
        access.require_rule(item.kind, "R")
        fields = [one for one in query.get("fields", "").split(",") if one]
        if not fields:
            raise InputError("no-fields", "no fields asked for", path="fields")
        position = query.get("position")
        answer = {}
        for field in fields:
            found = elements_of(KINDS[item.kind], item, field)
            answer[field] = [
                [value, where] for where, value in found if position in {None, "", where}
            ]
        return json_response(answer)

    async def update_elements(self, request: Request) -> Response:
        """POST /prop-collection-update."""
        given: catalog.ElementsBody = await _body(request, catalog.ElementsBody)
        return await self._writing.answer(request, UpdateElements(given.uuid, given.updates))

    async def key_value(self, request: Request) -> Response:
        """POST /useragent-kv."""
        given: catalog.KeyValueBody = await _body(request, catalog.KeyValueBody)
        if given.operation == "RETRIEVE":
            return json_response({"value": self._retrieved(given.key)})
        if not isinstance(given.key, str) or not given.key:
            raise InputError("no-key", "useragent-kv needs a key", path="$.key", hint="name one")
        if given.operation == "STORE":
            write = StoreValue(USERAGENT, given.key, given.value)
            return await self._writing.answer(request, write, lambda _: {})
        forget = ForgetValue(USERAGENT, given.key)
        return await self._writing.answer(request, forget, lambda _: {})

    def _retrieved(self, key: str | list[str] | None) -> Any:
        view = self._engine.snapshot
        if not key:
            return [{"key": name, "value": value} for name, value in list_values(view, USERAGENT)]
        if isinstance(key, list):
            found = (find_value(view, USERAGENT, one) for one in key)
            return [value for value in found if value is not None]
        value = find_value(view, USERAGENT, key)
        if value is None:
            raise NotFoundError(f"Unknown User-Agent key {key}; RETRIEVE with key null lists all")
        return value

    async def permissions(self, request: Request) -> Response:
        """GET /obj-perms."""
        caller = caller_of(request)
        access = self._engine.access(caller)
        uuid = request.query_params.get("uuid")
        if uuid:
            may = letters(access.rights(self._require(access, uuid)))
        else:
            may = "RWX" if caller.is_cloud_admin else ""
        return json_response(
            catalog.PermissionsAnswer(None, caller.is_cloud_admin, caller.is_global_reader, may)
        )

    async def chown(self, request: Request) -> Response:
        """POST /chown."""
        given: catalog.ChownBody = await _body(request, catalog.ChownBody)
        write = ChangeAccess(given.uuid, {"owner": given.owner})
        return await self._writing.answer(request, write, lambda _: {})

    async def chmod(self, request: Request) -> Response:
        """POST /chmod."""
        given: catalog.ChmodBody = await _body(request, catalog.ChmodBody)
        fields = {
            "owner": given.owner,
            "owner_access": given.owner_access,
            "global_access": given.global_access,
            "share": given.share,
        }
        asked = {name: value for name, value in fields.items() if value is not None}
        perms2 = _checked_perms2(asked)
        return await self._writing.answer(request, ChangeAccess(given.uuid, perms2), lambda _: {})

    async def aaa_mode(self, request: Request) -> Response:
        """GET /aaa-mode."""
        del request
        return json_response({"aaa-mode": self._aaa_mode})

    async def set_aaa_mode(self, request: Request) -> Response:
        """PUT /aaa-mode."""
        given: catalog.AaaModeBody = await _body(request, catalog.AaaModeBody)
        if given.aaa_mode != self._aaa_mode:
            raise ForbiddenError(
                f"aaa-mode cannot be set to {given.aaa_mode} from here: it is {self._aaa_mode} by"
                " the settings of this API; write aaa_mode under [api.auth] and restart it"
            )
        return json_response(given)

    async def reserve_addresses(self, request: Request) -> Response:
        """POST /virtual-network/<uuid>/ip-alloc."""
        given: catalog.AddressesBody = await _body(request, catalog.AddressesBody)
        uuid = request.path_params["uuid"]
        write = ReserveAddresses(uuid, given.count, given.subnet, given.family)
        return await self._writing.answer(
            request, write, lambda prepared: {"ip_addr": prepared.answer}
        )

    async def release_addresses(self, request: Request) -> Response:
        """POST /virtual-network/<uuid>/ip-free."""
        given: catalog.Addresses = await _body(request, catalog.Addresses)
        write = ReleaseAddresses(request.path_params["uuid"], given.ip_addr)
        return await self._writing.answer(request, write, lambda _: {})

    async def count_addresses(self, request: Request) -> Response:
        """POST /virtual-network/<uuid>/subnet-ip-count."""
        given: catalog.SubnetsBody = await _body(request, catalog.SubnetsBody)
        view = self._engine.snapshot
        kind, uuid = KINDS["virtual-network"], request.path_params["uuid"]
        access = self._engine.access(caller_of(request))
        access.require_rule(kind.name, "R")
        access.require_own(kind, uuid, READ)
        network = self._engine.find(view, kind, uuid)
        counts = count_addresses(view, network, given.subnet_list)
        return json_response({"ip_count_list": counts})

    async def create_int_pool(self, request: Request) -> Response:
        """POST /int-pools."""
        given: catalog.IntPoolBody = await _body(request, catalog.IntPoolBody)
        write = CreateIntPool(given.pool, given.start, given.end)
        return await self._writing.answer(request, write, lambda _: {})

    async def delete_int_pool(self, request: Request) -> Response:
        """DELETE /int-pools."""
        given: catalog.PoolName = await _body(request, catalog.PoolName)
        return await self._writing.answer(request, DeleteIntPool(given.pool), lambda _: {})

    async def int_owner(self, request: Request) -> Response:
        """GET /int-pool."""
        query = request.query_params
        pool, text = query.get("pool", ""), query.get("value", "")
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise InputError("bad-value", f"value '{text}' is not an integer", path="value")
        owner = int_owner(self._engine.snapshot, pool, int(text))
        return json_response(catalog.OwnerAnswer(owner))

    async def take_int(self, request: Request) -> Response:
        """POST /int-pool."""
        given: catalog.TakeIntBody = await _body(request, catalog.TakeIntBody)
        write = TakeInt(given.pool, given.owner, given.value)
        return await self._writing.answer(
            request, write, lambda prepared: catalog.IntAnswer(prepared.answer)
        )

    async def free_int(self, request: Request) -> Response:
        """DELETE /int-pool."""
        given: catalog.FreeIntBody = await _body(request, catalog.FreeIntBody)
        return await self._writing.answer(request, FreeInt(given.pool, given.value), lambda _: {})

    async def set_tag(self, request: Request) -> Response:
        """POST /set-tag."""
        given: dict[str, Any] = await _body(request, dict[str, Any])
        kind, uuid = given.pop("obj_type", None), given.pop("obj_uuid", None)
        if not isinstance(kind, str) or not isinstance(uuid, str):
            raise InputError(
                "no-object", "set-tag names no object", hint="give obj_type and obj_uuid"
            )
        edits = {}
        for tag_type, edit in given.items():
            try:
                edits[tag_type] = msgspec.convert(edit, TagEdit | None)
            except msgspec.ValidationError as error:
                raise InputError("wrong-type", str(error), path=f"$.{tag_type}") from error
        return await self._writing.answer(request, SetTags(kind, uuid, edits), lambda _: {})

    async def settle_draft(self, request: Request) -> Response:
        """POST /security-policy-draft."""
        given: catalog.DraftBody = await _body(request, catalog.DraftBody)
        write = SettleDraft(given.scope_uuid, given.action)
        return await self._writing.answer(request, write, lambda _: {})

    async def transaction(self, request: Request) -> Response:
        """POST /transaction."""
        given: catalog.TransactionBody = await _body(request, catalog.TransactionBody)
        write = Transaction(given.operations, tenant_of(request))

        def shape(prepared: Prepared) -> catalog.TransactionAnswer:
            commit = prepared.commit
            current = self._engine.snapshot.revision
            revision = commit.revision if commit is not None else current
            return catalog.TransactionAnswer(revision, prepared.answer)

        return await self._writing.answer(request, write, shape)

    async def refused(self, request: Request) -> Response:
        """Tell, for an action of TF that is not there, what to do instead."""
        for path, _, instead in catalog.REFUSED.values():
            if path == request.url.path:
                raise NotFoundError(f"{path.removeprefix('/')} is not there; {instead}")
        raise NotFoundError(f"{request.url.path} is not there")

    def _require(self, access: Access, uuid: str) -> Object:
        item = Reader(self._engine.snapshot, self._engine.shown, access.sees).get(uuid)
        if item is None:
            raise NotFoundError(f"UUID {uuid} not found: no object has it")
        return item


async def _body(request: Request, kind: Any) -> Any:
    return decode(_decoders[kind], await read_body(request))


def _checked_perms2(asked: dict[str, Any]) -> dict[str, Any]:
    expected = KINDS["project"].properties["perms2"]
    try:
        checked: dict[str, Any] = msgspec.to_builtins(msgspec.convert(asked, expected))
    except msgspec.ValidationError as error:
        raise InputError("wrong-type", str(error)) from error
    return checked
