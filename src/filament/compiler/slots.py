"""The numbers a plan needs and does not have yet. The API allocates them in the same commit.

Only what the *plan* derives is asked for here: one route target per routing instance, owner the
instance's fq name. Numbers that belong to an object itself (VN ids, addresses, MACs) are its
kind's allocations and the API's business.
"""

from __future__ import annotations

from collections.abc import Iterable

from filament.compiler.networks import instance_names
from filament.compiler.plan import Slot
from filament.compiler.targets import GLOBAL_SYSTEM_CONFIG, own_target, pool_of, read_asn
from filament.model.change import Object
from filament.model.view import View

_SOURCES = ("virtual-network", "routing-instance")


def slots(view: View, changed: Iterable[Object]) -> list[Slot]:
    """Return the slots that lack an allocation because of `changed` objects, in their order.

    `view` is the candidate with the change in it; `changed` the objects it puts, of any kind. The
    cost is that of the changed networks and routing instances that clients made, but a changed
    global-system-config asks for all of them:
    under a new AS number every automatic target needs a number of the new pool (TF keeps the old
    number; the API may too where it is free).
    """
    sources: dict[str, Object] = {}
    for each in changed:
        if each.kind in _SOURCES:
            sources[each.uuid] = each
        elif each.kind == "global-system-config" and each.fq_name == GLOBAL_SYSTEM_CONFIG:
            for kind in _SOURCES:
                sources |= {source.uuid: source for source in view.of_kind(kind)}
    if not sources:
        return []
    asn = read_asn(view)
    return [
        Slot(pool_of(asn), instance)
        for source in sources.values()
        for instance in slot_owners(source)
        if not own_target(view, instance, asn)
    ]


def slot_owners(item: Object) -> list[str]:
    """Return the owners whose allocations are freed when an object is deleted: the instances of a
    network, or the one that a client made.
    """
    if item.kind == "virtual-network":
        return [name for name, has_target in instance_names(item.fq_name) if has_target]
    return [item.name] if item.kind == "routing-instance" else []
