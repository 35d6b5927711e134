"""What people call objects: the last part of the fq_name, or the display name.

Most callers name objects by kind and whole name, which the snapshot looks up. This index is for
the command line's `cat red`: made when it is first asked for, then kept up with every commit.
"""

from __future__ import annotations

from filament.model.change import Commit, Object
from filament.model.snapshot import Snapshot
from filament.model.stored import STORED_VALUE


class CalledIndex:
    """Name -> uuids, of everything stored. One per configuration engine, follows its snapshot."""

    def __init__(self) -> None:
        # A name of one object, as most are, costs no collection of its own.
        self._uuids: dict[str, str | dict[str, None]] | None = None

    def reset(self) -> None:
        """Forget everything: the snapshot is another."""
        self._uuids = None

    def update(self, view: Snapshot, commit: Commit) -> None:
        """Follow one commit; `view` is the configuration before it."""
        if self._uuids is None:
            return
        for item in commit.deletes:
            self._remove(item)
        deleted = {item.uuid for item in commit.deletes}
        for item in commit.puts:
            before = None if item.uuid in deleted else view.get(item.uuid)
            if before is None or _short_names(before) != _short_names(item):
                if before is not None:
                    self._remove(before)
                self._add(item)

    def called(self, view: Snapshot, name: str) -> list[Object]:
        """Return the objects whose fq_name, its last part or display name is `name`, in order of
        creation; `view` is the configuration now.
        """
        if self._uuids is None:
            self._uuids = {}
            for item in view.objects():
                self._add(item)
        found: dict[str, Object] = {}
        # A last part may have colons of its own, so where it begins in a whole name is unknown.
        begin = 0
        while True:
            for uuid in self._known(name[begin:]):
                one = view.get(uuid)
                if one is not None and (begin == 0 or one.name == name):
                    found[uuid] = one
            begin = name.find(":", begin) + 1
            if begin == 0:
                return list(found.values())

    def _known(self, name: str) -> tuple[str, ...]:
        assert self._uuids is not None
        uuids = self._uuids.get(name, ())
        return (uuids,) if isinstance(uuids, str) else tuple(uuids)

    def _add(self, item: Object) -> None:
        assert self._uuids is not None
        if item.kind == STORED_VALUE:
            return  # ours, not an object of the configuration
        for name in _short_names(item):
            held = self._uuids.get(name)
            if held is None:
                self._uuids[name] = item.uuid
            elif isinstance(held, str):
                self._uuids[name] = {held: None, item.uuid: None}
            else:
                held[item.uuid] = None

    def _remove(self, item: Object) -> None:
        assert self._uuids is not None
        for name in _short_names(item):
            held = self._uuids.get(name)
            if isinstance(held, dict) and len(held) > 1:
                held.pop(item.uuid, None)
            elif held is not None and item.uuid in self._known(name):
                del self._uuids[name]


def _short_names(item: Object) -> frozenset[str]:
    shown = item.props.get("display_name")
    return frozenset((item.fq_name[-1], shown) if isinstance(shown, str) else item.fq_name[-1:])
