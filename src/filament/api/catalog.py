"""Every route that is not derived from a kind: path, shapes, errors. One row per route.

The application, the home page, the OpenAPI document and the reference page are made from this
table and the kinds registry; a handler is the method of the same name.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from filament.api.barrier import Report
from filament.api.elements import ElementUpdate
from filament.api.transaction import Operation

AaaMode = Literal["no-auth", "cloud-admin", "rbac"]


class RefUpdateBody(msgspec.Struct, rename="kebab", forbid_unknown_fields=True):
    """One reference to add (or whose attribute to overwrite) or to delete."""

    type: str
    uuid: str
    ref_type: str
    operation: Literal["ADD", "DELETE"]
    ref_uuid: str | None = None
    ref_fq_name: list[str] | None = None
    attr: dict[str, Any] | None = None
    relax: bool | None = msgspec.field(default=None, name="relax_ref_for_delete")


class RelaxBody(msgspec.Struct, rename="kebab"):
    """The reference of `uuid` to `ref-uuid`."""

    uuid: str
    ref_uuid: str


class DraftBody(msgspec.Struct):
    """The scope (a project, or the global-system-config), and `commit` or `discard`."""

    scope_uuid: str
    action: str


class NameBody(msgspec.Struct):
    """An object by name."""

    type: str
    fq_name: list[str]


class UuidBody(msgspec.Struct):
    """An object by uuid."""

    uuid: str


class NameAnswer(msgspec.Struct):
    """Name and kind of an object."""

    fq_name: list[str]
    type: str


class CalledObject(msgspec.Struct):
    """An object by its identity."""

    type: str
    uuid: str
    fq_name: list[str]
    display_name: str


class KindAnswer(msgspec.Struct):
    """What a row of the registry says to people: dashed kinds, and the fields a table shows."""

    parents: tuple[str, ...]
    references: tuple[str, ...]
    columns: tuple[str, ...]


class CalledAnswer(msgspec.Struct):
    """The objects that are called by a name."""

    objects: list[CalledObject]


class ElementsBody(msgspec.Struct, forbid_unknown_fields=True):
    """Changes of elements of list, keyed list and map properties, carried out in order."""

    uuid: str
    updates: list[ElementUpdate] = []


class KeyValueBody(msgspec.Struct):
    """RETRIEVE also takes a list of keys, or null for all."""

    operation: Literal["STORE", "RETRIEVE", "DELETE"]
    key: str | list[str] | None = None
    value: Any = None


class ChownBody(msgspec.Struct, forbid_unknown_fields=True):
    """The project that shall own an object."""

    uuid: str
    owner: str


Access = Any  # checked by the registry's PermType2


class ChmodBody(msgspec.Struct, forbid_unknown_fields=True):
    """What of perms2 to change."""

    uuid: str
    owner: str | None = None
    owner_access: int | None = None
    global_access: int | None = None
    share: list[dict[str, Any]] | None = None


class AddressesBody(msgspec.Struct):
    """How many addresses to take, from which subnet (its uuid) or family."""

    count: int = 1
    subnet: str | None = None
    family: Literal["v4", "v6"] | None = None


class Addresses(msgspec.Struct):
    """Addresses as texts."""

    ip_addr: list[str]


class SubnetsBody(msgspec.Struct):
    """Uuids of subnets."""

    subnet_list: list[str]


class CountAnswer(msgspec.Struct):
    """One count per subnet asked for."""

    ip_count_list: list[int]


class IntPoolBody(msgspec.Struct):
    """A pool of the integers from `start` to `end`."""

    pool: str
    start: int
    end: int


class PoolName(msgspec.Struct):
    """A pool by name."""

    pool: str


class TakeIntBody(msgspec.Struct):
    """`value` null takes the lowest free one."""

    pool: str
    owner: str = ""
    value: int | None = None


class FreeIntBody(msgspec.Struct):
    """A held integer."""

    pool: str
    value: int


class IntAnswer(msgspec.Struct):
    """The integer taken."""

    value: int


class OwnerAnswer(msgspec.Struct):
    """Who holds an integer, null for nobody."""

    owner: str | None


class AaaModeBody(msgspec.Struct, rename="kebab"):
    """How callers are authenticated and authorised."""

    aaa_mode: AaaMode


class PermissionsAnswer(msgspec.Struct):
    """What the caller may do with an object."""

    token_info: dict[str, Any] | None
    is_cloud_admin_role: bool
    is_global_read_only_role: bool
    permissions: str


class TransactionBody(msgspec.Struct, forbid_unknown_fields=True):
    """Writes to carry out as one, in order."""

    operations: list[Operation]


class TransactionAnswer(msgspec.Struct):
    """The one revision, and per operation the object it was about."""

    revision: int
    results: list[dict[str, Any]]


class Query(msgspec.Struct, frozen=True):
    """One query parameter."""

    name: str
    text: str
    type: Literal["string", "integer", "number"] = "string"
    is_required: bool = False
    values: tuple[str, ...] = ()


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One route. `handler` names the method and is the OpenAPI operation's id; `action` is the
    name on the home page ("" when it is not there) and `link` its uri where it is not the path.
    """

    path: str
    method: Literal["GET", "POST", "PUT", "DELETE"]
    handler: str
    text: str
    body: Any = None
    answer: Any = None
    query: tuple[Query, ...] = ()
    errors: tuple[int, ...] = ()
    action: str = ""
    link: str = ""
    is_write: bool = False
    is_stream: bool = False


