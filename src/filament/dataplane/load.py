"""Loading the vRouter's object file with libbpf, its maps pinned in a directory and reused.

libbpf does what is worth borrowing (ELF, BTF, relocations, the verifier's log); everything else
goes through `dataplane.bpf`. Loading twice with the same directory gives programs that share maps,
which is how a new version of the programs takes over running tables.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import os
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple, Self

from filament.base.errors import PermanentError
from filament.dataplane import bpf
from filament.forward.layout import ABI, SAMPLES, TABLE_BY_NAME, TABLES

OBJECT = Path(__file__).parent / "c" / "vrouter.bpf.o"
PROGRAMS = ("from_port", "from_fabric")

_SETTINGS_SECTION = ".rodata"  # holds `struct settings` of vrouter.bpf.c and nothing else
_ABI_PIN = "abi"
_FLOWS = "flows"
_LIBBPF_WARN = 0  # enum libbpf_print_level


class Programs:
    """The loaded programs by name, as descriptors that live until `close`."""

    def __init__(self, descriptor_by_name: dict[str, int]) -> None:
        self.descriptor_by_name = descriptor_by_name

    def __getitem__(self, name: str) -> int:
        return self.descriptor_by_name[name]

    def close(self) -> None:
        """Close the descriptors; attached or pinned programs stay."""
        for descriptor in self.descriptor_by_name.values():
            os.close(descriptor)
        self.descriptor_by_name = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_Print = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


@functools.cache
def _libbpf() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as problem:
        raise PermanentError(
            f"loading BPF programs needs libbpf.so.1 ({problem}); install the package libbpf1"
        ) from problem
    for name in ("bpf_object__open_file", "bpf_object__next_map", "bpf_object__next_program"):
        getattr(library, name).restype = ctypes.c_void_p
    for name in ("bpf_map__name", "bpf_program__name"):
        getattr(library, name).restype = ctypes.c_char_p
    library.bpf_map__initial_value.restype = ctypes.c_void_p
    return library


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[ctypes.c_void_p, list[str]]]:
    """Open an object file; yields it and the list that libbpf's messages are collected in."""
    library = _libbpf()
    libc = ctypes.CDLL(None)
    messages: list[str] = []

    def collect(level: int, form: bytes, arguments: int) -> int:
        if level == _LIBBPF_WARN:
            # The verifier's whole log comes as one message; its end is what tells.
            text = ctypes.create_string_buffer(1 << 20)
            libc.vsnprintf(text, ctypes.c_size_t(1 << 20), form, ctypes.c_void_p(arguments))
            messages.append(text.value.decode(errors="replace").rstrip())
        return 0

    callback = _Print(collect)
    library.libbpf_set_print.restype = ctypes.c_void_p
    former = library.libbpf_set_print(callback)
    handle = library.bpf_object__open_file(os.fsencode(path), None)
    try:
        if not handle:
            code = ctypes.get_errno()
            raise PermanentError(
                f"opening the BPF object {path}: {os.strerror(code)}; `make bpf` builds it"
            )
        yield ctypes.c_void_p(handle), messages
    finally:
        if handle:
            library.bpf_object__close(ctypes.c_void_p(handle))
        library.libbpf_set_print(ctypes.c_void_p(former))


def _maps(handle: ctypes.c_void_p) -> Iterator[tuple[str, ctypes.c_void_p]]:
    library, entry = _libbpf(), None
    while entry := library.bpf_object__next_map(handle, ctypes.c_void_p(entry)):
        name = library.bpf_map__name(ctypes.c_void_p(entry))
        yield (name or b"").decode(), ctypes.c_void_p(entry)


def _programs(handle: ctypes.c_void_p) -> Iterator[tuple[str, ctypes.c_void_p]]:
    library, entry = _libbpf(), None
    while entry := library.bpf_object__next_program(handle, ctypes.c_void_p(entry)):
        name = library.bpf_program__name(ctypes.c_void_p(entry))
        yield (name or b"").decode(), ctypes.c_void_p(entry)


class Apart(NamedTuple):
    """Programs with state of their own, and descriptors of their maps by name."""

    programs: Programs
    maps: Mapping[str, int]


