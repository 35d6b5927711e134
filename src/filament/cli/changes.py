"""`filament create`, `set` and `ln`: change configuration through the API."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import click

from filament.base.errors import InputError
from filament.base.net import Prefix, format_address
from filament.cli import names
from filament.cli.complete import complete_kinds, complete_names
from filament.cli.options import json_option, pass_session, wait_options
from filament.cli.session import Session
from filament.cli.written import report, require_applied

ROOT = "config-root"
DEFAULT_PROJECT = ("default-domain", "default-project")
# Parent kind -> its object below which a name alone goes, in order of preference.
DEFAULT_PARENTS = {
    "project": DEFAULT_PROJECT,
    "domain": DEFAULT_PROJECT[:1],
    "global-system-config": ("default-global-system-config",),
}
Kinds = Mapping[str, Mapping[str, Sequence[str]]]  # as `names.kinds` has them
_FILE = click.option(
    "--file", "file", type=click.File(), help="Read properties from a JSON object ('-': stdin)."
)


@click.command("create")
@click.argument("kind", shell_complete=complete_kinds)
@click.argument("name")
@click.argument("assignments", metavar="[PROPERTY=VALUE]...", nargs=-1)
@_FILE
@click.option(
    "--subnet",
    "subnets",
    multiple=True,
    metavar="PREFIX",
    help="Of a virtual-network: a subnet with addresses from its start (may be repeated).",
)
@wait_options
@json_option
@pass_session
def create(
    session: Session,
    kind: str,
    name: str,
    assignments: tuple[str, ...],
    file: TextIO | None,
    subnets: tuple[str, ...],
    wait: str,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Create an object of KIND called NAME.

    A NAME without its parents' goes below those of the first parent kind that has a default
    (default-domain:default-project). A VALUE is JSON, or else a text. KIND_refs=NAME[,NAME...]
    refers to objects; PROPERTY.MEMBER=VALUE sets one member of a property.
    """
    kind = names.require_kind(session, kind)
    body = properties_of(session, assignments, file)
    if subnets:
        if kind != "virtual-network":
            raise InputError(
                "bad-option", f"a {kind} has no subnets", hint="--subnet is for a virtual-network"
            )
        body["network_ipam_refs"] = subnet_refs(subnets)
    body.update(identity_of(names.kinds(session), kind, name))
    written = session.change("POST", f"/{kind}s", {kind: body}, wait=wait, timeout_s=timeout_s)
    made = written.value[kind]
    report(
        [(f"{kind} {':'.join(made['fq_name'])}", made["uuid"])], "created", written, as_json=as_json
    )
    require_applied(written, wait, timeout_s)


