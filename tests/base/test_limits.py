"""Every limit is enforced somewhere and tested somewhere."""

from pathlib import Path

import pytest

from filament.base import limits

ROOT = Path(__file__).parents[2]
NAMES = [name for name in vars(limits) if name.isupper()]


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_is_used_and_tested(name):
    used = [path for path in (ROOT / "src").rglob("*.py") if name in path.read_text()]
    tested = [path for path in (ROOT / "tests").rglob("test_*.py") if name in path.read_text()]
    assert len(used) > 1, f"{name} limits nothing"
    assert tested, f"no test mentions {name}"
