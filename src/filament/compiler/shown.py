"""What an agent is shown, as Tungsten Fabric's configuration download has it: nodes and links."""

from __future__ import annotations

from typing import Any

from filament.model.change import Object, Ref
from filament.wire.xmpp.stanza import Link, Node

NodeKey = tuple[str, str]  # kind, name


class Shown:
    """Nodes and links so far; one per walk of the configuration."""

    def __init__(self) -> None:
        self.nodes: dict[NodeKey, Node] = {}
        self.links: set[Link] = set()

    def show(self, shown: Object, props: dict[str, Any] | None = None) -> bool:
        """Add an object's node, with other properties than its own where given; say whether it is
        new.
        """
        key = (shown.kind, shown.name)
        if key in self.nodes:
            return False
        given = shown.props if props is None else props
        self.nodes[key] = Node(*key, {**given, "uuid": shown.uuid}, shown.revision)
        return True

    def link(self, left: Object, right: Object, metadata: str) -> None:
        """Add a link between two objects."""
        self.links.add(Link(left.kind, left.name, right.kind, right.name, metadata))

    def attribute(self, left: Object, right: Object, ref: Ref) -> None:
        """Add a reference of `left` to `right` as a node of its own: it has the attribute."""
        kind = f"{left.kind}-{right.kind}"
        name = f"attr({left.name},{right.name})"
        props: dict[str, object] = {"value": ref.attr or {}}
        self.nodes[kind, name] = Node(kind, name, props, left.revision)
        self.links.add(Link(left.kind, left.name, kind, name, kind))
        self.links.add(Link(kind, name, right.kind, right.name, kind))
