"""What has changed in a VPN table and was not looked at yet.

Per key that is the best path there was before, a bundle and a label: all that is needed to tell
peers the difference.
What comes in bulk is new, and what goes in bulk is gone: such keys are kept as runs, a list per
bundle, and nobody looks at each of them. A run says what happened as long as nothing else happens
to its keys; before it may, `spill` turns runs into keys like any other.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from filament.rib.bundle import Bundle


class Run:
    """Keys of one bundle, and of those that are gone the labels.

    `fields` are the NLRI fields that new ones came in, where these may be sent on as they are; None
    where they must be put together again.
    """

    __slots__ = ("fields", "keys", "labels")

    def __init__(
        self, keys: list[bytes], labels: list[bytes], fields: list[bytes] | None = None
    ) -> None:
        self.keys = keys
        self.labels = labels
        self.fields = fields

    def cut(self, count: int) -> Run:
        """Take `count` keys away."""
        taken = Run(self.keys[-count:], self.labels[-count:])
        self.fields = None
        del self.keys[-count:], self.labels[-count:]
        return taken


Runs = dict[Bundle, Run]


class Changes(NamedTuple):
    """Some of what changed; no key is in it twice.

    `before` has the best bundle of old by key, and `labels` the label it had there. Keys of `fresh`
    had no path, and have this one; keys of `gone` had this one, and have none.
    """

    before: dict[bytes, Bundle | None]
    labels: dict[bytes, bytes]
    fresh: Runs
    gone: Runs

    @property
    def key_count(self) -> int:
        """How many keys there are."""
        runs = (*self.fresh.values(), *self.gone.values())
        return len(self.before) + sum(len(run.keys) for run in runs)


class Pending:
    """One per table. Of `fresh` and `gone` one at most has runs."""

    __slots__ = ("before", "fresh", "gone", "in_runs", "labels")

    def __init__(self) -> None:
        self.before: dict[bytes, Bundle | None] = {}
        self.labels: dict[bytes, bytes] = {}
        self.fresh: Runs = {}
        self.gone: Runs = {}
        self.in_runs = 0  # keys of all runs

    def __len__(self) -> int:
        return len(self.before) + self.in_runs

    def __bool__(self) -> bool:
        return bool(self.before or self.fresh or self.gone)

    def spill(self) -> None:
        """Turn runs into single keys, because something else is about to happen to some."""
        for run in self.fresh.values():
            self.before.update(dict.fromkeys(run.keys))
        for bundle, run in self.gone.items():
            self.before.update(dict.fromkeys(run.keys, bundle))
            self.labels.update(zip(run.keys, run.labels, strict=True))
        self.fresh, self.gone, self.in_runs = {}, {}, 0

    def note(self, key: bytes, best: Bundle | None) -> None:
        """Note that the best path to a key, if there is one, may be about to change."""
        if key not in self.before:
            self.before[key] = best
            if best is not None:
                self.labels[key] = best.routes[key]

    def add_fresh(self, bundle: Bundle, keys: list[bytes], field: bytes) -> None:
        """Note that keys without a path have got this one; `field` is b"" or all of them."""
        self.in_runs += len(keys)
        run = self.fresh.get(bundle)
        if run is None:
            self.fresh[bundle] = Run(keys, [], [field] if field else None)
            return
        run.keys += keys
        if field and run.fields is not None:
            run.fields.append(field)
        else:
            run.fields = None

    def add_gone(self, bundle: Bundle, keys: list[bytes], labels: list[bytes]) -> None:
        """Note that keys have lost the only path they had, which could be used."""
        self.in_runs += len(keys)
        run = self.gone.get(bundle)
        if run is None:
            self.gone[bundle] = Run(keys, labels)
        else:
            run.keys += keys
            run.labels += labels

    def take(self, limit: int) -> Changes:
        """Return and forget what changed, of at most `limit` keys."""
        fresh, room = _take_runs(self.fresh, limit)
        gone, room = _take_runs(self.gone, room)
        self.in_runs -= limit - room
        if len(self.before) <= room:
            before, self.before = self.before, {}
            labels, self.labels = self.labels, {}
        else:
            before = {key: self.before.pop(key) for key in list(islice(self.before, room))}
            labels = {key: self.labels.pop(key) for key, best in before.items() if best is not None}
        return Changes(before, labels, fresh, gone)


def _take_runs(runs: Runs, room: int) -> tuple[Runs, int]:
    """Take runs, the last of them cut where there is no more room; return them and what is left."""
    taken: Runs = {}
    for bundle in list(runs):
        if room <= 0:
            break
        run = runs[bundle]
        taken[bundle] = runs.pop(bundle) if len(run.keys) <= room else run.cut(room)
        room -= len(taken[bundle].keys)
    return taken, room
