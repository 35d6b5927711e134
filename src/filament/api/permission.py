"""What one caller may do with objects: perms2, visibility and role rules, as contrail-api's rbac.

Rights are R (read), W (write) and X (link: refer to it). Objects rendered from the plan have the
rights of the network they are rendered from. Pure: reads a view, decides, raises ForbiddenError
or NotFoundError.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from filament.api.caller import Caller, same_uuid
from filament.api.rbac import Operation, RuleBook
from filament.base.errors import FilamentError, ForbiddenError, InputError, NotFoundError
from filament.base.net import RouteTarget
from filament.compiler.render import ROUTE_TARGET, ROUTING_INSTANCE, uuid_of
from filament.model.body import Body, RefBody
from filament.model.change import Object, Ref
from filament.model.kind import Kind, field_of
from filament.model.kinds import KINDS
from filament.model.view import View

READ, WRITE, LINK = 4, 2, 1
ALL = READ | WRITE | LINK
_WORDS = {READ: "read (R)", WRITE: "write (W)", LINK: "link (X)"}
# Their hints list names of objects, which may be strangers'.
_HINTS_WITH_NAMES = frozenset({"unknown-network"})


TARGET_LISTS = frozenset(
    {
        "route_target_list",
        "import_route_target_list",
        "export_route_target_list",
        "configured_route_target_list",
        "data_center_interconnect_configured_route_target_list",
    }
)


class Rendered(Protocol):
    """Objects rendered from the plan."""

    def get(self, uuid: str) -> Object | None:
        """The rendered object with this uuid."""

    def named(self, kind: str, fq_name: tuple[str, ...]) -> Object | None:
        """The rendered object of a kind by name."""

    def referrers(self, uuid: str, kind: str) -> Iterable[Object]:
        """Rendered objects that refer to `uuid`."""


class Shown(Protocol):
    """The plan as objects."""

    @property
    def objects(self) -> Rendered:
        """All of them."""

    def find(self, view: View, uuid: str) -> Object | None:
        """The rendered object with this uuid, or the intent of that name, if there is some."""


class Access:
    """The rights of one caller over one view; lives for one request."""

    def __init__(self, caller: Caller, view: View, shown: Shown, book: RuleBook) -> None:
        self.caller = caller
        self.was_asked = False
        self._view = view
        self._shown = shown
        self._book = book

    @property
    def is_restricted(self) -> bool:
        """Whether anything is checked at all."""
        return not self.caller.is_cloud_admin

    # -- objects -----------------------------------------------------------------------------

    def rights(self, item: Object) -> int:
        """The rights on an object, as a sum of READ, WRITE and LINK; 0 on an invisible one."""
        if not self.is_restricted:
            return ALL
        source = self._source(item)
        if source is None:
            return self._rights_of_target(item)
        if (source.props.get("id_perms") or {}).get("user_visible") is False:
            return 0
        rights = granted(self.caller, source.props.get("perms2") or {})
        if source.kind == ROUTE_TARGET:
            rights |= self._rights_of_target(source) & (READ | LINK)
        return rights | READ if self.caller.is_global_reader else rights

    def sees(self, item: Object) -> bool:
        """Whether the caller may read an object."""
        return bool(self.rights(item) & READ)

    def sees_uuid(self, uuid: str) -> bool:
        """Whether the caller may read the object with this uuid; a lost one hides nothing."""
        if not self.is_restricted:
            return True
        item = self._get(uuid)
        return item is None or self.sees(item)

    def _get(self, uuid: str) -> Object | None:
        # As the engine finds it: intent takes the place of what is rendered, with its own rights.
        return self._view.get(uuid) or self._shown.find(self._view, uuid)

    def _source(self, item: Object) -> Object | None:
        """The object whose perms2 count: itself, or the stored ancestor of a rendered one."""
        while "perms2" not in item.props:
            parent = self._get(item.parent_uuid) if item.parent_uuid is not None else None
            if parent is None:
                return None
            item = parent
        return item

    def _rights_of_target(self, item: Object) -> int:
        """A route target belongs to everybody who has a routing instance with it."""
        kind = ROUTING_INSTANCE
        rights = 0
        rendered = uuid_of(item.kind, item.name) if item.kind == ROUTE_TARGET else item.uuid
        for user in self._view.referrers(item.uuid, kind):
            rights |= self.rights(user)
        for user in self._shown.objects.referrers(rendered, kind):
            if self._view.named(kind, user.fq_name) is None:
                rights |= self.rights(user)
        return rights

    def knows_target(self, name: str, right: int) -> bool:
        """Whether the caller has a right on a route target by name; anybody on one that is new."""
        item = self._named(ROUTE_TARGET, (name,))
        return item is None or bool(self.rights(item) & right)

    def is_hidden(self, item: Object) -> bool:
        """Whether an object does not exist as far as the caller may know."""
        if not self.is_restricted:
            return False
        source = self._source(item)
        id_perms = (source.props.get("id_perms") or {}) if source is not None else {}
        return id_perms.get("user_visible") is False

    def require(self, item: Object, right: int, called: str) -> None:
        """Raise ForbiddenError unless the caller has a right; `called` is its word for the object.

        Hidden objects raise NotFoundError.
        """
        if not self.is_restricted:
            return
        if self.is_hidden(item):
            raise NotFoundError(f"No {field_of(item.kind)} object found for id {called}")
        has = self.rights(item)
        if not has & right:
            raise ForbiddenError(
                f"Permission Denied: {_WORDS[right]} access to {item.kind} {called} is missing;"
                f" {self._self} has {letters(has) or 'no access'}; its owner may share it"
            )

    @property
    def _self(self) -> str:
        project = self.caller.project
        return f"user {self.caller.user} " + (
            f"of project {project}" if project else "without project"
        )

    # -- rules -------------------------------------------------------------------------------

    def require_rule(self, name: str, operation: Operation, fields: Iterable[str] = ()) -> None:
        """Raise ForbiddenError unless a role of the caller may do this; `name` is a kind or an
        action (`fqname-to-id`).
        """
        if not self.is_restricted or (operation == "R" and self.caller.is_global_reader):
            return
        rules = self._book.rules(self._view, self.caller)
        lacking = rules.lacking(self.caller.roles, name, operation, fields)
        if lacking is not None:
            what = f"{name}.{lacking}" if lacking else name
            roles = ", ".join(sorted(self.caller.roles)) or "none"
            raise ForbiddenError(
                f"Permission Denied: no api-access-list rule grants {operation} on {what} to user"
                f" {self.caller.user} with roles: {roles}"
            )

    def may_list(self, name: str) -> bool:
        """Whether a rule lets the caller read objects of a kind."""
        try:
            self.require_rule(name, "R")
        except ForbiddenError:
            return False
        return True

    def require_action(self, name: str) -> None:
        """Raise ForbiddenError unless the caller may use a reading action (`fqname-to-id`)."""
        if not self.caller.is_global_reader:
            self.require_rule(name, "C")

    # -- requests ----------------------------------------------------------------------------

    def require_create(self, kind: Kind, body: Body) -> None:
        """May the caller create this? W on the parent, X on every target."""
        self.was_asked = True
        if not self.is_restricted:
            return
        self.require_rule(kind.name, "C", ("", *_fields(body)))
        for parent, name in self._parents(kind, body):
            self.require(parent, WRITE, name)
        self._require_links(body, None)

    def require_update(self, kind: Kind, uuid: str, body: Body) -> None:
        """May the caller change this? W on the object, X on targets it does not refer to yet."""
        self.was_asked = True
        if not self.is_restricted:
            return
        self.require_rule(kind.name, "U", _fields(body))
        item = self.require_own(kind, uuid, WRITE)
        if item is not None:
            self._require_links(body, item)

    def require_edit(self, kind: Kind, uuid: str) -> None:
        """May the caller change this? For what adds no links: R to know what is there, and W."""
        self.was_asked = True
        if not self.is_restricted:
            return
        self.require_rule(kind.name, "U")
        self.require_own(kind, uuid, READ)
        self.require_own(kind, uuid, WRITE)

    def require_new_links(self, item: Object, before: Iterable[Ref], kinds: frozenset[str]) -> None:
        """X on what a completed object refers to by way of its properties."""
        if not self.is_restricted:
            return
        had = {ref.uuid for ref in before}
        for ref in item.refs:
            target = self._get(ref.uuid)
            if ref.kind in kinds and ref.uuid not in had and target is not None:
                self.require(target, LINK, target.name)

    def require_new_targets(self, item: Object, before: Object | None) -> None:
        """X on the route targets that a completed object lists and did not list before: whoever
        imports a network's target reads its routes.
        """
        if not self.is_restricted:
            return
        had = _targets_in(before.props) if before is not None else set()
        for name in sorted(_targets_in(item.props) - had):
            if not self.knows_target(name, LINK):
                raise ForbiddenError(
                    f"Permission Denied: {_WORDS[LINK]} access to route-target {name} is missing;"
                    " a network that you may not link has it; use another, or let its owner share"
                    " the network"
                )

    def require_delete(self, kind: Kind, uuid: str) -> None:
        """May the caller delete this? Only the owning project, with W on the parent."""
        self.was_asked = True
        if not self.is_restricted:
            return
        self.require_rule(kind.name, "D")
        item = self.require_own(kind, uuid, WRITE)
        if item is None:
            return
        owner = (item.props.get("perms2") or {}).get("owner") or ""
        if self.caller.project is None or not same_uuid(owner, self.caller.project):
            raise ForbiddenError(
                f"Permission Denied: only the project that owns {kind.name} {uuid} may delete it;"
                f" {self._self} does not"
            )
        parent = self._get(item.parent_uuid) if item.parent_uuid is not None else None
        if parent is not None:
            self.require(parent, WRITE, ":".join(item.fq_name[:-1]))

    def require_ref_update(self, kind: Kind, uuid: str, target: RefBody, operation: str) -> None:
        """May the caller change this reference? W on the object, X on the target of a new one."""
        self.was_asked = True
        if not self.is_restricted:
            return
        self.require_rule("ref-update", "C")
        self.require_own(kind, uuid, WRITE)
        found = self._target(target)
        if found is not None and operation == "ADD":
            self.require(found, LINK, target.uuid or ":".join(target.to or ()))

    def require_own(self, kind: Kind, uuid: str, right: int) -> Object | None:
        """The object if the caller has the right; None when there is none of this kind (the
        engine then says so). An object of another kind that it may not read does not exist.
        """
        item = self._get(uuid)
        if item is None:
            return None
        if item.kind != kind.name:
            if self.sees(item):
                return None
            raise NotFoundError(f"No {kind.field} object found for id {uuid}")
        self.require(item, right, uuid)
        return item

    def _parents(self, kind: Kind, body: Body) -> Iterable[tuple[Object, str]]:
        """The parent that a new object names: of the kinds that it may have, or has, named."""
        if body.fq_name is None or len(body.fq_name) < 2:
            return
        given = (body.parent_kind or "").replace("_", "-")
        for parent_kind in [given] if given in kind.real_parents else kind.real_parents:
            name = body.fq_name[:-1]
            found = self._named(parent_kind, name)
            if found is not None:
                yield found, ":".join(name)

    def _require_links(self, body: Body, before: Object | None) -> None:
        has = {ref.uuid: ref.attr for ref in before.refs} if before is not None else {}
        for listed in body.refs.values():
            for given in listed:
                target = self._target(given)
                if target is None or (target.uuid in has and has[target.uuid] == given.attr):
                    continue
                self.require(target, LINK, given.uuid or ":".join(given.to or ()))

    def _target(self, given: RefBody) -> Object | None:
        if given.uuid is not None:
            item = self._get(given.uuid)
            if item is not None and item.kind != given.kind and not self.sees(item):
                raise NotFoundError(f"No {field_of(given.kind)} object found for id {given.uuid}")
            return item
        return self._named(given.kind, given.to or ())

    def _named(self, kind: str, fq_name: tuple[str, ...]) -> Object | None:
        item = self._view.named(kind, fq_name)
        if item is None and KINDS[kind].rendered_from:
            item = self._shown.objects.named(kind, fq_name)
        return item

    def concealed(self, error: FilamentError) -> FilamentError:
        """The error as the caller may read it: without names of objects that are not its own."""
        if error.discreet is not None and not self.sees_uuid(error.names):
            return error.discreet
        if self.is_restricted and isinstance(error, InputError) and error.code in _HINTS_WITH_NAMES:
            return InputError(error.code, error.message, path=error.path)
        return error


def granted(caller: Caller, perms2: dict[str, Any]) -> int:
    """The rights that perms2 gives a caller: everybody's, the owner's, and those shared with its
    project or domain.
    """
    rights: int = perms2.get("global_access") or 0
    owner = perms2.get("owner") or ""
    if caller.project is not None and same_uuid(owner, caller.project):
        access = perms2.get("owner_access")
        rights |= ALL if access is None else access
    for share in perms2.get("share") or ():
        scope, _, uuid = (share.get("tenant") or "").rpartition(":")
        mine = caller.domain if scope == "domain" else caller.project
        if mine is not None and scope in {"", "tenant", "domain"} and same_uuid(uuid, mine):
            rights |= share.get("tenant_access") or 0
    return rights & ALL


def letters(rights: int) -> str:
    """`RWX`, or those of them that there are, as /obj-perms answers."""
    return "".join(
        letter for letter, right in (("R", READ), ("W", WRITE), ("X", LINK)) if rights & right
    )


def _targets_in(props: dict[str, Any]) -> set[str]:
    """Every route target that an object lists, in canonical spelling."""
    found = set()
    for field in TARGET_LISTS & props.keys():
        for text in (props[field] or {}).get("route_target") or ():
            try:
                found.add(str(RouteTarget.parse(text)))
            except InputError:
                continue  # the checks refuse it, with a better text
    return found


def _fields(body: Body) -> tuple[str, ...]:
    return (*body.props, *(f"{field_of(kind)}_refs" for kind in body.refs))
