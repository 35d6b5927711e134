"""The cluster of the scenarios, what watches it, and trouble for it."""

from filament.testing.sim.check import require_isolated
from filament.testing.sim.cluster import Cluster

SEEDS = range(5)
RED_BLUE = {frozenset(("red", "blue"))}
WORKLOADS = (
    ("red-1", "red", "host1"),
    ("blue-1", "blue", "host1"),
    ("red-2", "red", "host2"),
    ("blue-2", "blue", "host2"),
)


def scenario(seed, **options):
    cluster = Cluster(seed, **options)
    cluster.add_network("red", "10.1.1.0/24")
    cluster.add_network("blue", "10.1.2.0/24")
    for name, network, host in WORKLOADS:
        cluster.add_workload(name, network, host)
    cluster.settle()
    return cluster


class Probing:
    """Pings between two workloads at a pace of virtual time, and counts what is lost."""

    def __init__(self, cluster, source="red-1", destination="red-2", every_s=0.01):
        self.every_s = every_s
        self.cluster = cluster
        self.ends = cluster.workloads[source], cluster.workloads[destination]
        self.sent = self.lost = 0
        self.active = True
        self._beat()

    def _beat(self):
        if self.active:
            self.sent += 1
            if not self.cluster.ping(*self.ends, echo_id=77):
                self.lost += 1
            self.cluster.schedule.after(self.every_s, self._beat)

    def stop(self):
        self.active = False
        assert self.sent > 100
        return self.lost


def trouble(cluster):
    """Crashes, cut links and changes in random order; afterwards everything runs again.

    Whatever happens, red and blue stay apart unless a policy joins them.
    """
    cluster.add_network("grey", "10.1.3.0/24")
    cluster.add_workload("grey-1", "grey", "host1")
    policy = cluster.add_policy("red-blue", "red", "blue")
    cluster.settle()
    random = cluster.schedule.random
    attached = False
    for number in range(25):
        match random.randrange(7):
            case 0:
                host = random.choice(list(cluster.hosts.values()))
                host.crash() if host.core is not None else host.start()
            case 1:
                control = random.choice(list(cluster.controls.values()))
                control.crash() if control.core is not None else control.start()
            case 2 | 3:
                change = cluster.detach if attached else cluster.attach
                change(policy, "red", "blue")
                attached = not attached
            case 4:
                network, host = random.choice(["red", "blue"]), random.choice(["host1", "host2"])
                cluster.add_workload(f"w-{number}", network, host)
            case 5:
                extra = [name for name in cluster.workloads if name.startswith("w-")]
                if extra:
                    cluster.remove_workload(random.choice(extra))
            case 6:
                link = random.choice(cluster.hosts["host2"].links)
                link.cut(cut_off=bool(random.getrandbits(1)))
        cluster.schedule.run(random.uniform(0.001, 3.0))
        require_isolated(cluster, RED_BLUE)
    for host in cluster.hosts.values():
        for link in host.links:
            link.cut(cut_off=False)
        if host.core is None:
            host.start()
    for control in cluster.controls.values():
        if control.core is None:
            control.start()
    cluster.schedule.run(1.0)
