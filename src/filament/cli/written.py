"""What a command says of a change: what was done, in which revision, and who has not applied it."""

from __future__ import annotations

from collections.abc import Sequence

from filament.base.errors import TransientError
from filament.cli.output import print_json, print_lines
from filament.cli.session import Written


def report(done: Sequence[tuple[str, str]], verb: str, written: Written, *, as_json: bool) -> None:
    """Print each (what, uuid) with the verb and the revision."""
    for what, uuid in done:
        if as_json:
            print_json(
                {"object": what, "uuid": uuid, "done": verb, "revision": written.revision}
                | ({"waiting_for": written.lagging} if written.lagging else {})
            )
        else:
            print_lines([f"{what} {verb}".rstrip() + f" in revision {written.revision}"])


def require_applied(written: Written, wait: str, timeout_s: float) -> None:
    """Raise TransientError (exit 1) when a change that was waited for is not applied by all."""
    if written.lagging:
        raise TransientError(lag_text(written, wait, timeout_s))


def lag_text(written: Written, wait: str, timeout_s: float) -> str:
    """Say who has not applied a change in time."""
    return (
        f"revision {written.revision} is committed, but after {timeout_s:g} s it is not applied "
        f"by all {'control nodes' if wait == 'control' else 'agents'}; "
        f"waiting for {written.lagging}"
    )
