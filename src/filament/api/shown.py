"""The plan of the committed configuration, and the read-only objects that show it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from filament.compiler import slots
from filament.compiler.compile import Compiler
from filament.compiler.plan import Plan, PlanDelta, Slot
from filament.compiler.render import ACCESS_CONTROL_LIST, ROUTING_INSTANCE, Rendered
from filament.model.change import Commit, Object
from filament.model.view import View


class ShownPlan:
    """Follows the committed snapshot, commit by commit. One per configuration engine."""

    def __init__(self) -> None:
        self._compiler = Compiler()
        self.objects = Rendered(self._compiler.plan)

    def load(self, view: View) -> None:
        """Compile from scratch."""
        self._compiler = Compiler()
        self._compiler.load(view)
        self.objects = Rendered(self._compiler.plan)

    def update(self, view: View, commit: Commit) -> None:
        """Follow one commit; `view` is the configuration after it."""
        delta = self._compiler.update(view, commit)
        self.objects.update(self._compiler.plan, delta)

    def preview(self, view: View, commit: Commit) -> tuple[Plan, Plan, PlanDelta]:
        """The plan as it is, as it would be after `commit`, and the difference.

        `view` is the configuration as it would be. Nothing that is shown changes.
        """
        fork = self._compiler.fork()
        delta = fork.update(view, commit)
        return self._compiler.plan, fork.plan, delta

    def verify(self, view: View) -> None:
        """Recompute the plan; AssertionError names rows that differ."""
        self._compiler.verify(view)

    def of_network(self, uuid: str) -> Iterator[Object]:
        """Read-only children of a virtual-network or security-group."""
        for kind in (ROUTING_INSTANCE, ACCESS_CONTROL_LIST):
            yield from self.objects.children(uuid, kind)

    def missing(self, view: View, changed: Iterable[Object]) -> list[Slot]:
        """Numbers that the plan of a candidate lacks because of `changed` objects."""
        return slots.slots(view, changed)

    def owners(self, item: Object) -> list[str]:
        """Owners whose numbers are given back when an object is deleted."""
        return slots.slot_owners(item)

    def find(self, view: View, uuid: str) -> Object | None:
        """The rendered object with this uuid, or the intent of that name, if a client made one."""
        item = self.objects.get(uuid)
        return item and (view.named(item.kind, item.fq_name) or item)
