"""Names people type -> objects: uuids, `kind/a:b:c`, `a:b:c`, or a short name that is unique.

A short name is the last part of an fq_name, or a display name. When several kinds have an object
of that name, a question takes the one a person most likely means (`RANK`), a change refuses to
guess. Unknown names say which one may have been meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from filament.base.errors import InputError, NotFoundError
from filament.cli.session import Session
from filament.cli.suggest import nearest, suggestion

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
# Whom a short name means, best first: workloads before their ports, intent before what is
# rendered from it.
RANK = (
    "virtual-machine",
    "virtual-machine-interface",
    "virtual-network",
    "network-policy",
    "virtual-router",
    "project",
)
_COMPARED = 300  # objects of each kind that a wrong name is compared with
LAST = ("access-control-list", "routing-instance", "route-target")


class Found(NamedTuple):
    """An object by its identity."""

    kind: str
    uuid: str
    fq_name: tuple[str, ...]
    display_name: str = ""

    @property
    def name(self) -> str:
        """The fq_name in one string."""
        return ":".join(self.fq_name)

    @property
    def short(self) -> str:
        """What a person calls it: the display name, else the last part of the fq_name."""
        return self.display_name or self.fq_name[-1]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def is_called(self, text: str) -> bool:
        """Say whether `text` is a name of it, long or short."""
        return text in (self.name, self.fq_name[-1], self.display_name)


def kinds(session: Session) -> dict[str, dict[str, list[str]]]:
    """Return the kinds the API knows, sorted, with their `parents`, `references` and `columns`.

    The API is asked although the registry is in this package: it may be another version's, and
    the answer is there before the registry's types are imported.
    """
    if session.kinds is None:
        session.kinds = dict(sorted(session.get("/filament/kinds").items()))
    return session.kinds


def require_kind(session: Session, text: str) -> str:
    """Return `text` as a kind; a plural or an underscored spelling is understood too."""
    kind = as_kind(session, text)
    if kind is not None:
        return kind
    raise InputError(
        "unknown-kind",
        f"there is no kind {text!r}{suggestion(text.replace('_', '-'), kinds(session))}",
        hint="`filament ls` lists all kinds",
    )


def as_kind(session: Session, text: str) -> str | None:
    """Return the kind that `text` spells in one way or another, or None."""
    known = kinds(session)
    dashed = text.replace("_", "-")
    for candidate in (dashed, dashed.removesuffix("s"), re.sub("ies$", "y", dashed)):
        if candidate in known:
            return candidate
    return None


def objects_of(session: Session, kind: str, *, at_most: int = 0) -> list[Found]:
    """List the objects of a kind: all (0), or so many of them."""
    listed = session.get(
        f"/{kind}s",
        fields="display_name",
        exclude_hrefs="1",
        page_limit=str(at_most) if at_most else "",
    )[f"{kind}s"]
    return [
        Found(kind, item["uuid"], tuple(item["fq_name"]), item.get("display_name") or "")
        for item in listed
    ]


def is_uuid(text: str) -> bool:
    """Say whether `text` looks like a uuid."""
    return _UUID.fullmatch(text) is not None


def find(session: Session, text: str, kind: str | None = None, *, strict: bool = False) -> Found:
    """Find the object `text` names. `strict` refuses to choose between kinds.

    Raises NotFoundError for unknown names, InputError for ambiguous ones.
    """
    if kind is None and "/" in text:
        prefix, _, rest = text.partition("/")
        return find(session, rest, require_kind(session, prefix), strict=strict)
    if is_uuid(text):
        found = _by_uuid(session, text.lower(), kind)
        if found is not None:
            return found
    called = _called(session, text, kind)
    if kind is None and not strict:
        called = [found for found in called if found.kind in RANK] or called
    if called:
        return choose(called, text, kind or "object", strict=strict)
    # Nobody is called that: look at all there is, to say which name may have been meant.
    if kind is not None:
        return choose(_some_of(session, kind), text, kind, strict=strict)
    known = kinds(session)
    likely = [each for each in RANK if each in known]
    candidates = [found for each in likely for found in _some_of(session, each)]
    if strict or not any(found.is_called(text) for found in candidates):
        # There are more than a hundred kinds, and of most no objects.
        counts = session.get("/filament/counts")
        unlikely = [each for each in known if each not in likely and counts.get(each)]
        candidates += [found for each in unlikely for found in _some_of(session, each)]
        candidates.sort(key=lambda found: found.kind)
    return choose(candidates, text, "object", strict=strict)


def find_among(session: Session, text: str, among: Sequence[str], wanted: str) -> Found:
    """Find the object of one of several kinds that `text` is a name of; `wanted` is a word for
    them. Raises as `find` does.
    """
    called = [found for found in _called(session, text, None) if found.kind in among]
    candidates = called or [found for kind in among for found in _some_of(session, kind)]
    return choose(candidates, text, wanted)


def _some_of(session: Session, kind: str) -> list[Found]:
    """List what a wrong name is compared with: to compare it with all of a large cloud's would
    take seconds.
    """
    return objects_of(session, kind, at_most=_COMPARED)


def _called(session: Session, text: str, kind: str | None) -> list[Found]:
    """Ask for the objects that `text` is a name of, in one request however many there are."""
    try:
        answer = session.get("/filament/called", name=text, type=kind or "")
    except NotFoundError:
        return []
    found = [
        Found(each["type"], each["uuid"], tuple(each["fq_name"]), each["display_name"])
        for each in answer["objects"]
    ]
    return sorted(found, key=lambda one: one.kind)


def _by_uuid(session: Session, uuid: str, kind: str | None) -> Found | None:
    """Find by uuid; None when a uuid-shaped text is no object's uuid (it may be a name)."""
    try:
        answer = session.change("POST", "/id-to-fqname", {"uuid": uuid}).value
    except NotFoundError:
        return None
    found = Found(answer["type"].replace("_", "-"), uuid, tuple(answer["fq_name"]))
    if kind is not None and found.kind != kind:
        raise InputError("wrong-kind", f"{uuid} is the {found}, not a {kind}")
    return found


