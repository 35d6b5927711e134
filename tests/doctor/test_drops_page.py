"""docs/operations/drops.md names every reason, in order, in the words that the commands use."""

from pathlib import Path

from filament.forward.layout import DropReason

PAGE = Path(__file__).parents[2] / "docs/operations/drops.md"


def test_every_drop_reason_is_explained():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text().splitlines()
        if line.startswith("| `")
    ]
    assert [row[:3] for row in rows] == [
        [f"`{reason.name}`", reason.text, reason.tf]
        for reason in DropReason
        if reason is not DropReason.NONE
    ]
    assert all(row[3] for row in rows)


# In the order that TF's `dropstats` prints them.
TF_COUNTERS = [
    "Invalid IF",
    "Trap No IF",
    "IF TX Discard",
    "IF Drop",
    "IF RX Discard",
    "Flow Unusable",
    "Flow No Memory",
    "Flow Table Full",
    "Flow NAT no rflow",
    "Flow Action Drop",
    "Flow Action Invalid",
    "Flow Invalid Protocol",
    "Flow Queue Limit Exceeded",
    "New Flow Drops",
    "Flow Unusable (Eviction)",
    "Original Packet Trapped",
    "Discards",
    "TTL Exceeded",
    "Mcast Clone Fail",
    "Invalid NH",
    "Invalid Label",
    "Invalid Protocol",
    "Etree Leaf to Leaf",
    "Bmac/ISID Mismatch",
    "Rewrite Fail",
    "Invalid Mcast Source",
    "Packet Loop",
    "Push Fails",
    "Pull Fails",
    "Duplicate",
    "Head Alloc Fails",
    "PCOW fails",
    "Invalid Packets",
    "Misc",
    "Nowhere to go",
    "Checksum errors",
    "No Fmd",
    "Invalid VNID",
    "Fragment errors",
    "Invalid Source",
    "Jumbo Mcast Pkt with DF Bit",
    "No L2 Route",
    "Memory Failures",
    "Fragment Queueing Failures",
    "No Encrypt Path Failures",
    "Invalid HBS received packet",
    "No Fragment Entries",
    "ICMP errors",
    "Clone Failures",
    "Invalid underlay ECMP",
    "VLAN fwd intf failed TX",
    "VLAN fwd intf failed enq",
    "Invalid ARP",
]


def test_every_counter_of_tf_is_a_reasons_or_said_not_to_happen():
    others = " ".join(PAGE.read_text().partition("## TF's other counters")[2].split())
    counted = {reason.tf for reason in DropReason}
    assert [one for one in TF_COUNTERS if one not in counted and one not in others] == []
    assert counted - {""} <= set(TF_COUNTERS)
