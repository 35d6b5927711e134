"""Several writes as one: all or nothing, validated and allocated together, one revision."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from filament.api.engine import ConfigEngine
from filament.api.permission import READ
from filament.api.request import Create, Delete, Outcome, Plain, RefUpdate, Request, Update
from filament.base.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    NotFoundError,
    PreconditionError,
    QuotaError,
)
from filament.base.limits import MAX_TRANSACTION_OPERATIONS
from filament.model.body import RefBody, convert_body
from filament.model.change import Object
from filament.model.kinds import KINDS
from filament.model.snapshot import Candidate


class Operation(msgspec.Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """One write. `type` is a kind; an existing object is named by `uuid` or `fq-name`, which may
    be of one that an earlier operation creates.

    create: `object` (as in POST, without the envelope). update: `object`, what changes. delete:
    nothing more. ref-update: `ref-type`, `ref-uuid` or `ref-fq-name`, `operation`, `attr`.
    """

    op: Literal["create", "update", "delete", "ref-update"]
    type: str
    uuid: str | None = None
    fq_name: list[str] | None = None
    object: dict[str, Any] | None = None
    ref_type: str | None = None
    ref_uuid: str | None = None
    ref_fq_name: list[str] | None = None
    operation: Literal["ADD", "DELETE"] = "ADD"
    attr: dict[str, Any] | None = None


class Transaction(msgspec.Struct, frozen=True):
    """Carry out every operation in order, each seeing the ones before; answers what each did."""

    operations: list[Operation]
    tenant: str | None = None

    def carry_out(self, engine: ConfigEngine, change: Candidate, now: float) -> Outcome:
        """See Action."""
        if not 1 <= len(self.operations) <= MAX_TRANSACTION_OPERATIONS:
            raise InputError(
                "bad-length",
                f"a transaction of {len(self.operations)} operations",
                path="$.operations",
                hint=f"send 1 to {MAX_TRANSACTION_OPERATIONS}",
            )
        done = []
        for index, operation in enumerate(self.operations):
            try:
                request = self._request(engine, change, operation)
                item = engine.carry_out(change, request, now)
            except (InputError, NotFoundError, ConflictError, ForbiddenError, QuotaError) as error:
                raise _at(error, index, operation) from error
            done.append(
                {
                    "op": operation.op,
                    "type": item.kind,
                    "uuid": item.uuid,
                    "fq_name": list(item.fq_name) if engine.asking.sees(item) else None,
                }
            )
        return Outcome(answer=done)

    def _request(self, engine: ConfigEngine, change: Candidate, operation: Operation) -> Plain:
        kind = KINDS.named(operation.type)
        if operation.op == "create":
            return Create(kind.name, convert_body(kind, operation.object or {}), self.tenant)
        uuid = operation.uuid or _named(engine, change, operation).uuid
        if operation.op == "update":
            return Update(kind.name, uuid, convert_body(kind, operation.object or {}))
        if operation.op == "delete":
            return Delete(kind.name, uuid)
        if not operation.ref_type or not (operation.ref_uuid or operation.ref_fq_name):
            raise InputError(
                "no-reference",
                "a ref-update names the object to refer to",
                path="$.ref-type",
                hint="give ref-type, and ref-uuid or ref-fq-name",
            )
        target = RefBody(
            KINDS.named(operation.ref_type).name,
            tuple(operation.ref_fq_name or ()) or None,
            operation.ref_uuid or None,
            operation.attr,
        )
        return RefUpdate(kind.name, uuid, target, operation.operation)


class Expecting(msgspec.Struct, frozen=True):
    """Carry out a request only if nothing it changes or deletes has changed after `revision`.

    `tag` (an ETag, without its quotes) asks for a state of the object the request is about.
    """

    request: Request
    revision: int | None = None
    tag: str | None = None

    def carry_out(self, engine: ConfigEngine, change: Candidate, now: float) -> Outcome:
        """See Action."""
        if isinstance(self.request, Plain):
            outcome = Outcome(engine.carry_out(change, self.request, now))
        else:
            outcome = self.request.carry_out(engine, change, now)
        for item in (*change.puts, *change.deletes):
            before = change.before(item.uuid)
            if before is not None and self.revision is not None:
                self._require_old(before, change.revision - 1)
        if self.tag is not None and outcome.object is not None:
            before = change.before(outcome.object.uuid)
            modified = before.props["id_perms"]["last_modified"] if before is not None else ""
            if modified != self.tag:
                raise PreconditionError(
                    f'{outcome.object.kind} {outcome.object.name} is at "{modified}", not at'
                    f' "{self.tag}"; read it again',
                    change.revision - 1,
                ).naming(
                    outcome.object.uuid,
                    PreconditionError(f'it is not at "{self.tag}"', change.revision - 1),
                )
        return outcome

    def _require_old(self, before: Object, current: int) -> None:
        if self.revision is not None and before.revision > self.revision:
            raise PreconditionError(
                f"{before.kind} {before.name} was changed at revision {before.revision}, after"
                f" {self.revision}; read it again (the current revision is {current})",
                current,
            ).naming(
                before.uuid,
                PreconditionError(
                    f"what this changes was changed after revision {self.revision}", current
                ),
            )


def _named(engine: ConfigEngine, change: Candidate, operation: Operation) -> Object:
    kind = KINDS.named(operation.type)
    if operation.fq_name:
        item = engine.find_named(change, kind, tuple(operation.fq_name))
        if engine.asking.is_hidden(item):
            raise NotFoundError(f"Name {operation.fq_name} not found: there is no such {kind.name}")
        engine.asking.require(item, READ, item.name)
        return item
    raise InputError(
        "no-object",
        f"{operation.op} names no {kind.name}",
        path="$.uuid",
        hint="give uuid or fq-name",
    )


def _at(
    error: InputError | NotFoundError | ConflictError | ForbiddenError | QuotaError,
    index: int,
    operation: Operation,
) -> Exception:
    """The same error, saying which operation it is of."""
    if isinstance(error, InputError):
        path = f"$.operations[{index}]{error.path.removeprefix('$')}"
        return InputError(error.code, error.message, path=path, hint=error.hint)
    text = f"operation {index} ({operation.op} {operation.type}): {error}"
    for kind in (QuotaError, NotFoundError, ForbiddenError):
        if isinstance(error, kind):
            return kind(text)
    return ConflictError(text)