class _Settings(ctypes.Structure):
    """`struct settings` of vrouter.bpf.c."""

    _fields_ = (
        ("abi", ctypes.c_uint64),
        ("record_decisions", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    )


def _configure(path: Path, settings_map: ctypes.c_void_p, *, record_decisions: bool) -> None:
    size = ctypes.c_size_t()
    address = _libbpf().bpf_map__initial_value(settings_map, ctypes.byref(size))
    if not address or size.value < ctypes.sizeof(_Settings):
        raise PermanentError(
            f"the BPF object {path} has no settings; `make bpf` builds the right one"
        )
    settings = _Settings.from_address(address)
    if settings.abi != ABI:
        raise PermanentError(
            f"the BPF object {path} was built for row formats {settings.abi:016x}, this program has"
            f" {ABI:016x}; build it again with `make bpf`"
        )
    settings.record_decisions = record_decisions


def _pinned_abi(directory: Path) -> int | None:
    try:
        descriptor = bpf.open_pinned(directory / _ABI_PIN)
    except bpf.KernelError as problem:
        if problem.errno == errno.ENOENT:
            return None
        raise
    try:
        value = bpf.lookup(descriptor, bytes(4), 8)
    finally:
        os.close(descriptor)
    return int.from_bytes(value or b"", "little")


def require_same_abi(directory: Path) -> None:
    """Raise unless the maps pinned in `directory`, if any, have this program's row formats."""
    pinned = _pinned_abi(directory)
    if pinned == ABI:
        return
    strangers = [name for name in TABLE_BY_NAME if (directory / name).exists()]
    if pinned is not None or strangers:
        found = "unknown row formats" if pinned is None else f"row formats {pinned:016x}"
        raise PermanentError(
            f"the maps pinned in {directory} have {found}, this program has {ABI:016x}; run the"
            f" version that made them, or detach its programs and remove {directory} to start"
            " afresh (traffic stops until the agent has written all rows)"
        )


@contextlib.contextmanager
def _loaded(
    directory: Path,
    path: Path,
    pinned: AbstractSet[str],
    *,
    record_decisions: bool,
    flow_limit: int | None = None,
) -> Iterator[ctypes.c_void_p]:
    """Open and load an object file; its maps named in `pinned` are those of `directory`. A flow
    table for `flow_limit` flows, if given.
    """
    library = _libbpf()
    with _opened(path) as (handle, messages):
        for name, entry in _maps(handle):
            if name.endswith(_SETTINGS_SECTION):
                _configure(path, entry, record_decisions=record_decisions)
            elif name in pinned:
                library.bpf_map__set_pin_path(entry, os.fsencode(directory / name))
            if name == _FLOWS and flow_limit is not None:
                library.bpf_map__set_max_entries(entry, ctypes.c_uint32(flow_limit))
        result = library.bpf_object__load(handle)
        if result < 0:
            log = "\n".join("\n".join(messages).splitlines()[-40:])
            raise PermanentError(
                f"loading {path} with maps in {directory}: {os.strerror(-result)}\n{log}"
            )
        yield handle


def _pinned_flow_limit(directory: Path) -> int | None:
    """Return how many flows the pinned flow table is for; None where there is none."""
    if not (directory / _FLOWS).exists():
        return None
    descriptor = bpf.open_pinned(directory / _FLOWS)
    try:
        return bpf.map_shape(descriptor).max_entries
    finally:
        os.close(descriptor)


def _program_descriptors(handle: ctypes.c_void_p) -> dict[str, int]:
    library = _libbpf()
    return {
        name: fcntl.fcntl(library.bpf_program__fd(entry), fcntl.F_DUPFD_CLOEXEC, 0)
        for name, entry in _programs(handle)
    }


@contextlib.contextmanager
def load_apart(directory: Path, *, path: Path = OBJECT) -> Iterator[Apart]:
    """Load the programs over the planned rows of `directory`, with all other maps of their own.

    They record decisions, and leave nothing behind: what they count, enter and show ends with the
    block. Raises as `load` does, and when nothing is pinned in `directory`.
    """
    require_same_abi(directory)
    if _pinned_abi(directory) is None:
        raise PermanentError(f"no maps are pinned in {directory}; is its agent running?")
    planned = {table.name for table in TABLES if table.planned}
    with _loaded(directory, path, planned, record_decisions=True) as handle:
        library = _libbpf()
        # The maps live as long as the object is open.
        maps = {name: library.bpf_map__fd(entry) for name, entry in _maps(handle)}
        with Programs(_program_descriptors(handle)) as programs:
            yield Apart(programs, maps)


def load(
    directory: Path,
    *,
    path: Path = OBJECT,
    record_decisions: bool = False,
    flow_limit: int | None = None,
) -> Programs:
    """Load the programs over the maps pinned in `directory` of a BPF file system.

    Maps that are pinned there are reused with their rows, the others are created and pinned; the
    flow table for `flow_limit` flows, or as many as the pinned one is for. One of another size has
    to be set aside before (`dataplane.flow_table`). Raises `PermanentError` when their row formats
    differ (nothing is changed then), or with the verifier's words. `record_decisions` is for tests.
    """
    require_same_abi(directory)
    directory.mkdir(parents=True, exist_ok=True)
    pinned = {*TABLE_BY_NAME, SAMPLES, _ABI_PIN}
    with _loaded(
        directory,
        path,
        pinned,
        record_decisions=record_decisions,
        flow_limit=flow_limit or _pinned_flow_limit(directory),
    ) as handle:
        descriptors = _program_descriptors(handle)
    # Written last: a directory left by a load that failed half-way says "unknown row formats".
    if _pinned_abi(directory) != ABI:
        descriptor = bpf.open_pinned(directory / _ABI_PIN)
        try:
            bpf.update(descriptor, bytes(4), ABI.to_bytes(8, "little"))
        finally:
            os.close(descriptor)
    return Programs(descriptors)
