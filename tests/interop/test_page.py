"""The examples of docs/operations/peer-with-your-router.md, verbatim."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from filament.base.net import format_ipv4, format_mac
from filament.testing.lab import namespaces
from filament.testing.lab.lab import Lab
from filament.testing.lab.scenario import build_scenario
from filament.testing.lab.teardown import tear_down
from filament.testing.peers.frr import Frr, configure
from filament.testing.peers.gobgp import GoBgp
from filament.testing.peers.route import PeerRoute
from filament.testing.peers.settings import Neighbour, PeerSettings, Segment, Vrf

from .logs import shown
from .waiting import until

pytestmark = pytest.mark.interop

PAGE = Path(__file__).parents[2] / "docs/operations/peer-with-your-router.md"


def blocks():
    """Text of the fenced blocks that have a title, by it."""
    found = re.findall(r"^```\w+ (\S+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return dict(found)


class PageFrr(Frr):
    def programs(self):
        found = super().programs()
        (self.directory / "bgpd.conf").write_text(blocks()["bgpd.conf"])
        return found


class PageCumulus(Frr):
    def programs(self):
        found = super().programs()
        (self.directory / "bgpd.conf").write_text(blocks()["frr.conf"])
        return found


class PageGoBgp(GoBgp):
    def configuration(self):
        return blocks()["gobgpd.toml"]


def peer(kind, lab, name, **more):
    (router,) = (each for each in lab.plan.routers if each.name == name)
    control = format_ipv4(lab.plan.control_address)
    settings = PeerSettings(
        name=name,
        address=format_ipv4(router.address),
        asn=0,
        neighbours=(Neighbour(address=control, asn=0, families=()),),
        **more,
    )
    directory = lab.directories.run / name
    directory.mkdir()
    return kind(settings, lab.place(name), directory)


def shell(lab, text, place=None):
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "FILAMENT_RUN": str(lab.directories.run),
    }
    with namespaces.inside(place):
        done = subprocess.run(
            ["bash", "-euc", text], env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def lab(run_directory):
    """The page's lab, for one test."""
    build_scenario(run_directory, print).close()
    try:
        yield Lab.open(run_directory)
    finally:
        tear_down(run_directory, print)


def test_the_pages_routers_learn_from_each_other(lab, run_directory):
    said = shell(lab, "filament lab router frr1; filament lab router gobgp1")
    assert said.splitlines() == ["frr1 is 172.30.0.201", "gobgp1 is 172.30.0.202"]
    lab = Lab.open(run_directory)
    with shown(run_directory), contextlib.ExitStack() as stack:
        stack.callback(lab.close)
        vrf = Vrf(name="red", rd="172.30.0.201:5", targets=())
        frr = peer(PageFrr, lab, "frr1", vrfs=(vrf,))
        gobgp = peer(PageGoBgp, lab, "gobgp1")
        for each in (frr, gobgp):
            stack.callback(each.stop)
            each.spawn()
        shell(lab, blocks()["filament"])
        for each in (frr, gobgp):
            each.wait_for(each.is_ready, "takes commands")
        configure(frr.vrf_place("red"), ["addr add 10.201.0.1/24 dev lo"])
        for each in (frr, gobgp):
            each.wait_established()
        shell(lab, blocks()["gobgp"], gobgp.place)
        workload = f"{format_ipv4(lab.plan.workload('red-1').address)}/32"
        for each in (frr, gobgp):
            heard = each.wait_received("inet-vpn", prefix=workload)
            assert "target:64512:5" in heard.targets
        gobgp.wait_received("inet-vpn", prefix="10.201.0.0/24")
        frr.wait_received("inet-vpn", prefix="10.202.0.0/24", as_path=(65010,))


def test_the_pages_switch_bridges_a_network(lab, run_directory):
    """Cumulus is FRR; its interfaces are made here as its file asks for."""
    for name in ("frr1", "gobgp1", "junos1", "cumulus1"):
        lab.add_router(name)
    with shown(run_directory), contextlib.ExitStack() as stack:
        stack.callback(lab.close)
        rd = "172.30.0.204:4000"
        cumulus = peer(
            PageCumulus, lab, "cumulus1", segments=(Segment(vni=4000, rd=rd, targets=()),)
        )
        stack.callback(cumulus.stop)
        cumulus.spawn()
        shell(lab, blocks()["filament"])
        shell(lab, blocks()["cumulus"])
        cumulus.wait_for(cumulus.is_ready, "takes commands")
        cumulus.wait_established()
        workload = lab.plan.workload("red-1")
        mac, host = format_mac(workload.mac), format_ipv4(lab.plan.host(workload.host).address)
        heard = cumulus.wait_received("e-vpn", evpn_type=2, mac=mac)
        assert (heard.label, heard.next_hop) == (4000, host)
        cumulus.wait_for(
            lambda: (
                f"{mac} dst {host} self" in cumulus.run(["bridge", "fdb", "show", "dev", "vx4000"])
            ),
            "bridges to the workload",
        )
        cumulus.announce(PeerRoute(family="e-vpn", evpn_type=2, mac="02:00:00:00:00:c1", rd=rd))
        until(
            lambda: (
                "02:00:00:00:00:c1"
                in shell(lab, "filament show bgp routes --instance default-domain:demo:red:red")
            ),
            "the switch's MAC address is in the network's table",
        )
