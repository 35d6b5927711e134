"""The C header says what the layout says, and the object is built when it must be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from filament.base.errors import PermanentError
from filament.dataplane import build, gen
from filament.forward.layout import ABI, TABLES, DropReason


def test_the_header_has_every_table_reason_and_the_abi() -> None:
    text = gen.header()
    assert f"#define LAYOUT_ABI 0x{ABI:016x}ULL" in text
    for table in TABLES:
        assert f'}} {table.name} SEC(".maps");' in text
        assert f"BPF_MAP_TYPE_{table.map_type})" in text
    for reason in DropReason:
        assert f"DROP_{reason.name} = {int(reason)}," in text
    assert (
        "struct drop_key {\n\t__u32 vif;\n\t__u32 reason;\n};\n"
        '_Static_assert(sizeof(struct drop_key) == 8, "struct drop_key has padding");'
    ) in text
    assert "\t__u8 mac[6];\n\t__u8 pad[2];\n" in text


def test_writing_leaves_an_equal_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "lib" / "tables.gen.h"
    assert gen.write(path)
    assert not gen.write(path)
    path.write_text("old")
    assert gen.write(path)
    assert path.read_text() == gen.header()
    assert list(path.parent.iterdir()) == [path]


@pytest.fixture
def sources(tmp_path: Path, monkeypatch) -> Path:
    """A source directory of one's own, with an object newer than everything in it."""
    (tmp_path / "lib").mkdir()
    monkeypatch.setattr(build, "OBJECT", tmp_path / "vrouter.bpf.o")
    monkeypatch.setattr(build, "_SOURCE", tmp_path / "vrouter.bpf.c")
    monkeypatch.setattr(build, "_HEADERS", tmp_path / "lib")
    for name in ("vrouter.bpf.c", "lib/parse.h", "vrouter.bpf.o"):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (1000, 1000))
    os.utime(tmp_path / "vrouter.bpf.o", (2000, 2000))
    return tmp_path


def test_an_object_newer_than_its_sources_is_kept(sources: Path) -> None:
    assert not build.is_stale()
    os.utime(sources / "lib" / "parse.h", (3000, 3000))
    assert build.is_stale()


def test_a_missing_object_is_built(sources: Path) -> None:
    (sources / "vrouter.bpf.o").unlink()
    assert build.is_stale()


def test_clang_is_asked_for_by_name(sources: Path) -> None:
    with pytest.raises(PermanentError, match="needs no-such-clang; install clang and llvm"):
        build.compile_object(sources / "vrouter.bpf.o", clang="no-such-clang")


def test_a_failing_compiler_is_quoted(sources: Path) -> None:
    (sources / "vrouter.bpf.c").write_text("int f(void) { return missing; }\n")
    with pytest.raises(PermanentError, match="use of undeclared identifier 'missing'"):
        build.compile_object(sources / "vrouter.bpf.o")
    assert (sources / "vrouter.bpf.o").exists()
