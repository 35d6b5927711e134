"""bpf(2) as typed functions: maps, pins, links, test runs and what the kernel says of programs.

One function per command; file descriptors are plain ints owned by the caller (close them with
`os.close`). Failures raise `KernelError`, whose text names the command, what it was about and the
errno. Loading an object file is `dataplane.load`'s; rows as Python values are `dataplane.maps`'.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from filament.base.errors import PermanentError

_Row = TypeVar("_Row")

TCX_INGRESS = 46  # enum bpf_attach_type, Linux 6.6
STATS_RUN_TIME = 0  # enum bpf_stats_type

# 280 is the number on all architectures younger than the generic table: aarch64, riscv64 ...
_SYSCALL = {"x86_64": 321, "ppc64le": 361, "s390x": 351}.get(platform.machine(), 280)
_libc = ctypes.CDLL(None, use_errno=True)

_MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT_KEY = 1, 2, 3, 4
_OBJ_PIN, _OBJ_GET, _TEST_RUN, _OBJECT_INFO = 6, 7, 10, 15
_LOOKUP_BATCH, _UPDATE_BATCH, _DELETE_BATCH = 24, 26, 27
_LINK_CREATE, _LINK_UPDATE, _ENABLE_STATS, _LINK_DETACH = 28, 29, 32, 34

_ENOTSUPP = 524  # the kernel's own "not supported" leaks out of some maps' batch operations
_NO_BATCH = frozenset({errno.EINVAL, errno.EOPNOTSUPP, _ENOTSUPP})


class KernelError(PermanentError):
    """The kernel refused a bpf(2) command; `errno` is its reason."""

    def __init__(self, command: str, subject: str, code: int) -> None:
        name = errno.errorcode.get(code, str(code))
        text = "not supported" if code == _ENOTSUPP else os.strerror(code)
        super().__init__(f"{command} {subject}: {text} ({name})")
        self.errno = code


def _try(command: int, attributes: bytes | ctypes.Array[ctypes.c_char]) -> int:
    """Call bpf(2); returns the result, or the negative errno. The kernel may write into arrays."""
    if isinstance(attributes, bytes):
        attributes = ctypes.create_string_buffer(attributes, len(attributes))
    result = int(_libc.syscall(_SYSCALL, command, attributes, ctypes.sizeof(attributes)))
    return -ctypes.get_errno() if result < 0 else result


def _require(result: int, command: str, subject: str) -> int:
    if result < 0:
        raise KernelError(command, subject, -result)
    return result


def _pointer(buffer: ctypes.Array[ctypes.c_char] | None) -> int:
    return ctypes.addressof(buffer) if buffer is not None else 0


def _buffer(content: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(content, len(content))


# --- pins and what is behind a descriptor ---


def pin(descriptor: int, path: Path) -> None:
    """Keep a map, program or link alive under a name in a BPF file system."""
    name = _buffer(os.fsencode(path) + b"\0")
    attributes = struct.pack("=QII", _pointer(name), descriptor, 0)
    _require(_try(_OBJ_PIN, attributes), "pin at", str(path))


def open_pinned(path: Path) -> int:
    """Open what is pinned at `path`; a descriptor of the caller's."""
    name = _buffer(os.fsencode(path) + b"\0")
    return _require(_try(_OBJ_GET, struct.pack("=QII", _pointer(name), 0, 0)), "open", str(path))


def _describe(descriptor: int, size: int, subject: str) -> bytes:
    described = ctypes.create_string_buffer(size)
    attributes = struct.pack("=IIQ", descriptor, size, _pointer(described))
    _require(_try(_OBJECT_INFO, attributes), "describe", subject)
    return described.raw


class MapShape(NamedTuple):
    """What the kernel says of a map; `type` is enum bpf_map_type."""

    type: int
    id: int
    key_bytes: int
    value_bytes: int
    max_entries: int


def map_shape(descriptor: int) -> MapShape:
    """Ask the kernel about a map."""
    return MapShape(*struct.unpack_from("=IIIII", _describe(descriptor, 80, "a map")))


def map_memory_bytes(descriptor: int) -> int:
    """Ask the kernel how much memory a map has (`memlock` of its descriptor)."""
    for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "memlock":
            return int(value)
    raise KernelError("ask for the memory of", "a map", errno.EOPNOTSUPP)


class Program(NamedTuple):
    """What the kernel says of a program; equal `tag`s mean equal instructions.

    `run_time_ns` and `run_count` grow while somebody holds `enable_stats`;
    `verified_instructions` is what the verifier had to walk (since Linux 5.16, else 0).
    """

    type: int
    id: int
    tag: str
    name: str
    run_time_ns: int
    run_count: int
    verified_instructions: int


def program(descriptor: int) -> Program:
    """Ask the kernel about a program (struct bpf_prog_info)."""
    raw = _describe(descriptor, 232, "a program")
    kind, number = struct.unpack_from("=II", raw)
    run_time_ns, run_count, _, verified = struct.unpack_from("=QQQI", raw, 192)
    name = raw[64:80].split(b"\0")[0].decode()
    return Program(kind, number, raw[8:16].hex(), name, run_time_ns, run_count, verified)


