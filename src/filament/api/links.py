"""The home page: what a client of contrail-api discovers before its first call."""

from __future__ import annotations

from typing import Any

from filament.model.kind import ROOT
from filament.model.kinds import KINDS

# rel "action": clients look these up by name, so name and uri are contrail-api's.
_ACTIONS = (
    ("/ref-update", "ref-update", "POST"),
    ("/fqname-to-id", "name-to-id", "POST"),
    ("/id-to-fqname", "id-to-name", "POST"),
    ("/list-bulk-collection", "list-bulk-collection", "POST"),
    ("/watch", "watch", "GET"),
)


def home_page(base: str) -> dict[str, Any]:
    """The home page for a client that reached us at `base`."""
    links = [_link(base, "root", f"/{ROOT}", ROOT, None)]
    for kind in KINDS.values():
        links.append(_link(base, "collection", f"/{kind.collection}", kind.name, None))
        links.append(_link(base, "resource-base", f"/{kind.name}", kind.name, None))
    links += [_link(base, "action", uri, name, method) for uri, name, method in _ACTIONS]
    return {"href": base, "links": links}


def _link(base: str, rel: str, uri: str, name: str, method: str | None) -> dict[str, Any]:
    return {"link": {"rel": rel, "href": f"{base}{uri}", "name": name, "method": method}}
