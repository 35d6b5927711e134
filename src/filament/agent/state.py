"""What an agent keeps on disk: plugged ports, its own numbers, and what it was last told.

Directory STATE/agent-NAME/: `ports/<uuid>` (each the JSON object as it was posted, like TF's
/var/lib/contrail/ports), `ids.json`, `views.json`, `preferences.json`. A file that cannot be read
is moved aside and reported; the agent goes on without it: ports can be plugged again, views are
sent again, numbers are taken above those in use in the kernel, and what workloads claimed is seen
there.

Files are replaced atomically and not forced to the disk. All of this describes what is in the
kernel's memory (maps, devices, workloads): an agent that is killed finds files and kernel as it
left them, and a host that loses power loses both. Forcing costs 4 to 15 ms per plugged port.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from filament.agent.plug import UUID, Plug, parse_plug
from filament.agent.preference import SavedContender
from filament.agent.view import SavedView
from filament.base.errors import InputError, PermanentError, TransientError
from filament.runtime.log import logger

_VERSION = 1
_log = logger("agent.state")
ValueT = TypeVar("ValueT")


class _Versioned(msgspec.Struct, Generic[ValueT], frozen=True):
    """Every file but the ports': the version of its shape, then the value."""

    version: int
    value: ValueT


class State:
    """One agent's directory; created when missing. One per process, which owns it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ports = directory / "ports"
        try:
            self._ports.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PermanentError(
                f"cannot keep state in {directory}: {error.strerror}; "
                "give a directory that can be written with FILAMENT_STATE"
            ) from error

    def load_plugs(self) -> list[Plug]:
        """Return the plugged ports, by uuid."""
        plugs = []
        for path in sorted(self._ports.iterdir()):
            if UUID.match(path.name) is None:
                continue  # moved aside, or half written
            try:
                plug = parse_plug(msgspec.json.decode(path.read_bytes()))
                if plug.uuid != path.name:
                    raise InputError("bad-port", f"the file holds port {plug.uuid}")
            except (InputError, msgspec.DecodeError, OSError) as error:
                self._move_aside(path, str(error))
            else:
                plugs.append(plug)
        return plugs

    def save_plug(self, plug: Plug) -> None:
        """Keep a plugged port."""
        _write(self._ports / plug.uuid, msgspec.json.encode(plug.posted))

    def forget_plug(self, uuid: str) -> None:
        """Forget a port."""
        (self._ports / uuid).unlink(missing_ok=True)

    def load_ids(self, shape: type[ValueT]) -> ValueT | None:
        """Return this host's numbers, None when there are none."""
        return self._load("ids.json", msgspec.json.Decoder(_Versioned[shape]).decode)  # type: ignore[valid-type]

    def save_ids(self, ids: object) -> None:
        """Keep this host's numbers; when this has returned they may be used."""
        _write(self._directory / "ids.json", msgspec.json.encode(_Versioned(_VERSION, ids)))

    def load_views(self) -> list[SavedView]:
        """Return what control nodes said last."""
        decode = msgspec.json.Decoder(_Versioned[list[SavedView]]).decode
        return self._load("views.json", decode) or []

    def save_views(self, views: list[SavedView]) -> None:
        """Keep what control nodes said."""
        _write(self._directory / "views.json", msgspec.json.encode(_Versioned(_VERSION, views)))

    def load_preferences(self) -> list[SavedContender]:
        """Return who held what."""
        decode = msgspec.json.Decoder(_Versioned[list[SavedContender]]).decode
        return self._load("preferences.json", decode) or []

    def save_preferences(self, contenders: list[SavedContender]) -> None:
        """Keep who holds what."""
        content = msgspec.json.encode(_Versioned(_VERSION, contenders))
        _write(self._directory / "preferences.json", content)

    def _load(self, name: str, decode: Callable[[bytes], _Versioned[ValueT]]) -> ValueT | None:
        path = self._directory / name
        try:
            kept = decode(path.read_bytes())
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, OSError) as error:
            self._move_aside(path, str(error))
            return None
        if kept.version != _VERSION:
            self._move_aside(path, f"its version is {kept.version}, this agent reads {_VERSION}")
            return None
        return kept.value

    def _move_aside(self, path: Path, reason: str) -> None:
        for number in itertools.count(1):
            aside = path.with_name(f"{path.name}.unreadable-{number}")
            if not aside.exists():
                path.rename(aside)
                _log.error("state-file-moved-aside", file=str(path), to=str(aside), reason=reason)
                return


def _write(path: Path, content: bytes) -> None:
    """Replace a file's content atomically.

    Raises TransientError when that fails: disks may be full for a while.
    """
    try:
        _replace(path, content)
    except OSError as error:
        raise TransientError(f"cannot write {path}: {error.strerror}") from error


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.replace(path)