WRITE_QUERIES = (
    Query("dry_run", "true: answer what would change, and the plan's difference; change nothing"),
    Query("revision", "refuse (412) when what is changed has changed after it", "integer"),
    Query(
        "wait", "answer when control nodes, or all agents, have it", values=("control", "agents")
    ),
    Query("timeout_s", "how long to wait before answering 202 (default 10)", "number"),
)
_Q_FIELDS = Query("fields", "properties, references, children, back references; comma-separated")
READ_QUERIES = (
    _Q_FIELDS,
    Query("exclude_children", "present: no children"),
    Query("exclude_back_refs", "present: no back references"),
    Query("exclude_hrefs", "present: no links"),
)
LIST_QUERIES = (
    _Q_FIELDS,
    Query("detail", "true: whole objects"),
    Query("count", "true: only how many"),
    Query("shared", "true: with a parent, also those that others share with the caller"),
    Query("filters", "property==JSON value, comma-separated; same property: any, others: all"),
    Query("parent_id", "uuids of parents"),
    Query("parent_fq_name_str", "names of parents, elements joined by colons"),
    Query("parent_type", "the kind those names are of"),
    Query("back_ref_id", "uuids of objects that are referred to"),
    Query("obj_uuids", "uuids"),
    Query("fq_names", "names, elements joined by colons"),
    Query("exclude_hrefs", "present: no links"),
    Query("page_marker", "None for the first page, then the marker of the one before"),
    Query("page_limit", "objects per page (default 256)", "integer"),
)
_UUID = Query("uuid", "the object", is_required=True)

