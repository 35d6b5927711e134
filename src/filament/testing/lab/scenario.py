"""The lab of the README: red and blue, two workloads on each, on two hosts.

`up` and `down` are what `make up` and `make down` run; both may be called again at any time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from filament.base.errors import FilamentError, PermanentError
from filament.base.net import Prefix
from filament.testing.lab import reach
from filament.testing.lab.lab import DEFAULT_API_LISTEN, Lab, control_name
from filament.testing.lab.plan import LabPlan, Underlay, Workload
from filament.testing.lab.processes import boot_id
from filament.testing.lab.teardown import sole_changer, tear_down

Say = Callable[[str], None]

ASN = 64512
CONTROL_FAMILIES = ("route-target", "inet-vpn", "inet6-vpn", "e-vpn", "erm-vpn")

NETWORKS = {"red": Prefix.parse("10.1.1.0/24"), "blue": Prefix.parse("10.1.2.0/24")}
# In this order, so that the addresses are the README's.
WORKLOADS = (
    ("red-1", "host1", "red"),
    ("blue-1", "host1", "blue"),
    ("red-2", "host2", "red"),
    ("blue-2", "host2", "blue"),
)


def workloads_of(plan: LabPlan) -> list[tuple[str, str, str]]:
    """Name, host and network of the workloads: one of each network on every host."""
    more = [
        (f"{network}-{number}", host.name, network)
        for number, host in enumerate(plan.hosts, start=1)
        if number > 2
        for network in NETWORKS
    ]
    return [*WORKLOADS[: 2 * len(plan.hosts)], *more]


class Steps:
    """Says what is being done and how long each step took."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._began = time.monotonic()

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Time one step; a failed one is said too."""
        began = time.monotonic()
        try:
            yield
        except BaseException:
            self._say(f"{text} ... failed after {time.monotonic() - began:.2f} s")
            raise
        self._say(f"{text:<58} {time.monotonic() - began:6.2f} s")

    def total(self, text: str) -> None:
        """Say the time since the beginning."""
        self._say(f"{text:<58} {time.monotonic() - self._began:6.2f} s")


def build_scenario(
    run: Path,
    say: Say,
    *,
    underlay: Underlay = "bridge",
    api_listen: str = DEFAULT_API_LISTEN,
    host_count: int = 2,
    control_count: int = 1,
    agent_options: Sequence[str] = (),
) -> Lab:
    """Build hosts, start processes, and make networks and workloads through the API."""
    steps = Steps(say)
    with steps.step("hosts, underlay"):
        lab = Lab.build(
            run,
            underlay=underlay,
            api_listen=api_listen,
            host_count=host_count,
            control_count=control_count,
            agent_options=agent_options,
        )
    with steps.step("processes: API"):
        lab.start()
        lab.wait_for("api")
    with steps.step("project demo, networks red and blue, hosts (API)"):
        intent = lab.intent
        intent.create_project()
        networks = {name: intent.create_network(name, prefix) for name, prefix in NETWORKS.items()}
        for host in lab.plan.hosts:
            intent.create_host(host.name, host.address)
        if control_count > 1:  # they tell each other of their agents' routes by BGP
            for process, place in zip(lab.controls, lab.plan.controls, strict=True):
                intent.create_bgp_router(
                    control_name(process),
                    place.address,
                    ASN,
                    CONTROL_FAMILIES,
                    router_type="control-node",
                )
    with steps.step("workloads: ports (API), namespaces"):
        workloads: list[Workload] = [
            lab.prepare_workload(name, host, networks[network])
            for name, host, network in workloads_of(lab.plan)
        ]
    with steps.step("processes: control nodes, agents"):
        for name in lab.process_names:
            lab.wait_for(name)
    with steps.step("workloads: plugged, applied on every host"):
        for workload in workloads:
            lab.plug(workload)
        lab.wait_plugged()
    steps.total("lab complete after")
    lab.mark_ready()
    return lab


def show(lab: Lab, say: Say) -> bool:
    """Print the table of workloads and what really reaches what; False when not as expected."""
    say("")
    for line in reach.format_workloads(lab.plan):
        say(line)
    say("")
    found = reach.measure(lab)
    for line in reach.format_reach([workload.name for workload in lab.plan.workloads], found):
        say(line)
    say("")
    return found == reach.expected(lab.plan)


def up(
    run: Path,
    say: Say,
    *,
    underlay: Underlay = "bridge",
    host_count: int = 2,
    control_count: int = 1,
) -> Lab:
    """Bring the lab up and show it; one that runs already is only shown, a ruin is cleared first.

    Raises PermanentError when a process does not start or the networks do not do as they should.
    """
    with sole_changer(run):
        lab = _running(run)
        if lab is not None:
            say(f"the lab in {run} is already up")
        else:
            if run.exists():
                tear_down(run, say)
            lab = build_scenario(
                run, say, underlay=underlay, host_count=host_count, control_count=control_count
            )
        if not show(lab, say) and not _has_policies(lab):
            raise PermanentError(
                "reachability is not as expected (a network reaches itself and no other);"
                " see `filament status` and `filament show drops`"
            )
    return lab


def _running(run: Path) -> Lab | None:
    try:
        lab = Lab.open(run)
    except FilamentError:
        return None
    if not lab.plan.ready or lab.plan.boot != boot_id():
        return None
    return lab if all(alive for _, alive in lab.status()) else None


def _has_policies(lab: Lab) -> bool:
    """Say whether somebody has attached policies meanwhile: then other pairs may talk."""
    client = lab.intent.client
    networks = {workload.network for workload in lab.plan.workloads}
    uuids = [client.uuid_of("virtual-network", name.split(":")) for name in networks]
    return any(client.get("virtual-network", uuid).get("network_policy_refs") for uuid in uuids)


def down(run: Path, say: Say) -> None:
    """Remove the lab and everything it made; harmless when there is none."""
    with sole_changer(run):
        tear_down(run, say)
