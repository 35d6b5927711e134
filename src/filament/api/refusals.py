"""What a refusal says of other objects: names of those that the caller may read, else how many."""

from __future__ import annotations

from filament.api.permission import Access
from filament.base.errors import ConflictError
from filament.model.change import Object


def still_used(asking: Access, reason: str, item: Object, users: list[Object]) -> ConflictError:
    """The refusal to delete what is still used (TF's word for it is `reason`)."""
    seen = [one for one in users if asking.sees(one)]
    unseen = len(users) - len(seen)
    links = [f"/{one.kind}/{one.uuid}" for one in seen[:10]]
    named = ", ".join(f"{one.kind} {one.name}" for one in seen[:3])
    more = f" and {len(seen) - 3} more" if len(seen) > 3 else ""
    if unseen:
        named += " and " if named else ""
        more += f"{unseen} that you may not read"
    return ConflictError(
        f"Delete when {reason}: {links}; {item.kind} {item.name} is still used by {named}{more}:"
        " delete or detach them first"
    )
