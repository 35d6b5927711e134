"""The issue's scenario in one process, on a virtual clock, with seeded trouble."""

import pytest
from tests.sim.trouble import SEEDS, WORKLOADS, Probing, scenario, trouble

from filament.api.request import Delete
from filament.base.errors import TransientError
from filament.forward.layout import DropReason
from filament.testing.sim.api import creation
from filament.testing.sim.check import require_converged, require_isolated, verify
from filament.testing.sim.cluster import DOMAIN, PROJECT, Cluster


@pytest.mark.parametrize("seed", SEEDS)
def test_networks_are_reachable_inside_and_closed_outside(seed):
    cluster = scenario(seed)
    assert cluster.workloads["red-1"].address == (10 << 24) + (1 << 16) + (1 << 8) + 3
    require_converged(cluster)
    require_isolated(cluster, set())
    fate = cluster.probe(cluster.workloads["red-1"], cluster.workloads["blue-1"].address)
    assert fate.reason == DropReason.NO_ROUTE
    verify(cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_policy_joins_and_parts_networks(seed):
    cluster = scenario(seed)
    before = {name: host.kernel.read_planned() for name, host in cluster.hosts.items()}
    policy = cluster.add_policy("red-blue", "red", "blue")
    cluster.attach(policy, "red")
    cluster.settle()
    require_converged(cluster)  # on one side only: still apart
    cluster.attach(policy, "blue")
    probing = Probing(cluster, "red-1", "blue-2", every_s=0.001)
    cluster.schedule.run(1.0)
    assert probing.lost < 100, "the policy must pass packets within a second"
    cluster.settle()
    require_converged(cluster)
    assert cluster.ping(cluster.workloads["red-1"], cluster.workloads["blue-2"])
    verify(cluster)
    # Detach: it stops, also for a flow that is already running.
    cluster.detach(policy, "red", "blue")
    cluster.settle()
    lost_at = probing.lost
    cluster.schedule.run(0.1)
    assert probing.lost - lost_at >= 99
    probing.stop()
    require_converged(cluster)
    require_isolated(cluster, set())
    verify(cluster)
    # Apply and revert is identity, but for the policy generation and the revision.
    after = {name: host.kernel.read_planned() for name, host in cluster.hosts.items()}
    for rows in (*before.values(), *after.values()):
        rows.pop("host")
    assert before == after


@pytest.mark.parametrize("seed", SEEDS)
def test_killing_an_agent_loses_nothing(seed):
    cluster = scenario(seed)
    probes = [Probing(cluster), Probing(cluster, "red-2", "red-1")]
    for _ in range(3):
        cluster.hosts["host1"].crash()
        cluster.schedule.run(0.5)
        cluster.hosts["host1"].start()
        cluster.schedule.run(2.0)
    cluster.settle()
    assert [probe.stop() for probe in probes] == [0, 0]
    require_converged(cluster)
    verify(cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_killing_an_agent_between_disk_and_kernel(seed):
    cluster = scenario(seed)
    host = cluster.hosts["host1"]
    probe = Probing(cluster)
    for number in range(4):
        host.crash_chance = 0.7
        cluster.api.create("virtual-machine", [f"other-{number}"])
        cluster.add_workload(f"red-more-{number}", "red", "host1")
        for _ in range(20):
            cluster.schedule.run(0.05)
            if host.core is None:
                host.start()
        host.crash_chance = 0.0
        if host.core is None:
            host.start()
        cluster.schedule.run(1.0)  # a dead agent holds no revision up, so give it time to return
        cluster.settle()
    assert probe.stop() == 0
    require_converged(cluster)
    verify(cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_agent_without_memory_adopts_what_the_kernel_holds(seed):
    cluster = scenario(seed)
    host, control = cluster.hosts["host1"], cluster.controls["ctl1"]
    probe = Probing(cluster)
    control.crash()
    host.crash()
    host.forget_views()
    host.start()
    cluster.schedule.run(5.0)  # nobody tells it anything, so it must not touch what it found
    control.start()
    cluster.schedule.run(40.0)
    cluster.settle()
    assert probe.stop() == 0
    require_converged(cluster)
    verify(cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_killing_the_control_node_loses_nothing(seed):
    cluster = scenario(seed)
    probes = [Probing(cluster), Probing(cluster, "blue-1", "blue-2")]
    control = cluster.controls["ctl1"]
    control.crash()
    cluster.schedule.run(5.0)
    control.start()
    cluster.schedule.run(40.0)
    cluster.settle()
    assert [probe.stop() for probe in probes] == [0, 0]
    require_converged(cluster)
    verify(cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_killing_control_and_one_agent_keeps_the_dead_agents_routes(seed):
    cluster = scenario(seed)
    probe = Probing(cluster)
    cluster.controls["ctl1"].crash()
    cluster.hosts["host2"].crash()
    cluster.schedule.run(1.0)
    cluster.controls["ctl1"].start()
    cluster.schedule.run(10.0)  # host1 is back, host2's routes are known to nobody but host1
    cluster.hosts["host2"].start()
    cluster.schedule.run(10.0)
    cluster.settle()
    assert probe.stop() == 0
    require_converged(cluster)
    verify(cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_partition_heals_with_the_news(seed):
    cluster = scenario(seed)
    policy = cluster.add_policy("red-blue", "red", "blue")
    for link in cluster.hosts["host2"].links:
        link.cut(cut_off=True)
    cluster.attach(policy, "red", "blue")
    cluster.schedule.run(150.0)  # longer than the hold time
    for link in cluster.hosts["host2"].links:
        link.cut(cut_off=False)
    cluster.schedule.run(10.0)
    cluster.settle()
    require_converged(cluster)
    verify(cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_short_partition_loses_nothing(seed):
    cluster = scenario(seed)
    probe = Probing(cluster)
    for host in cluster.hosts.values():
        for link in host.links:
            link.cut(cut_off=True)
    cluster.schedule.run(20.0)
    for host in cluster.hosts.values():
        for link in host.links:
            link.cut(cut_off=False)
    cluster.schedule.run(5.0)
    cluster.settle()
    assert probe.stop() == 0
    require_converged(cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_killing_the_api_keeps_what_it_stored(seed):
    cluster = scenario(seed)
    probe = Probing(cluster)
    network = creation("virtual-network", [DOMAIN, PROJECT, "green"], parent_type="project")
    cluster.api.crash_unanswered(network)
    with pytest.raises(TransientError, match="does not answer"):
        cluster.api.create("virtual-machine", ["nobody"])
    cluster.schedule.run(1.0)
    cluster.api.start()
    cluster.settle()
    engine = cluster.api.engine
    assert engine.snapshot.named("virtual-network", (DOMAIN, PROJECT, "green")) is not None
    assert probe.stop() == 0
    require_converged(cluster)
    verify(cluster)


def test_nothing_leaks_when_all_is_deleted():
    cluster = scenario(1)
    allocations_of_networks = {
        allocation
        for network in cluster.networks.values()
        for allocation in cluster.api.engine.snapshot.allocations_of(network.uuid)
    }
    assert allocations_of_networks
    for name, _, _ in WORKLOADS:
        cluster.remove_workload(name)
    for name in list(cluster.networks):
        cluster.api.ask(Delete("virtual-network", cluster.networks.pop(name).uuid))
    cluster.settle()
    empty = Cluster(1)
    empty.settle()

    def left(one):
        return sorted((a.pool, a.value) for a in one.api.store.load()[2])

    assert left(cluster) == left(empty)
    for name, host in cluster.hosts.items():
        rows = host.kernel.read_planned()
        rows.pop("host")
        assert not any(rows.values()), f"{name} still has {rows}"
    verify(cluster)


@pytest.mark.parametrize("seed", range(8))
def test_anything_at_any_time(seed):
    """After it all is as intent says, and nothing ever crossed a closed border."""
    cluster = scenario(seed)
    trouble(cluster)
    cluster.settle()
    require_converged(cluster)
    verify(cluster)
