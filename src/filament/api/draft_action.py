"""Commit or discard what a scope's draft mode holds: all of it, in one revision."""

from __future__ import annotations

from typing import Any

import msgspec

from filament.api.access import require_object
from filament.api.draft import (
    CREATED,
    DELETED,
    MANAGEMENT,
    PROJECT,
    SYSTEM,
    UPDATED,
    draft_name,
    drafts_of,
    enforced_name,
)
from filament.api.engine import ConfigEngine
from filament.api.identity import timestamp
from filament.api.request import Outcome
from filament.base.errors import InputError
from filament.compiler.firewall_view import DRAFT_STATE
from filament.model.change import Object, Ref
from filament.model.check import require_valid
from filament.model.kinds import KINDS
from filament.model.snapshot import Candidate

_KEPT = ("id_perms", "perms2")  # of an enforced object, whatever its draft has


class SettleDraft(msgspec.Struct, frozen=True):
    """Enforce what the drafts of a scope propose (`commit`), or forget them (`discard`).

    `scope_uuid` is that of the global-system-config or of a project.
    """

    scope_uuid: str
    action: str

    def carry_out(self, engine: ConfigEngine, change: Candidate, now: float) -> Outcome:
        """See Action."""
        if self.action not in ("commit", "discard"):
            raise InputError(
                "bad-action",
                f"Only 'commit' or 'discard' actions are supported, not {self.action!r}",
                path="$.action",
                hint="write commit or discard",
            )
        scope = require_object(engine, change, self.scope_uuid)
        engine.asking.require_edit(KINDS[scope.kind], scope.uuid)
        management = change.named(MANAGEMENT, draft_name(scope))
        if scope.kind not in (SYSTEM, PROJECT) or management is None:
            raise InputError(
                "no-draft-mode",
                f"Security draft mode is not enabled on the {scope.kind} {scope.name}",
                path="$.scope_uuid",
                hint="set its enable_security_policy_draft first",
            )
        drafts = list(drafts_of(change, management))
        if self.action == "commit":
            _Settling(change, management, scope, drafts).commit(engine, now)
        else:
            for draft in drafts:
                engine.remove(change, draft)
        return Outcome(answer={})


class _Settling:
    """One commit of the drafts of a scope."""

    def __init__(
        self, change: Candidate, management: Object, scope: Object, drafts: list[Object]
    ) -> None:
        self._change = change
        self._drafts = drafts
        self._scope, self._prefix = scope, enforced_name(scope)
        self._draft_prefix = f"{management.name}:"
        self._enforced = {
            draft.uuid: found
            for draft in drafts
            if (found := change.named(draft.kind, self._name(draft))) is not None
        }

    def commit(self, engine: ConfigEngine, now: float) -> None:
        change = self._change
        outside = self._referrers()
        for draft in self._drafts:
            change.delete(draft)
        for draft in reversed(self._drafts):
            enforced = self._enforced.get(draft.uuid)
            if draft.props[DRAFT_STATE] == DELETED:
                continue
            made = self._made(draft, enforced, now)
            require_valid(change, change.put(made), enforced)
        for item in outside:
            change.put(msgspec.structs.replace(item, refs=self._refs(item)))
        for draft in self._drafts:
            enforced = self._enforced.get(draft.uuid)
            if draft.props[DRAFT_STATE] == DELETED and enforced is not None:
                engine.remove(change, enforced)

    def _name(self, draft: Object) -> tuple[str, ...]:
        return (*self._prefix, draft.fq_name[-1])

    def _referrers(self) -> list[Object]:
        """What refers to drafts and is none of them."""
        own = {draft.uuid for draft in self._drafts}
        found: dict[str, Object] = {}
        for draft in self._drafts:
            for kind in KINDS[draft.kind].back_references.values():
                for item in self._change.referrers(draft.uuid, kind):
                    if item.uuid not in own:
                        found[item.uuid] = item
        return list(found.values())

    def _made(self, draft: Object, enforced: Object | None, now: float) -> Object:
        """What is enforced from now on. One that did not exist keeps the uuid of its draft."""
        props = {name: value for name, value in draft.props.items() if name != DRAFT_STATE}
        for field in ("endpoint_1", "endpoint_2"):
            if props.get(field):
                props[field] = self._endpoint(props[field])
        if enforced is not None and draft.props[DRAFT_STATE] in (CREATED, UPDATED):
            props |= {name: enforced.props[name] for name in _KEPT if name in enforced.props}
        props["id_perms"] = {**props["id_perms"], "last_modified": timestamp(now)}
        management = self._change.named(MANAGEMENT, self._prefix)
        parent = self._scope if self._scope.kind == PROJECT else management
        assert parent is not None, "the default policy-management is made at boot"
        return Object(
            draft.kind,
            draft.uuid if enforced is None else enforced.uuid,
            self._name(draft),
            parent.kind,
            parent.uuid,
            props,
            self._refs(draft),
        )

    def _refs(self, item: Object) -> tuple[Ref, ...]:
        """References to what is enforced, where they were to drafts; each once."""
        found: dict[str, Ref] = {}
        for ref in item.refs:
            enforced = self._enforced.get(ref.uuid)
            uuid = enforced.uuid if enforced is not None else ref.uuid
            found[uuid] = msgspec.structs.replace(ref, uuid=uuid)
        return tuple(found.values())

    def _endpoint(self, endpoint: dict[str, Any]) -> dict[str, Any]:
        group = endpoint.get("address_group") or ""
        if not group.startswith(self._draft_prefix):
            return endpoint
        name = group.removeprefix(self._draft_prefix)
        return {**endpoint, "address_group": ":".join((*self._prefix, name))}
