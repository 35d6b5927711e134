"""What a control node knows about one agent's session."""

from __future__ import annotations

from filament.rib.keys import RouteKey


class AgentSession:
    """One agent from connect to loss; the next session starts from nothing.

    `router` is the virtual-router it asked for; it is served once that exists. `asked` says that
    a subscription has not been answered by a Sync yet, `answered_sequence` is the Sync that
    answered the last one: when it is acknowledged, the agent has seen everything it asked for.
    """

    def __init__(self, name: str, address: str, now: float) -> None:
        self.name = name
        self.address = address
        self.connected_at = now
        self.router: str | None = None
        self.machines: set[str] = set()
        self.instances: dict[str, int] = {}
        self.floods: dict[tuple[str, int], RouteKey] = {}  # published, by instance and tag
        self.is_served = False
        self.was_ignored = False  # it published while it was not served
        self.takes_edits = False
        self.ended_rib = False
        self.is_whole = False  # it has been sent the whole Sync
        # what is to be sent
        self.asked = False
        self.config_changed = False
        self.sync_wanted = False
        # what was
        self.sent_sequence = 0
        self.sent_revision = 0
        self.answered_sequence = 0
        self.acknowledged_sequence = 0
        self.applied_revision = 0

    @property
    def has_published_again(self) -> bool:
        """Say whether it has published all it had: it says so, and has seen all it asked for."""
        return (
            self.ended_rib
            and not self.asked
            and 0 < self.answered_sequence <= self.acknowledged_sequence
        )

    @property
    def subscription_count(self) -> int:
        """How much it subscribed to."""
        return len(self.machines) + len(self.instances)
