"""Which instances have agents here, and so which targets BGP peers are asked for (RFC 4684).

An instance without an agent draws nothing, though it imports what peers send anyway.
"""

from __future__ import annotations

from collections.abc import Callable

from filament.rib.targets import NO_TARGETS, Targets


class Members:
    """The subscriptions of agents to instances, counted. `want(target, is_wanted=...)` hears of
    each change of what is to be asked for, and may be told the same twice.
    """

    def __init__(self, want: Callable[..., None]) -> None:
        self._want_target = want
        self._counts: dict[str, int] = {}  # by instance
        self._imports: dict[str, Targets] = {}  # of instances that are configured
        self._wanted: dict[bytes, int] = {}  # target -> instances with members that import it

    def join(self, instance: str) -> None:
        """An agent subscribes to an instance, configured or not."""
        count = self._counts.get(instance, 0)
        self._counts[instance] = count + 1
        if count == 0:
            self._want(self._imports.get(instance, NO_TARGETS), 1)

    def leave(self, instance: str) -> None:
        """An agent that has joined leaves."""
        self._counts[instance] -= 1
        if not self._counts[instance]:
            del self._counts[instance]
            self._want(self._imports.get(instance, NO_TARGETS), -1)

    def change_imports(self, instance: str, new: Targets) -> None:
        """An instance imports other targets; none once it is configured no more."""
        old = self._imports.pop(instance, NO_TARGETS)
        if new:
            self._imports[instance] = new
        if instance in self._counts:
            self._want(old - new, -1)
            self._want(new - old, 1)

    def _want(self, targets: Targets, step: int) -> None:
        for target in sorted(targets):
            count = self._wanted.get(target, 0) + step
            if count:
                self._wanted[target] = count
            else:
                del self._wanted[target]
            self._want_target(target, is_wanted=count > 0)

    def verify(self, imports: dict[str, Targets]) -> None:
        """Recompute what is asked for; AssertionError when it differs."""
        wanted = {target for name in self._counts for target in imports.get(name, NO_TARGETS)}
        assert wanted == set(self._wanted), "memberships differ from what instances import"