@click.command("set")
@click.argument(
    "words",
    metavar="[KIND] NAME PROPERTY=VALUE...",
    nargs=-1,
    required=True,
    shell_complete=complete_names,
)
@_FILE
@wait_options
@json_option
@pass_session
def set_(
    session: Session,
    words: tuple[str, ...],
    file: TextIO | None,
    wait: str,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Change properties of an object; PROPERTY= (or =null) removes one.

    KIND_refs=NAME[,NAME...] replaces all references to that kind.
    """
    named = [word for word in words if "=" not in word]
    found = _exactly(session, named, 1, "set [KIND] NAME PROPERTY=VALUE")[0]
    assignments = [word for word in words if "=" in word]
    path = f"/{found.kind}/{found.uuid}"
    present = session.get(path)[found.kind] if any("." in word for word in assignments) else None
    body = properties_of(session, assignments, file, present)
    if not body:
        raise InputError(
            "nothing-to-set", f"what shall {found} have?", hint="write PROPERTY=VALUE or --file"
        )
    written = session.change("PUT", path, {found.kind: body}, wait=wait, timeout_s=timeout_s)
    report([(str(found), found.uuid)], "changed", written, as_json=as_json)
    require_applied(written, wait, timeout_s)


@click.command("ln")
@click.argument(
    "words",
    metavar="[KIND] NAME [KIND] NAME",
    nargs=-1,
    required=True,
    shell_complete=complete_names,
)
@click.option("--rm", "removes", is_flag=True, help="Remove the reference instead.")
@click.option("--attr", metavar="JSON", help="The reference's attribute.")
@wait_options
@json_option
@pass_session
def ln(
    session: Session,
    words: tuple[str, ...],
    removes: bool,
    attr: str | None,
    wait: str,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Make one object refer to another, or no longer (--rm).

    The first refers to the second. A policy is attached to a network so:
    filament ln virtual-network red network-policy red-to-blue
    """
    referrer, target = _exactly(session, words, 2, "ln KIND NAME KIND NAME")
    _require_reference(names.kinds(session), referrer, target)
    body = {
        "type": referrer.kind,
        "uuid": referrer.uuid,
        "ref-type": target.kind,
        "ref-uuid": target.uuid,
        "operation": "DELETE" if removes else "ADD",
        "attr": _attribute(referrer, target, attr),
    }
    written = session.change("POST", "/ref-update", body, wait=wait, timeout_s=timeout_s)
    what = "no longer refers to" if removes else "refers to"
    report([(f"{referrer} {what} {target}", referrer.uuid)], "", written, as_json=as_json)
    require_applied(written, wait, timeout_s)


def _require_reference(kinds: Kinds, referrer: names.Found, target: names.Found) -> None:
    """Refuse a reference that the kinds do not have, naming the right way round if there is one."""
    possible = kinds[referrer.kind]["references"]
    if target.kind in possible:
        return
    if referrer.kind in kinds[target.kind]["references"]:
        hint = f"write {target.kind} {target.name} {referrer.kind} {referrer.name}"
    else:
        hint = f"it may refer to: {', '.join(sorted(possible)) or 'nothing'}"
    raise InputError(
        "no-such-reference", f"a {referrer.kind} does not refer to a {target.kind}", hint=hint
    )


def _attribute(referrer: names.Found, target: names.Found, text: str | None) -> Any:
    if text is None:
        if (referrer.kind, target.kind) == ("virtual-network", "network-policy"):
            # TF ignores a policy whose place in the network's order is not given.
            return {"sequence": {"major": 0, "minor": 0}}
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError("bad-json", f"--attr is not JSON: {error}") from error


def _exactly(session: Session, words: Sequence[str], count: int, usage: str) -> list[names.Found]:
    found = names.find_all(session, words, strict=True)
    if len(found) != count:
        raise InputError(
            "bad-arguments",
            f"{len(found)} objects are named where {count} must be",
            hint=f"write `filament {usage}`",
        )
    return found


def identity_of(kinds: Kinds, kind: str, name: str) -> dict[str, Any]:
    """Return the fq_name and parent_type of an object to be created.

    The length of the fq_name tells which of several possible parent kinds is meant; a name alone
    goes below the default parent of its kind.
    """
    fq_name = tuple(name.split(":")) if kind != "route-target" else (name,)
    parents = kinds[kind]["parents"]
    if len(fq_name) == 1 and ROOT not in parents:
        default = next((DEFAULT_PARENTS[each] for each in DEFAULT_PARENTS if each in parents), ())
        fq_name = (*default, name)
    fitting = [each for each in parents if len(fq_name) - 1 in depths(kinds, each)]
    parent = {"parent_type": fitting[0]} if fitting and fitting[0] != ROOT else {}
    return {"fq_name": list(fq_name), **parent}


def depths(kinds: Kinds, kind: str) -> set[int]:
    """Return how many parts the fq_name of a kind's objects can have; 0 for the root."""
    if kind == ROOT:
        return {0}
    return {depth + 1 for parent in kinds[kind]["parents"] for depth in depths(kinds, parent)}


def properties_of(
    session: Session,
    assignments: Sequence[str],
    file: TextIO | None,
    present: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Read properties from a file and from `property=value` words, which win.

    `property.member=value` changes one member of the property as it is in `present`.
    """
    body = _read_object(session, file) if file is not None else {}
    for assignment in assignments:
        path, _, text = assignment.partition("=")
        name, *members = path.split(".")
        if not all((name, *members)) or "=" not in assignment:
            raise InputError(
                "bad-assignment", f"{assignment!r} sets no property", hint="write PROPERTY=VALUE"
            )
        value = _value_of(session, name, text)
        if members:
            owner = body.get(name, (present or {}).get(name))
            value = _with_member(owner, members, value, name)
        body[name] = value
    return body


def _with_member(owner: object, members: Sequence[str], value: object, path: str) -> Any:
    """Return a copy of `owner` in which the member at `members` is `value`."""
    if owner is None:
        owner = {}
    if not isinstance(owner, dict):
        raise InputError(
            "bad-assignment",
            f"{path} holds {json.dumps(owner)}, which has no member {members[0]!r}",
            hint=f"set all of it with {path}=JSON",
        )
    first, *rest = members
    if rest:
        value = _with_member(owner.get(first), rest, value, f"{path}.{first}")
    return {**owner, first: value}


def _value_of(session: Session, name: str, text: str) -> Any:
    """Read a value: JSON, names of referred objects, nothing (None), or a text."""
    if text == "":
        return [] if name.endswith("_refs") else None
    try:
        return json.loads(text)
    except ValueError:
        if not name.endswith("_refs"):
            return text
    kind = names.require_kind(session, name.removesuffix("_refs"))
    found = [names.find(session, each, kind, strict=True) for each in text.split(",")]
    return [{"to": list(each.fq_name), "uuid": each.uuid} for each in found]


def _read_object(session: Session, file: TextIO) -> dict[str, Any]:
    try:
        value = json.load(file)
    except ValueError as error:
        raise InputError("bad-json", f"{file.name} is not JSON: {error}") from error
    if isinstance(value, dict) and len(value) == 1:
        # As the API writes objects: {"virtual-network": {...}}.
        ((kind, inner),) = value.items()
        value = inner if isinstance(inner, dict) and kind in names.kinds(session) else value
    if not isinstance(value, dict):
        raise InputError(
            "bad-json", f"{file.name} holds no JSON object", hint='write {"PROPERTY": VALUE, ...}'
        )
    return value


def subnet_refs(subnets: Sequence[str]) -> list[dict[str, Any]]:
    """Return a network's reference to the default IPAM with these subnets."""
    prefixes = [Prefix.parse(subnet) for subnet in subnets]
    return [
        {
            "to": [*DEFAULT_PROJECT, "default-network-ipam"],
            "attr": {
                "ipam_subnets": [
                    {
                        "subnet": {
                            "ip_prefix": format_address(prefix.address, prefix.version),
                            "ip_prefix_len": prefix.length,
                        },
                        "addr_from_start": True,
                    }
                    for prefix in prefixes
                ]
            },
        }
    ]