CATALOG: tuple[Entry, ...] = (
    Entry(path="/", method="GET", handler="home", text="Links to every collection and action."),
    Entry(path="/config-root", method="GET", handler="home", text="The same."),
    Entry(path="/openapi.json", method="GET", handler="openapi", text="This API as OpenAPI 3.1."),
    Entry(
        path="/prop-collection-get", method="GET", handler="elements", action="prop-collection-get",
        text="Elements of list and map properties, with their positions.",
        query=(_UUID, Query("fields", "the properties", is_required=True),
               Query("position", "only this one")),
        errors=(404,),
    ),
    Entry(
        path="/prop-collection-update", method="POST", handler="update_elements",
        action="prop-collection-update", body=ElementsBody, is_write=True, errors=(403, 404),
        text="Change elements of list and map properties, each at the price of that element. A rule"
        " of a security-group or network-policy has its `rule_uuid` for a position; one that is"
        " added goes before the rule at `position`, or to the end.",
    ),
    Entry(
        path="/ref-update", method="POST", handler="ref_update", action="ref-update",
        body=RefUpdateBody, answer=UuidBody, is_write=True, errors=(403, 404, 409),
        text="Add or delete one reference.",
    ),
    Entry(
        path="/ref-relax-for-delete", method="POST", handler="relax_reference",
        action="ref-relax-for-delete", body=RelaxBody, answer=UuidBody, is_write=True,
        errors=(403, 404), text="Let the referred object be deleted; the reference goes with it.",
    ),
    Entry(
        path="/fqname-to-id", method="POST", handler="name_to_id", action="name-to-id",
        body=NameBody, answer=UuidBody, errors=(404,), text="The uuid of a named object.",
    ),
    Entry(
        path="/id-to-fqname", method="POST", handler="id_to_name", action="id-to-name",
        body=UuidBody, answer=NameAnswer, errors=(404,), text="Name and kind of an object.",
    ),
    Entry(
        path="/useragent-kv", method="POST", handler="key_value", action="useragent-keyvalue",
        body=KeyValueBody, is_write=True, errors=(404,),
        text="Durable key-value pairs for clients.",
    ),
    Entry(
        path="/list-bulk-collection", method="POST", handler="list_bulk",
        action="list-bulk-collection", body=dict[str, Any], errors=(404,),
        text="A list whose query is too long for a URL: the same keys, and `type`.",
    ),
    Entry(
        path="/obj-perms", method="GET", handler="permissions", action="obj-perms",
        answer=PermissionsAnswer, query=(Query("uuid", "the object"),), errors=(404,),
        text="What the caller may do with an object.",
    ),
    Entry(
        path="/chown", method="POST", handler="chown", action="chown", body=ChownBody,
        is_write=True, errors=(403, 404), text="Change the owner of an object.",
    ),
    Entry(
        path="/chmod", method="POST", handler="chmod", action="chmod", body=ChmodBody,
        is_write=True, errors=(403, 404), text="Change permissions of an object.",
    ),
    Entry(
        path="/aaa-mode", method="GET", handler="aaa_mode", answer=AaaModeBody,
        text="How callers are authenticated.",
    ),
    Entry(
        path="/aaa-mode", method="PUT", handler="set_aaa_mode", action="aaa-mode",
        body=AaaModeBody, answer=AaaModeBody, errors=(403,),
        text="Confirm how callers are authenticated: only the settings file changes it.",
    ),
    Entry(
        path="/watch", method="GET", handler="watch", action="watch", is_stream=True,
        query=(Query("after", "a revision: every later commit, as server-sent events", "integer"),
               Query("resource_type", "kinds: their objects, then their changes (TF's form)"),
               Query("edits", "true, with after: of long objects that changed in few places, tell"
                     " those (`edits`: model/edit.py)"),
               Query("incarnation", "the secret in a control node's reports: they end with this")),
        errors=(503,), text="What changes, as it changes.",
    ),
    Entry(
        path="/virtual-network/{uuid}/ip-alloc", method="POST", handler="reserve_addresses",
        action="virtual-network-ip-alloc", link="/virtual-network/%s/ip-alloc",
        body=AddressesBody, answer=Addresses, is_write=True, errors=(404, 409),
        text="Reserve addresses of a network.",
    ),
    Entry(
        path="/virtual-network/{uuid}/ip-free", method="POST", handler="release_addresses",
        action="virtual-network-ip-free", link="/virtual-network/%s/ip-free", body=Addresses,
        is_write=True, errors=(404, 409), text="Give reserved addresses back.",
    ),
    Entry(
        path="/virtual-network/{uuid}/subnet-ip-count", method="POST", handler="count_addresses",
        action="virtual-network-subnet-ip-count", link="/virtual-network/%s/subnet-ip-count",
        body=SubnetsBody, answer=CountAnswer, errors=(404,),
        text="How many instance-ips the subnets of a network have.",
    ),
    Entry(
        path="/int-pools", method="POST", handler="create_int_pool", action="int-pools",
        body=IntPoolBody, is_write=True, errors=(409,), text="Make a pool of integers.",
    ),
    Entry(
        path="/int-pools", method="DELETE", handler="delete_int_pool", body=PoolName,
        is_write=True, errors=(404,), text="Delete a pool of integers and what is held of it.",
    ),
    Entry(
        path="/int-pool", method="GET", handler="int_owner", answer=OwnerAnswer,
        query=(Query("pool", "the pool", is_required=True),
               Query("value", "the integer", "integer", is_required=True)),
        errors=(404,), text="Who holds an integer of a pool.",
    ),
    Entry(
        path="/int-pool", method="POST", handler="take_int", action="int-pool", body=TakeIntBody,
        answer=IntAnswer, is_write=True, errors=(404, 409), text="Take an integer of a pool.",
    ),
    Entry(
        path="/int-pool", method="DELETE", handler="free_int", body=FreeIntBody, is_write=True,
        errors=(404,), text="Give an integer back.",
    ),
    Entry(
        path="/set-tag", method="POST", handler="set_tag", action="set-tag", body=dict[str, Any],
        is_write=True, errors=(403, 404), text="Attach and detach tags by type.",
    ),
    Entry(
        path="/security-policy-draft", method="POST", handler="settle_draft",
        action="security-policy-draft", body=DraftBody, is_write=True, errors=(403, 404, 409),
        text="Enforce or forget what is drafted for the firewall of the cluster or a project.",
    ),
    Entry(
        path="/transaction", method="POST", handler="transaction", body=TransactionBody,
        answer=TransactionAnswer, is_write=True, errors=(403, 404, 409),
        text="Several writes, all or nothing, in one revision.",
    ),
    Entry(
        path="/filament/snapshot", method="GET", handler="snapshot", is_stream=True,
        text="Everything at one revision: what a follower starts from.",
    ),
    Entry(
        path="/filament/status", method="GET", handler="status",
        query=(WRITE_QUERIES[2], WRITE_QUERIES[3], Query("revision", "the one to wait for")),
        text="Revision, and who follows how far.",
    ),
    Entry(
        path="/filament/counts", method="GET", handler="counts", answer=dict[str, int],
        text="How many objects of each kind the caller may read.",
    ),
    Entry(
        path="/filament/kinds", method="GET", handler="kinds", answer=dict[str, KindAnswer],
        text="All kinds: what they may be children of and refer to, and what a table shows.",
    ),
    Entry(
        path="/filament/called", method="GET", handler="called",
        query=(Query("name", "an fq_name, the end of one, or a display_name", is_required=True),
               Query("type", "only objects of this kind")),
        answer=CalledAnswer, errors=(404,),
        text="The objects that a person may mean by a name.",
    ),
    Entry(
        path="/filament/report", method="POST", handler="report", body=Report,
        text="A control node tells how far it and its agents are.",
    ),
    Entry(
        path="/filament/log", method="GET", handler="change_log",
        query=(Query("after", "a revision: the commits that followed it, in order", "integer"),
               Query("uuid", "an object: the commits that changed it, newest first"),
               Query("before", "with uuid: only commits below this revision", "integer"),
               Query("limit", "at most so many commits (default 100)", "integer")),
        errors=(404,), text="The change log: who changed what in which revision.",
    ),
    Entry(
        path="/filament/restore", method="POST", handler="restore",
        errors=(413,), text="Make the whole configuration that of the body (a backup).",
    ),
)  # fmt: skip

# TF's actions that make no sense here, and where to turn instead.
REFUSED: dict[str, tuple[str, str, str]] = {
    "database-check": ("/db-check", "POST", "run `filament db check`"),
    "fetch-records": ("/fetch-records", "POST", "GET /filament/snapshot has every object"),
    "start-profile": ("/start-profile", "POST", "profile the process from outside"),
    "stop-profile": ("/stop-profile", "POST", "profile the process from outside"),
    "obj-cache": ("/obj-cache", "POST", "there is no cache to manage: objects are in memory"),
    "execute-job": ("/execute-job", "POST", "fabric jobs are run by your own automation"),
    "abort-job": ("/abort-job", "POST", "fabric jobs are run by your own automation"),
    "amqp-publish": ("/amqp-publish", "POST", "there is no message bus: GET /watch?after=REVISION"),
    "amqp-request": ("/amqp-request", "POST", "there is no message bus: GET /watch?after=REVISION"),
    "hbs-get": ("/hbs-get", "POST", "host based services are not there"),
}  # fmt: skip
