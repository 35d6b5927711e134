"""Intent to plan, as a graph of small tables, each a pure function of the ones before.

    objects, allocations ─> settings, policies ─> networks ─> stances ─> listers ─> partners
                                                     └──────────┴─> instances, acls <─┘
    objects ─> groups ─> quoted ─> pieces ─> acls
    objects, allocations, settings ─> extras ─> wanted ─> linked <─ rendered <─ networks
                                        └───────────────> linked ─> instances

Both roads give the same plan: `compile_plan` runs every node in full, `Compiler` only what a
commit touches (`verify` compares the two). A commit that has no network, policy, setting, route
target or VN id in it costs a glance at its objects: a port never makes anything look at another.
"""

from __future__ import annotations

from collections.abc import Mapping

from filament.base.graph import Changes, Graph, Node
from filament.compiler.nodes import acls, extras, instances, networks, partners, policies
from filament.compiler.nodes.rows import source_changes
from filament.compiler.plan import Plan, PlanDelta
from filament.model.change import Commit
from filament.model.view import View

# In the order of the graph: each node after those it reads.
_NODES: tuple[Node[View], ...] = (
    *networks.NODES,
    *policies.NODES,
    *partners.NODES,
    *extras.NODES,
    *instances.NODES,
    *acls.NODES,
)


def compile_plan(view: View) -> Plan:
    """Compile the whole plan of a view."""
    compiler = Compiler()
    compiler.load(view)
    return compiler.plan


class Compiler:
    """A plan that follows a configuration. One per process that needs it; owned by one task.

    `plan` shares its tables with the compiler: rows are immutable, the tables change with the
    next `load` or `update`.
    """

    def __init__(self) -> None:
        self._graph: Graph[View] = Graph(("objects", "allocations"), _NODES)
        self._revision = 0

    @property
    def plan(self) -> Plan:
        """The plan at the revision last loaded or updated to."""
        return Plan(self._revision, self._graph.table("instances"), self._graph.table("acls"))

    def load(self, view: View) -> PlanDelta:
        """Compile from scratch; the delta is against what the plan was before."""
        return self._delta(view, self._graph.load(view))

    def update(self, view: View, commit: Commit) -> PlanDelta:
        """Follow one commit; `view` is the configuration after it.

        When it raises (a bug: plans are total), the plan is as it was before.
        """
        return self._delta(view, self._graph.update(view, source_changes(commit)))

    def fork(self) -> Compiler:
        """Another compiler with the same plan, for a change that may not happen.

        Copies the tables, not the rows: its cost is that of the networks, not of their ports.
        """
        other = Compiler()
        other._graph = self._graph.fork()
        other._revision = self._revision
        return other

    def verify(self, view: View) -> None:
        """Recompute everything from `view`; raise AssertionError naming the rows that differ."""
        self._graph.verify(view)

    def _delta(self, view: View, changes: Mapping[str, Changes]) -> PlanDelta:
        self._revision = view.revision
        if not changes:
            return PlanDelta(view.revision)
        instances, acls = changes.get("instances", {}), changes.get("acls", {})
        return PlanDelta(
            revision=view.revision,
            instances_put=frozenset(name for name, row in instances.items() if row.new is not None),
            instances_deleted=frozenset(name for name, row in instances.items() if row.new is None),
            acls_put=frozenset(name for name, row in acls.items() if row.new is not None),
            acls_deleted=frozenset(name for name, row in acls.items() if row.new is None),
        )
