"""What the configuration engine is asked for, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from filament.model.body import Body, RefBody
from filament.model.change import Commit, Object
from filament.model.snapshot import Candidate

if TYPE_CHECKING:
    from filament.api.engine import ConfigEngine


class Create(msgspec.Struct, frozen=True):
    """Create an object. `tenant` is the caller's project, owner of what has no better owner."""

    kind: str
    body: Body
    tenant: str | None = None


class Update(msgspec.Struct, frozen=True):
    """Change what the body names and nothing else."""

    kind: str
    uuid: str
    body: Body


class Delete(msgspec.Struct, frozen=True):
    """Delete an object nothing depends on."""

    kind: str
    uuid: str


class RefUpdate(msgspec.Struct, frozen=True):
    """Add (or overwrite the attribute of) one reference, or delete it."""

    kind: str
    uuid: str
    target: RefBody
    operation: Literal["ADD", "DELETE"]
    is_relaxed: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """What an action leads to: the object it is about, if one, and what to tell the caller."""

    object: Object | None = None
    answer: Any = None


class Action(Protocol):
    """A write beyond the four: it edits the candidate, as far as it can by way of the four."""

    def carry_out(self, engine: ConfigEngine, change: Candidate, now: float) -> Outcome:
        """Edit `change`; raise an error of the house to refuse."""


Plain = Create | Update | Delete | RefUpdate
Request = Plain | Action


class Prepared(msgspec.Struct, frozen=True):
    """What a request amounts to. `commit` is None when it changes nothing; `object` is as after
    the change (as before, for a delete; None for an action on none); `answer` is an action's.
    """

    object: Object | None
    commit: Commit | None
    answer: Any = None
