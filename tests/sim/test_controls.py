"""Two control nodes: whatever becomes of either, packets flow, and news arrives by the other."""

import pytest
from tests.sim.trouble import SEEDS, Probing, scenario, trouble

from filament.testing.sim.check import require_converged, verify

BOTH = ("ctl1", "ctl2")


def probing(cluster):
    return [Probing(cluster, every_s=0.005), Probing(cluster, "red-2", "red-1")]


def finish(cluster, probes):
    cluster.settle()
    assert [probe.stop() for probe in probes] == [0] * len(probes)
    require_converged(cluster)
    verify(cluster)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_both_know_the_same_and_agents_take_it_for_one(seed):
    cluster = scenario(seed, controls=BOTH)
    require_converged(cluster)
    one, two = cluster.living_controls()
    for name in one.rib.instances:
        assert one.rib.selections(name) == two.rib.selections(name)
    for host in cluster.hosts.values():
        told = {each.control: each for each in host.core.controls()}
        assert all(each.is_whole and each.is_connected for each in told.values())
        routes = host.core.inputs().routes
        assert len({(each.vrf, each.prefix) for each in routes}) == len(routes)
        assert not any(each.others for each in routes)
    verify(cluster)


@pytest.mark.parametrize("seed", SEEDS[:2])
@pytest.mark.parametrize("victim", BOTH)
def test_losing_either_loses_nothing_and_news_comes_by_the_other(seed, victim):
    cluster = scenario(seed, controls=BOTH)
    probes = probing(cluster)
    cluster.controls[victim].crash()
    cluster.schedule.run(0.2)
    policy = cluster.add_policy("red-blue", "red", "blue")
    cluster.attach(policy, "red", "blue")
    cluster.add_workload("red-3", "red", "host2")
    cluster.schedule.run(0.05)  # plugging is no commit that could be waited for
    cluster.settle()
    require_converged(cluster)
    cluster.remove_workload("red-3")
    cluster.detach(policy, "red", "blue")
    cluster.settle()
    cluster.controls[victim].start()
    cluster.schedule.run(2.0)
    finish(cluster, probes)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_losing_one_after_the_other_loses_nothing(seed):
    cluster = scenario(seed, controls=BOTH)
    probes = probing(cluster)
    for _ in range(2):
        for name in BOTH:
            cluster.controls[name].crash()
            cluster.schedule.run(cluster.schedule.random.uniform(0.01, 1.0))
            cluster.controls[name].start()
            cluster.schedule.run(cluster.schedule.random.uniform(0.0, 1.0))
    finish(cluster, probes)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_losing_both_leaves_forwarding_as_it_was(seed):
    cluster = scenario(seed, controls=BOTH)
    probes = probing(cluster)
    before = {name: host.kernel.read_planned() for name, host in cluster.hosts.items()}
    for name in BOTH:
        cluster.controls[name].crash()
    cluster.schedule.run(5.0)
    assert {name: host.kernel.read_planned() for name, host in cluster.hosts.items()} == before
    cluster.hosts["host1"].crash()
    cluster.schedule.run(0.5)
    cluster.hosts["host1"].start()
    cluster.schedule.run(0.5)
    for name in BOTH:
        cluster.controls[name].start()
        cluster.schedule.run(cluster.schedule.random.uniform(0.0, 0.5))
    cluster.schedule.run(2.0)
    finish(cluster, probes)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_a_control_node_cut_off_from_agents_is_waited_for_as_long_as_it_counts_them(seed):
    cluster = scenario(seed, controls=BOTH)
    probes = probing(cluster)
    for host in cluster.hosts.values():
        host.links[0].cut(cut_off=True)
    policy = cluster.add_policy("red-blue", "red", "blue")
    cluster.attach(policy, "red", "blue")
    cluster.schedule.run(1.0)
    one, two = cluster.living_controls()
    assert two.settled == cluster.api.revision > one.settled
    require_converged(cluster)  # they heard of it by the other
    for host in cluster.hosts.values():
        host.links[0].cut(cut_off=False)
    cluster.schedule.run(2.0)
    finish(cluster, probes)


@pytest.mark.parametrize("seed", range(4))
def test_anything_at_any_time_with_two(seed):
    cluster = scenario(seed, controls=BOTH)
    trouble(cluster)
    finish(cluster, [])
