"""The simulated API process: the production engine over a store that survives it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from filament.api.boot import boot_commit
from filament.api.engine import ConfigEngine
from filament.api.request import Create, Delete, RefUpdate, Request
from filament.api.transaction import Transaction
from filament.base.errors import TransientError
from filament.model.body import RefBody, convert_body
from filament.model.change import Object
from filament.model.kinds import KINDS
from filament.store.memory import MemoryStore
from filament.testing.sim.schedule import Schedule


class SimApi:
    """One API process. `watchers` are told of every commit, as the change stream would."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.store = MemoryStore()
        self.watchers: list[Callable[[], None]] = []
        self.engine: ConfigEngine | None = None
        self.start()

    @property
    def revision(self) -> int:
        """The last revision that is stored."""
        return self.store.load()[0]

    def start(self) -> None:
        """Start (again) from the store."""
        engine = ConfigEngine(lambda: str(uuid.UUID(int=self._schedule.random.getrandbits(128))))
        engine.load(self.store)
        boot = boot_commit(engine, self._schedule.now)
        if boot is not None:
            self.store.commit(boot)
            engine.apply(boot)
        self.engine = engine
        self._notify()

    def crash(self) -> None:
        """Die."""
        self.engine = None

    def crash_unanswered(self, request: Request) -> None:
        """Die after `request` is stored and before anybody hears that it is."""
        prepared = self._engine().prepare(request, now=self._schedule.now, who="sim")
        if prepared.commit is not None:
            self.store.commit(prepared.commit)
        self.engine = None

    def ask(self, request: Request) -> Object:
        """Carry a request out and acknowledge it; TransientError while the process is dead."""
        engine = self._engine()
        prepared = engine.prepare(request, now=self._schedule.now, who="sim")
        if prepared.commit is not None:
            self.store.commit(prepared.commit)
            engine.apply(prepared.commit)
            self._notify()
        assert prepared.object is not None
        return prepared.object

    def transact(self, operations: list[dict[str, Any]]) -> None:
        """Carry out the operations of a `POST /transaction`."""
        engine = self._engine()
        action = msgspec.convert({"operations": operations}, Transaction)
        prepared = engine.prepare(action, now=self._schedule.now, who="sim")
        assert prepared.commit is not None
        self.store.commit(prepared.commit)
        engine.apply(prepared.commit)
        self._notify()

    def create(self, kind: str, fq_name: list[str], **fields: Any) -> Object:
        """Create an object from its JSON fields."""
        return self.ask(creation(kind, fq_name, **fields))

    def delete(self, item: Object) -> None:
        """Delete an object."""
        self.ask(Delete(item.kind, item.uuid))

    def link(self, item: Object, target: Object, attr: dict[str, Any] | None = None) -> None:
        """Add a reference."""
        body = RefBody(target.kind, uuid=target.uuid, attr=attr)
        self.ask(RefUpdate(item.kind, item.uuid, body, "ADD"))

    def unlink(self, item: Object, target: Object) -> None:
        """Remove a reference."""
        self.ask(RefUpdate(item.kind, item.uuid, RefBody(target.kind, uuid=target.uuid), "DELETE"))

    def _engine(self) -> ConfigEngine:
        if self.engine is None:
            raise TransientError("the API does not answer")
        return self.engine

    def _notify(self) -> None:
        for watcher in self.watchers:
            watcher()


def creation(kind: str, fq_name: list[str], **fields: Any) -> Create:
    """A request to create an object from its JSON fields."""
    return Create(kind, convert_body(KINDS[kind], {"fq_name": fq_name, **fields}))
