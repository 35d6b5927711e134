"""THE registry: one row per kind of configuration object.

Routes, client verbs, command line, checks of types and documentation are derived from it: adding
a kind is adding a row (and its types). Rows follow Tungsten Fabric's schema, one file per domain.
"""

from __future__ import annotations

from filament.model import (
    kinds_device,
    kinds_fabric,
    kinds_network,
    kinds_policy,
    kinds_routing,
    kinds_service,
    kinds_system,
)
from filament.model.kind import Kind, Registry

__all__ = ["KINDS", "Kind", "kind_named"]

KINDS = Registry(
    (
        *kinds_system.ROWS,
        *kinds_network.ROWS,
        *kinds_policy.ROWS,
        *kinds_routing.ROWS,
        *kinds_service.ROWS,
        *kinds_fabric.ROWS,
        *kinds_device.ROWS,
    )
)


def kind_named(name: str) -> Kind:
    """The kind called `name` (dashed or underscored); NotFoundError names the nearest."""
    return KINDS.named(name)