def enable_stats() -> int:
    """Make the kernel time every program run until the returned descriptor is closed."""
    return _require(_try(_ENABLE_STATS, struct.pack("=I", STATS_RUN_TIME)), "enable", "statistics")


# --- maps ---


def lookup(descriptor: int, key: bytes, value_bytes: int) -> bytes | None:
    """Read one value (`value_bytes` of it: for per-CPU maps 8-byte aligned, times the CPUs)."""
    key_buffer, value = _buffer(key), ctypes.create_string_buffer(value_bytes)
    attributes = struct.pack("=IxxxxQQQ", descriptor, _pointer(key_buffer), _pointer(value), 0)
    result = _try(_MAP_LOOKUP, attributes)
    if result == -errno.ENOENT:
        return None
    _require(result, "look up in", f"a map the key {key.hex()}")
    return value.raw


def update(descriptor: int, key: bytes, value: bytes) -> None:
    """Write one value, whether or not the key exists."""
    key_buffer, value_buffer = _buffer(key), _buffer(value)
    attributes = struct.pack(
        "=IxxxxQQQ", descriptor, _pointer(key_buffer), _pointer(value_buffer), 0
    )
    _require(_try(_MAP_UPDATE, attributes), "write to", f"a map the key {key.hex()}")


def delete(descriptor: int, key: bytes) -> bool:
    """Delete one key; says whether it was there."""
    key_buffer = _buffer(key)
    attributes = struct.pack("=IxxxxQQQ", descriptor, _pointer(key_buffer), 0, 0)
    result = _try(_MAP_DELETE, attributes)
    if result == -errno.ENOENT:
        return False
    _require(result, "delete from", f"a map the key {key.hex()}")
    return True


def next_key(descriptor: int, key: bytes | None, key_bytes: int) -> bytes | None:
    """Return the key after `key` (None: the first), or None after the last."""
    key_buffer = _buffer(key) if key is not None else None
    following = ctypes.create_string_buffer(key_bytes)
    attributes = struct.pack("=IxxxxQQ", descriptor, _pointer(key_buffer), _pointer(following))
    result = _try(_MAP_NEXT_KEY, attributes)
    if result == -errno.ENOENT:
        return None
    _require(result, "walk", "a map")
    return following.raw


_MOST_AT_ONCE = 4096  # rows in a batch; far above what a hash bucket ever holds, which must fit
_BATCH = "=QQQQIIQQ"  # in_batch, out_batch, keys, values, count, map_fd, elem_flags, flags
_BATCH_COUNT = 32  # offset of count


def _walk_keys(
    descriptor: int, key_bytes: int, value_bytes: int, most: int
) -> Iterator[tuple[bytes, bytes]]:
    key = next_key(descriptor, None, key_bytes)
    # A key deleted under our feet restarts the walk from the first; `most` ends it all the same.
    while key is not None and most > 0:
        value = lookup(descriptor, key, value_bytes)
        if value is not None:
            yield key, value
        key, most = next_key(descriptor, key, key_bytes), most - 1


def items(descriptor: int, value_bytes: int | None = None) -> Iterator[tuple[bytes, bytes]]:
    """Read a whole map, in batches where the map type can.

    Rows that others write meanwhile may be seen or not. `value_bytes` is for per-CPU maps.
    """
    shape = map_shape(descriptor)
    value_bytes = value_bytes or shape.value_bytes
    count = min(_MOST_AT_ONCE, shape.max_entries)
    keys = ctypes.create_string_buffer(count * shape.key_bytes)
    values = ctypes.create_string_buffer(count * value_bytes)
    cursor = ctypes.create_string_buffer(max(shape.key_bytes, 8))
    begun = False
    while True:
        attributes = _buffer(
            struct.pack(
                _BATCH,
                _pointer(cursor) if begun else 0,
                _pointer(cursor),
                _pointer(keys),
                _pointer(values),
                count,
                descriptor,
                0,
                0,
            )
        )
        result = _try(_LOOKUP_BATCH, attributes)
        if -result in _NO_BATCH and not begun:
            most = 4 * shape.max_entries
            yield from _walk_keys(descriptor, shape.key_bytes, value_bytes, most)
            return
        if result < 0 and result != -errno.ENOENT:
            raise KernelError("read", "a map", -result)
        begun = True
        (found,) = struct.unpack_from("=I", attributes, _BATCH_COUNT)
        key_view, value_view = memoryview(keys), memoryview(values)
        for index in range(found):
            key_at, value_at = index * shape.key_bytes, index * value_bytes
            yield (
                bytes(key_view[key_at : key_at + shape.key_bytes]),
                bytes(value_view[value_at : value_at + value_bytes]),
            )
        if result == -errno.ENOENT:
            return