def choose(candidates: Sequence[Found], text: str, wanted: str, *, strict: bool = False) -> Found:
    """Choose the one of `candidates` that `text` names; `wanted` says what was looked for.

    A whole fq_name beats its last part, and that a display name. Raises as `find` does.
    """
    called = [found for found in candidates if found.is_called(text)]
    for test in (
        [found for found in called if found.name == text],
        [found for found in called if found.fq_name[-1] == text],
        called,
    ):
        best = _without_rendered(test) if strict else _best_ranked(test)
        if len(best) == 1:
            return best[0]
        if best:
            raise InputError(
                "ambiguous-name",
                f"{text!r} is the name of {len(best)} objects: "
                + ", ".join(str(found) for found in best[:5])
                + (", ..." if len(best) > 5 else ""),
                hint="name one by KIND/NAME or by uuid",
            )
    names = [found.short for found in candidates] + [found.name for found in candidates]
    raise NotFoundError(f"there is no {wanted} {text!r}{suggestion(text, dict.fromkeys(names))}")


def _without_rendered(found: Sequence[Found]) -> list[Found]:
    """Leave out what networks among `found` have of themselves, by their own name: a routing
    instance, an access control list. Nobody changes those.
    """
    own = {(*one.fq_name, one.fq_name[-1]) for one in found if one.kind == "virtual-network"}
    return [one for one in found if one.kind not in LAST or one.fq_name not in own]


def _best_ranked(found: Sequence[Found]) -> list[Found]:
    """Keep the objects of the kind a person most likely means."""
    ranks = [_rank(each.kind) for each in found]
    return [each for each, rank in zip(found, ranks, strict=True) if rank == min(ranks)]


def _rank(kind: str) -> int:
    if kind in RANK:
        return RANK.index(kind)
    return len(RANK) + (1 + LAST.index(kind) if kind in LAST else 0)


def find_all(session: Session, words: Iterable[str], *, strict: bool = False) -> list[Found]:
    """Find several objects; a word that is a kind says what the next word's kind is."""
    found: list[Found] = []
    kind: str | None = None
    given = list(words)
    for index, word in enumerate(given):
        meant = as_kind(session, word) if kind is None else None
        if meant is not None:
            kind = meant
            continue
        try:
            found.append(find(session, word, kind, strict=strict))
        except NotFoundError:
            # Before a name, a word that is like a kind was to be one.
            is_last = index == len(given) - 1
            if kind is None and not is_last and nearest(word.replace("_", "-"), kinds(session)):
                require_kind(session, word)
            raise
        kind = None
    if kind is not None:
        raise InputError("no-name", f"which {kind}?", hint=f"write {kind} NAME")
    return found
