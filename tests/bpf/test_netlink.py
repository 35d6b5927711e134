import ctypes
import os
import subprocess
from pathlib import Path

import pytest

from filament.base.errors import PermanentError, TransientError
from filament.dataplane.netlink import Links, set_mtu, set_up

pytestmark = pytest.mark.bpf
_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


@pytest.fixture
def links():
    """The links of an empty network namespace."""
    with Path("/proc/thread-self/ns/net").open("rb") as home:
        if _libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        found = Links()
        try:
            yield found
        finally:
            found.close()
            _libc.setns(home.fileno(), CLONE_NEWNET)


def ip(*lines):
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


def test_links_come_change_and_go(links):
    assert [one.name for one in links.all()] == ["lo"]
    ip("link add tap1 type veth peer name far1", "link add lan type bridge")
    assert links.read() == {"tap1", "far1", "lan"}
    tap, lan = links.named("tap1"), links.named("lan")
    assert (tap.is_veth, tap.is_up, tap.mtu_bytes) == (True, False, 1500)
    assert not lan.is_veth
    assert links.read() == set()
    ip("link set tap1 name tap2")
    assert links.read() == {"tap1", "tap2"}
    assert links.named("tap1") is None
    assert links.named("tap2").ifindex == tap.ifindex
    ip("link del tap2")
    assert links.read() == {"tap2", "far1"}
    assert links.named("tap2") is None


def test_leaving_a_bridge_is_not_leaving_the_host(links):
    ip("link add lan type bridge", "link add tap1 type veth peer name far1")
    ip("link set tap1 master lan", "link set tap1 nomaster")
    links.read()
    assert links.named("tap1") is not None


def test_lost_news_are_made_up_for(links):
    ip("link add old type veth peer name oldpeer")
    links.read()
    links._socket.setsockopt(1, 8, 2304)  # SO_RCVBUF, as small as it gets
    ip("link del old", *(f"link add new{n} type veth peer name peer{n}" for n in range(40)))
    changed = links.read()
    assert {"old", "oldpeer", "new0", "new39", "peer39"} <= changed
    assert links.named("old") is None
    assert links.named("new39").is_veth


def test_up_and_mtu(links):
    ip("link add tap1 type veth peer name far1")
    set_up("tap1")
    set_up("tap1")
    set_mtu("tap1", 1400)
    links.read()
    assert links.named("tap1")[3:] == (True, 1400)
    with pytest.raises(TransientError, match="cannot bring tap9 up: No such device"):
        set_up("tap9")
    with pytest.raises(PermanentError, match="cannot set the MTU of tap1 to 7"):
        set_mtu("tap1", 7)
