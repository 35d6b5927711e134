from pathlib import Path

from filament.api.catalog import CATALOG
from filament.api.reference import page
from filament.model.kinds import KINDS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "api.md"


def test_the_reference_page_is_that_of_the_registry():
    assert PAGE.read_text() == page(), (
        "run: python -m filament.api.reference > docs/reference/api.md"
    )


def test_the_reference_page_has_every_route_and_kind():
    text = page()
    assert [entry for entry in CATALOG if f"`{entry.method} {entry.path}`" not in text] == []
    assert [name for name in KINDS if f"### {name}\n" not in text] == []
