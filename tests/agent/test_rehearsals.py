"""What may be asked of a host's programs; the answers are tests/bpf/test_rehearse.py's."""

import msgspec
import pytest

from filament.agent.rehearsals import Rehearsals
from filament.base.errors import InputError
from filament.base.limits import MAX_REHEARSED_BYTES, MAX_REHEARSED_PACKETS
from filament.dataplane.rehearse import Packet


@pytest.fixture
def read(tmp_path):
    rehearsals = Rehearsals(tmp_path, {}, lambda: 2)
    return lambda *packets: rehearsals._read(msgspec.json.encode({"packets": packets}))


def test_packets_are_of_a_port_or_of_the_underlay(read):
    frame = "00" * 14
    assert read(
        {"program": "from_port", "frame": frame, "ifindex": 7},
        {"program": "from_fabric", "frame": frame},
    ) == [Packet("from_port", 7, bytes(14)), Packet("from_fabric", 2, bytes(14))]


@pytest.mark.parametrize(
    ("packet", "text"),
    [
        ({"program": "from_port", "frame": "00" * 13, "ifindex": 7}, "it has 13 bytes at packets"),
        ({"program": "from_port", "frame": "0g", "ifindex": 7}, "it is not hexadecimal"),
        (
            {"program": "from_port", "frame": "00" * (MAX_REHEARSED_BYTES + 1), "ifindex": 7},
            "give a frame of 14 to 2048 bytes",
        ),
        ({"program": "from_port", "frame": "00" * 14}, "there is no device 0"),
        ({"program": "from_tap", "frame": "00" * 14}, "malformed packets: Invalid enum value"),
    ],
)
def test_mistakes_are_named(read, packet, text):
    with pytest.raises(InputError, match=text):
        read(packet)


def test_packets_are_bounded(read):
    one = {"program": "from_fabric", "frame": "00" * 14}
    assert len(read(*[one] * MAX_REHEARSED_PACKETS)) == MAX_REHEARSED_PACKETS
    with pytest.raises(InputError, match="65 packets; ask for at most 64 at once"):
        read(*[one] * (MAX_REHEARSED_PACKETS + 1))
