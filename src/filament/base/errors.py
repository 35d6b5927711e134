"""The error classes of the house, each with one owner of the fault.

A message says what was asked, what is wrong and what would be right. Only the boundary
(HTTP, CLI, protocol session) decides how a class is shown.
"""

from __future__ import annotations

from typing import Self


class FilamentError(Exception):
    """Root of every error a boundary may show to a person.

    `names` is the uuid of an object that the text names, and `discreet` the error for those who
    may not read that object.
    """

    names: str = ""
    discreet: FilamentError | None = None

    def naming(self, uuid: str, discreet: FilamentError) -> Self:
        """This error, which names an object that not everybody may read."""
        self.names, self.discreet = uuid, discreet
        return self


class InputError(FilamentError):
    """The caller asked for something that cannot be: HTTP 400, CLI exit 2.

    `code` is a stable dashed word, `path` a JSON path (`$.virtual-network.fq_name`) or "",
    `hint` says what would be right.
    """

    def __init__(self, code: str, message: str, *, path: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = path
        self.hint = hint

    def __str__(self) -> str:
        where = f" at {self.path}" if self.path else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.message}{where}{hint}"


class NotFoundError(FilamentError):
    """The named thing does not exist: HTTP 404."""


class ConflictError(FilamentError):
    """The change collides with what exists (duplicate, still referred): HTTP 409."""


class RevisionConflictError(ConflictError):
    """Another commit landed first; `revision` is the store's current one. Retry from it."""

    def __init__(self, message: str, revision: int) -> None:
        super().__init__(message)
        self.revision = revision


class PreconditionError(FilamentError):
    """The caller's picture is older than what it wants to change: HTTP 412.

    `revision` is the current one.
    """

    def __init__(self, message: str, revision: int) -> None:
        super().__init__(message)
        self.revision = revision


class QuotaError(FilamentError):
    """A project may have no more objects of a kind: HTTP 412, as TF answers it."""


class ForbiddenError(FilamentError):
    """The caller may not do this: HTTP 403."""


class ProtocolError(FilamentError):
    """A peer broke its protocol. Decoders raise nothing else, whatever the bytes.

    `condition` is the protocol's own word for it (an XMPP stream-error condition, a BGP
    code/subcode text); the session decides whether to close.
    """

    def __init__(self, condition: str, message: str) -> None:
        super().__init__(f"{condition}: {message}")
        self.condition = condition
        self.message = message


class TransientError(FilamentError):
    """The world said no for now; a reconciler retries after `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PermanentError(FilamentError):
    """The world said no for good; shown as row status."""
