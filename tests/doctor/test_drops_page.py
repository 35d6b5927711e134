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
