"""The lab's own machinery, with `sleep` for roles: it must hold whatever the roles do."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from filament.base.errors import InputError, NotFoundError, PermanentError, TransientError
from filament.testing.lab import links, namespaces, processes
from filament.testing.lab.lab import Lab
from filament.testing.lab.leftovers import picture, settled_picture
from filament.testing.lab.plan import plan_lab, require_name
from filament.testing.lab.processes import Program
from filament.testing.lab.teardown import sole_changer, tear_down

RUN = Path("/run/filament-kit")


def program(name="sleeper", argv=("/bin/sleep", "1000"), namespace=None):
    place = None if namespace is None else str(namespace)
    return Program(name, argv, dict(os.environ), place, str(RUN / "log" / f"{name}.log"))


@pytest.fixture
def clean():
    before = picture()
    yield
    tear_down(RUN, lambda _: None)
    assert settled_picture(before) == before


def pings(lab, source, address):
    return lab.run(source, ["ping", "-nqc1", "-W1", address]).returncode == 0


# the plan, without root ---------------------------------------------------------------------


def test_hosts_skip_the_control_nodes_number():
    plan = plan_lab(host_count=11, underlay="bridge", api_listen="", boot="")
    assert [host.address & 255 for host in plan.hosts] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12]
    assert plan.control_address & 255 == 10


@pytest.mark.parametrize(
    ("count", "underlay", "message"),
    [
        (0, "bridge", "a lab of 0 hosts; ask for 1 to 196"),
        (3, "direct", "a direct underlay joins two hosts, not 3; ask for 2 hosts or"),
    ],
)
def test_impossible_labs_are_refused(count, underlay, message):
    with pytest.raises(InputError) as caught:
        plan_lab(host_count=count, underlay=underlay, api_listen="", boot="")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Red_1", "'Red_1' cannot be the name of a workload; use up to 31 lower-case"),
        ("../x", "'../x' cannot be the name of a workload"),
        ("host1", "'host1' exists in this lab; choose another name"),
        ("ctl", "'ctl' exists in this lab"),
    ],
)
def test_impossible_workload_names_are_refused(name, message):
    plan = plan_lab(host_count=2, underlay="bridge", api_listen="", boot="")
    with pytest.raises(InputError) as caught:
        require_name(plan, name)
    assert message in str(caught.value)


# hosts and underlay -------------------------------------------------------------------------


@pytest.mark.lab
@pytest.mark.parametrize(
    ("underlay", "control"), [("bridge", "172.30.0.10"), ("direct", "172.30.1.10")]
)
def test_hosts_reach_each_other_and_the_control_node(clean, underlay, control):
    lab = Lab.build(RUN, underlay=underlay)
    assert pings(lab, "host1", "172.30.0.2")
    assert pings(lab, "host2", "172.30.0.1")
    assert pings(lab, "host1", control)
    assert pings(lab, "host2", control)
    # The underlay carries a tenant's 1500 bytes and 32 of encapsulation without fragments.
    size = 1500 + 32 - 28
    ping = ["ping", "-nqc1", "-W1", "-Mdo", f"-s{size}", "172.30.0.2"]
    assert lab.run("host1", ping).returncode == 0


@pytest.mark.lab
def test_nothing_is_made_in_the_callers_namespace(clean):
    here = Path("/proc/self/ns/net")
    before = links.device_names(here)
    Lab.build(RUN)
    assert links.device_names(here) == before


@pytest.mark.lab
def test_labs_with_different_run_directories_never_meet(clean):
    first = Lab.build(RUN)
    second_run = Path("/run/filament-kit-2")
    second = Lab.build(second_run)
    try:
        tear_down(RUN, lambda _: None)
        assert pings(second, "host1", "172.30.0.2")
        with pytest.raises(NotFoundError, match="the namespace of host1 is gone"):
            first.place("host1")
    finally:
        tear_down(second_run, lambda _: None)


@pytest.mark.lab
def test_another_process_can_use_the_lab(clean):
    Lab.build(RUN)
    found = Lab.open(RUN)
    assert found.run("host2", ["cat", "/proc/net/dev"]).stdout.count("eth0:") == 1
    with pytest.raises(NotFoundError, match="no workload or host named 'red-9' in this lab; try"):
        found.place("red-9")


# processes ----------------------------------------------------------------------------------


@pytest.mark.lab
def test_a_process_is_started_killed_and_restarted(clean):
    lab = Lab.build(RUN)
    first = processes.spawn(lab.directories.pids, program(namespace=lab.place("host1")))
    assert lab.status() == [(first, True)]
    assert namespaces.processes_inside([lab.place("host1")]) == [first.pid]
    with pytest.raises(PermanentError, match="sleeper still runs"):
        lab.restart("sleeper")
    lab.kill("sleeper")
    assert lab.status() == [(first, False)]
    with pytest.raises(PermanentError, match="sleeper is not running"):
        lab.kill("sleeper")
    second = lab.restart("sleeper")
    assert second.program == first.program
    assert (second.pid, second.started) != (first.pid, first.started)
    assert lab.status() == [(second, True)]
    with pytest.raises(NotFoundError, match="no process named 'api' in this lab; there are: sl"):
        lab.kill("api")


@pytest.mark.lab
def test_a_program_that_cannot_run_is_said_and_leaves_no_pid_file(clean):
    lab = Lab.build(RUN)
    with pytest.raises(PermanentError, match=r"cannot run /bin/absent: .*No such file"):
        processes.spawn(lab.directories.pids, program(argv=("/bin/absent",)))
    assert lab.status() == []


@pytest.mark.lab
def test_a_process_that_took_over_a_pid_is_left_alone(clean):
    lab = Lab.build(RUN)
    victim = subprocess.Popen(["/bin/sleep", "1000"])
    try:
        stale = processes.Process(
            program(), victim.pid, processes.started_at(victim.pid) - 1, processes.boot_id()
        )
        path = processes.pid_file(lab.directories.pids, "sleeper")
        path.write_bytes(msgspec.json.encode(stale))
        earlier_boot = msgspec.structs.replace(stale, started=stale.started + 1, boot="earlier")
        other = processes.pid_file(lab.directories.pids, "earlier")
        other.write_bytes(msgspec.json.encode(earlier_boot))
        assert [alive for _, alive in lab.status()] == [False, False]
        tear_down(RUN, lambda _: None)
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


@pytest.mark.lab
def test_a_process_that_ignores_sigterm_is_killed(clean, monkeypatch):
    monkeypatch.setattr(processes, "TERMINATION_GRACE_S", 0.3)
    lab = Lab.build(RUN)
    deaf = ("/bin/bash", "-c", "trap '' TERM; echo deaf; exec sleep 1000")
    process = processes.spawn(lab.directories.pids, program(argv=deaf))
    while "deaf" not in lab.log_tail("sleeper"):
        time.sleep(0.01)
    said = []
    tear_down(RUN, said.append)
    assert "sleeper had to be killed" in said
    assert not processes.is_running(process)


@pytest.mark.lab
def test_what_a_user_left_running_inside_is_ended(clean):
    lab = Lab.build(RUN)
    left = lab.popen("host2", ["/bin/sleep", "1000"])
    tear_down(RUN, lambda _: None)
    assert left.wait(timeout=1) == -signal.SIGKILL


# removing -----------------------------------------------------------------------------------


@pytest.mark.lab
def test_tearing_down_twice_is_harmless(clean):
    Lab.build(RUN)
    said = []
    tear_down(RUN, said.append)
    tear_down(RUN, said.append)
    assert said[-1] == f"no lab in {RUN}: nothing to do"


@pytest.mark.lab
def test_what_is_left_of_a_lab_after_a_restart_of_the_machine_is_removed(clean):
    lab = Lab.build(RUN)
    earlier = processes.spawn(lab.directories.pids, program())
    lab.kill("sleeper")
    # A restart takes mounts and processes; files stay where /run is no tmpfs.
    for point in namespaces.mounts_under(RUN):
        namespaces.unmount(point)
    path = processes.pid_file(lab.directories.pids, "sleeper")
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(earlier, boot="earlier")))
    with pytest.raises(NotFoundError, match="the namespace of host1 is gone"):
        lab.place("host1")
    tear_down(RUN, lambda _: None)
    assert not RUN.exists()


@pytest.mark.lab
def test_a_directory_that_is_no_lab_is_not_removed(clean, tmp_path):
    (tmp_path / "letters").write_text("precious")
    with pytest.raises(PermanentError, match="holds something that is not a lab \\(letters\\)"):
        tear_down(tmp_path, lambda _: None)
    assert (tmp_path / "letters").read_text() == "precious"


@pytest.mark.lab
def test_one_changes_a_lab_at_a_time(clean):
    second = sole_changer(RUN)
    with sole_changer(RUN), pytest.raises(TransientError, match="another process is bringing"):
        second.__enter__()
    with sole_changer(RUN):
        pass


_BUILDER = """
import sys
from pathlib import Path
from filament.testing.lab.lab import Lab
from filament.testing.lab import processes
from filament.testing.lab.processes import Program
run = Path(sys.argv[1])
print("go", flush=True)
lab = Lab.build(run)
for number, place in enumerate(["host1", "host2", "ctl", None] * 5):
    where = place and str(lab.directories.namespace(place))
    program = Program(f"p{number}", ("/bin/sleep", "1000"), {}, where, str(run / "log" / "p"))
    processes.spawn(lab.directories.pids, program)
print("done", flush=True)
"""


@pytest.mark.lab
def test_nothing_is_left_of_a_lab_killed_at_any_moment(clean):
    before = picture()
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    for _ in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", _BUILDER, str(RUN)], stdout=subprocess.PIPE, text=True
        ) as builder:
            assert builder.stdout.readline() == "go\n"
            time.sleep(moments.uniform(0, 0.15))
            builder.kill()
        tear_down(RUN, lambda _: None)
        assert settled_picture(before) == before, f"seed {seed}"
