from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from filament.dataplane import build
from filament.dataplane.load import OBJECT

from .kernel import kernel_of_ones_own
from .twin import Twin, twin


@pytest.fixture(scope="session")
def bpf_object() -> Path:
    """The object, built if a source is newer."""
    build.build()
    return OBJECT


@pytest.fixture(scope="module")
def bpffs(bpf_object: Path) -> Iterator[Path]:
    with kernel_of_ones_own() as path:
        yield path


@pytest.fixture(scope="module")
def pair(bpffs: Path) -> Iterator[Twin]:
    with twin(bpffs) as made:
        yield made