def _batch(command: int, descriptor: int, keys: list[bytes], values: list[bytes]) -> int:
    """Run one write batch; returns how many rows went in, negative errno if none could."""
    key_buffer = _buffer(b"".join(keys))
    value_buffer = _buffer(b"".join(values)) if values else None
    attributes = _buffer(
        struct.pack(
            _BATCH,
            0,
            0,
            _pointer(key_buffer),
            _pointer(value_buffer),
            len(keys),
            descriptor,
            0,
            0,
        )
    )
    result = _try(command, attributes)
    if result == 0:
        return len(keys)
    (done,) = struct.unpack_from("=I", attributes, _BATCH_COUNT)
    # Where the kernel does not know the command it leaves count as it was.
    return int(done) if 0 < done < len(keys) else result


def _parts(rows: list[_Row]) -> Iterator[list[_Row]]:
    return (rows[at : at + _MOST_AT_ONCE] for at in range(0, len(rows), _MOST_AT_ONCE))


def update_all(descriptor: int, rows: list[tuple[bytes, bytes]]) -> None:
    """Write many rows, in order; on failure those before the named key are in."""
    for part in _parts(rows):
        done = 0
        if len(part) > 1:
            keys, values = [key for key, _ in part], [value for _, value in part]
            done = max(0, _batch(_UPDATE_BATCH, descriptor, keys, values))
        # One by one: the only way without batches, and how to learn what is wrong with a row.
        for key, value in part[done:]:
            update(descriptor, key, value)


def delete_all(descriptor: int, keys: list[bytes]) -> set[bytes]:
    """Delete many keys, in order; returns those that were not there."""
    absent = set()
    for part in _parts(keys):
        done = max(0, _batch(_DELETE_BATCH, descriptor, part, [])) if len(part) > 1 else 0
        # A batch ends at the first key that is not there.
        for key in part[done:]:
            if not delete(descriptor, key):
                absent.add(key)
    return absent


# --- links (tcx) ---


def attach_tcx(program_descriptor: int, ifindex: int, hook: int = TCX_INGRESS) -> int:
    """Attach a program to a device by a link; pin the link, or it goes with its descriptor.

    Raises `KernelError` with EINVAL on kernels before 6.6, which have no tcx.
    """
    attributes = struct.pack("=IIIIIIQ", program_descriptor, ifindex, hook, 0, 0, 0, 0)
    return _require(_try(_LINK_CREATE, attributes), "attach to", f"device {ifindex} by tcx")


def replace_program(link: int, program_descriptor: int) -> None:
    """Put another program behind a link, atomically."""
    attributes = struct.pack("=IIII", link, program_descriptor, 0, 0)
    _require(_try(_LINK_UPDATE, attributes), "replace the program of", "a link")


def detach(link: int) -> None:
    """Take a link's program off its device, whoever else holds or pinned the link."""
    _require(_try(_LINK_DETACH, struct.pack("=I", link)), "detach", "a link")


class TcxLink(NamedTuple):
    """What the kernel says of a tcx link; `ifindex` is 0 once the device is gone."""

    id: int
    program_id: int
    ifindex: int
    hook: int


def tcx_link(link: int) -> TcxLink:
    """Ask the kernel about a tcx link (struct bpf_link_info)."""
    raw = _describe(link, 64, "a link")
    _, number, program_id = struct.unpack_from("=III", raw)
    ifindex, hook = struct.unpack_from("=II", raw, 16)
    return TcxLink(number, program_id, ifindex, hook)


# --- test runs ---


class Run(NamedTuple):
    """What a test run returned: the program's return value, the frame, average ns per run."""

    returned: int
    frame: bytes
    duration_ns: int


_SKB_BYTES = 192
_SKB_IFINDEX, _SKB_GSO_SEGMENTS, _SKB_GSO_SIZE = 40, 164, 176


def run(
    program_descriptor: int, frame: bytes, *, ifindex: int = 0, gso_size: int = 0, repeat: int = 1
) -> Run:
    """Run a tc program once (or `repeat` times on the same, changing, buffer) on an Ethernet frame.

    `ifindex` is a device of the calling thread's network namespace (0: its loopback). Frames
    shorter than an Ethernet header are refused by the kernel.
    """
    context = bytearray(_SKB_BYTES)
    struct.pack_into("=I", context, _SKB_IFINDEX, ifindex)
    struct.pack_into("=I", context, _SKB_GSO_SIZE, gso_size)
    context_buffer = _buffer(bytes(context))
    sent, received = _buffer(frame), ctypes.create_string_buffer(len(frame) + 256)
    attributes = _buffer(
        struct.pack(
            "=IIIIQQIIIIQQIII4x",
            program_descriptor,
            0,
            len(frame),
            len(received),
            _pointer(sent),
            _pointer(received),
            repeat,
            0,
            _SKB_BYTES,
            0,
            _pointer(context_buffer),
            0,
            0,
            0,
            0,
        )
    )
    _require(_try(_TEST_RUN, attributes), "test", f"a program with {len(frame)} bytes")
    (returned,) = struct.unpack_from("=I", attributes, 4)
    (length,) = struct.unpack_from("=I", attributes, 12)
    (duration_ns,) = struct.unpack_from("=I", attributes, 36)
    return Run(returned, received.raw[:length], duration_ns)
