"""The home page: what a client of contrail-api discovers before its first call."""

from __future__ import annotations

from typing import Any

from filament.api.catalog import CATALOG, REFUSED
from filament.model.kind import ROOT
from filament.model.kinds import KINDS


def home_page(base: str) -> dict[str, Any]:
    """The home page for a client that reached us at `base`."""
    links = [_link(base, "root", f"/{ROOT}", ROOT, None)]
    for kind in KINDS.values():
        links.append(_link(base, "collection", f"/{kind.collection}", kind.name, None))
        links.append(_link(base, "resource-base", f"/{kind.name}", kind.name, None))
    # Clients look actions up by name, so name and uri are contrail-api's. Those we refuse are
    # there too: the answer says what to do instead, a missing link makes clients fail obscurely.
    for entry in CATALOG:
        if entry.action:
            uri = entry.link or entry.path
            links.append(_link(base, "action", uri, entry.action, entry.method))
    for name, (uri, method, _) in REFUSED.items():
        links.append(_link(base, "action", uri, name, method))
    return {"href": base, "links": links}


def _link(base: str, rel: str, uri: str, name: str, method: str | None) -> dict[str, Any]:
    return {"link": {"rel": rel, "href": f"{base}{uri}", "name": name, "method": method}}
