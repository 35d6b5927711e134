"""What must hold, computed from intent alone, by other means than compiler and RIB use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from filament.compiler.compile import compile_plan
from filament.forward.ids import Ids
from filament.forward.layout import RULES
from filament.forward.lists import LIST_TABLES, Memo
from filament.forward.plan import plan
from filament.forward.tables import Tables
from filament.testing.sim.cluster import Cluster, Workload


def joined_networks(cluster: Cluster) -> set[frozenset[str]]:
    """Pairs of networks that intent lets talk: some policy names both and hangs on both."""
    engine = cluster.api.engine
    assert engine is not None
    networks_by_policy: dict[str, set[str]] = {}
    for name, network in cluster.networks.items():
        current = engine.snapshot.get(network.uuid)
        for ref in current.refs_to("network-policy") if current is not None else []:
            networks_by_policy.setdefault(ref.uuid, set()).add(name)
    joined = set()
    for uuid, attached in networks_by_policy.items():
        policy = engine.snapshot.get(uuid)
        assert policy is not None
        for rule in policy.props["network_policy_entries"]["policy_rule"]:
            pair = frozenset(
                rule[side][0]["virtual_network"].rsplit(":", 1)[-1]
                for side in ("src_addresses", "dst_addresses")
            )
            if pair <= attached:
                joined.add(pair)
    return joined


def may_talk(cluster: Cluster, left: Workload, right: Workload) -> bool:
    """Whether intent lets two workloads talk."""
    return left.network == right.network or frozenset(
        (left.network, right.network)
    ) in joined_networks(cluster)


def require_converged(cluster: Cluster) -> None:
    """Every pair of workloads reaches each other if and only if intent says so."""
    for left, right in _pairs(cluster.workloads.values()):
        expected = may_talk(cluster, left, right)
        assert cluster.ping(left, right) == expected, (
            f"seed {cluster.seed}, {cluster.schedule.now:.3f} s: {left.name} to {right.name} "
            f"should {'pass' if expected else 'drop'}, but {cluster.probe(left, right.address)}"
        )


def require_isolated(cluster: Cluster, ever_joined: set[frozenset[str]]) -> None:
    """No packet crosses between networks that no policy ever joined, at any instant."""
    for left, right in _pairs(cluster.workloads.values()):
        pair = frozenset((left.network, right.network))
        if len(pair) == 2 and pair not in ever_joined:
            fate = cluster.probe(left, right.address)
            assert fate.arrived_at is None, (
                f"seed {cluster.seed}: {left.name} reached {fate.arrived_at} across networks"
            )


def verify(cluster: Cluster) -> None:
    """Recompute every engine, and compare every kernel with what its agent wants."""
    engine = cluster.api.engine
    assert engine is not None
    compile_plan(engine.snapshot)
    for control in cluster.living_controls():
        control.verify()
        assert control.revision == engine.snapshot.revision
    for host in cluster.hosts.values():
        if host.core is None or host.desired is None:
            continue
        wanted = {
            table: {key: row.values for key, row in rows.items()}
            for table, rows in host.desired.rows.items()
            if table != RULES.name  # which only people read
        }
        assert host.kernel.read_planned() == wanted, f"{host.name} shows other rows than it wants"
        inputs = host.core.inputs()
        again = plan(inputs, Ids(host.ids_state), memo=Memo(host.editions()))
        assert _known(again) == _known(host.desired), f"{host.name} would plan other rows now"


def _known(tables: Tables) -> dict[str, Any]:
    """Return what follows from inputs. Where rules come from does not: those of an edited list tell
    of the commits they came by.
    """
    return {
        table: {key: row.values for key, row in rows.items()} if table in LIST_TABLES else rows
        for table, rows in tables.rows.items()
    }


def _pairs(workloads: Iterable[Workload]) -> list[tuple[Workload, Workload]]:
    listed = list(workloads)
    return [(left, right) for left in listed for right in listed if left is not right]
