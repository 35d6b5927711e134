"""The configuration an agent received from one control node: nodes and links, nothing computed.

Pure. Partial pictures are normal (a link may arrive before its ends), so every reader gets only
nodes that are there. During a new session with the same control node, what was received earlier
stays, marked stale, until the control node has sent everything again; see `sweep`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain

from filament.base.errors import ProtocolError
from filament.wire.xmpp.stanza import ConfigSent, Link, Node, RulesEdited

_LIST = "access-control-list"
NodeKey = tuple[str, str]  # kind, name


class Graph:
    """Nodes by (kind, name) and links between them; one per control node, kept for its lifetime."""

    def __init__(self, nodes: Iterable[Node] = (), links: Iterable[Link] = ()) -> None:
        self._nodes: dict[NodeKey, Node] = {}
        self._links: set[Link] = set()
        # end -> metadata -> other ends
        self._ends: dict[NodeKey, dict[str, set[NodeKey]]] = {}
        self._stale_nodes: set[NodeKey] = set()
        self._stale_links: set[Link] = set()
        self._changes: Counter[str] = Counter()  # by kind of nodes and metadata of links
        self.receive(ConfigSent(nodes=tuple(nodes), links=tuple(links)))

    def receive(self, sent: ConfigSent) -> None:
        """Take one configuration stanza: deletions first, then what is new or changed. Raises
        ProtocolError when it edits a list that is not here as it says.
        """
        for link in sent.deleted_links:
            self._forget_link(link)
        for key in sent.deleted_nodes:
            self._forget_node(key)
        for node in chain(sent.nodes, map(self._edited, sent.edits)):
            key = (node.kind, node.name)
            self._nodes[key] = node
            self._changes[node.kind] += 1
            self._stale_nodes.discard(key)
        for link in sent.links:
            self._links.add(link)
            self._stale_links.discard(link)
            self._changes[link.metadata] += 1
            left, right = _ends_of(link)
            self._ends.setdefault(left, {}).setdefault(link.metadata, set()).add(right)
            self._ends.setdefault(right, {}).setdefault(link.metadata, set()).add(left)

    def _edited(self, edit: RulesEdited) -> Node:
        """Return a list of rules as it is after an edit."""
        node = self._nodes.get((_LIST, edit.name))
        known = node.props.get("access_control_list_hash") if node is not None else None
        if node is None or known != edit.before:
            raise ProtocolError(
                "policy-violation",
                f"rules of {_LIST} {edit.name[:128]} with hash {edit.before} are edited; here it "
                + ("is not known" if node is None else f"has hash {known}"),
            )
        entries = node.props.get("access_control_list_entries")
        rules = entries.get("acl_rule") if isinstance(entries, dict) else None
        end = edit.start + edit.count
        if not isinstance(entries, dict) or not isinstance(rules, list) or end > len(rules):
            raise ProtocolError(
                "policy-violation",
                f"rules {edit.start} to {end} of {_LIST} {edit.name[:128]} are edited, which has "
                + (f"{len(rules)} rules" if isinstance(rules, list) else "no list of rules"),
            )
        props = {
            **node.props,
            "access_control_list_entries": {
                **entries,
                "acl_rule": [*rules[: edit.start], *edit.rules, *rules[end:]],
            },
            "access_control_list_hash": edit.hash,
        }
        return Node(node.kind, node.name, props, edit.revision)

    def mark_stale(self) -> None:
        """A new session begins: everything here must be received again to outlive `sweep`."""
        self._stale_nodes = set(self._nodes)
        self._stale_links = set(self._links)

    def sweep(self) -> None:
        """Forget what was not received again since `mark_stale`."""
        for link in list(self._stale_links):
            self._forget_link(link)
        for key in list(self._stale_nodes):
            self._forget_node(key)

    def changes_of(self, names: Iterable[str]) -> int:
        """How often nodes of these kinds and links of this metadata changed: more with each."""
        return sum(self._changes[name] for name in names)

    @property
    def nodes(self) -> Iterable[Node]:
        """All nodes."""
        return self._nodes.values()

    @property
    def links(self) -> Iterable[Link]:
        """All links, also those with an end that is not there."""
        return self._links

    def node(self, kind: str, name: str) -> Node | None:
        """Return one node."""
        return self._nodes.get((kind, name))

    def of_kind(self, kind: str) -> Iterator[Node]:
        """Yield the nodes of a kind, in order of arrival."""
        return (node for node in self._nodes.values() if node.kind == kind)

    def linked(self, node: Node, metadata: str, kind: str) -> list[Node]:
        """Return the nodes of `kind` that `metadata` links to `node`, by name."""
        ends = self._ends.get((node.kind, node.name), {}).get(metadata, ())
        return [self._nodes[key] for key in sorted(ends) if key[0] == kind and key in self._nodes]

    def _forget_node(self, key: NodeKey) -> None:
        """Forget a node with its links: a link to nothing would revive with a namesake."""
        self._nodes.pop(key, None)
        self._changes[key[0]] += 1
        self._stale_nodes.discard(key)
        for metadata, others in list(self._ends.get(key, {}).items()):
            for other in list(others):
                self._forget_link(Link(*key, *other, metadata))
                self._forget_link(Link(*other, *key, metadata))

    def _forget_link(self, link: Link) -> None:
        if link not in self._links:
            return
        self._links.discard(link)
        self._changes[link.metadata] += 1
        self._stale_links.discard(link)
        left, right = _ends_of(link)
        if Link(*right, *left, link.metadata) in self._links:
            return  # the same edge, also told the other way round
        self._drop_end(left, link.metadata, right)
        self._drop_end(right, link.metadata, left)

    def _drop_end(self, key: NodeKey, metadata: str, other: NodeKey) -> None:
        by_metadata = self._ends.get(key)
        if by_metadata is None or metadata not in by_metadata:
            return
        by_metadata[metadata].discard(other)
        if not by_metadata[metadata]:
            del by_metadata[metadata]
        if not by_metadata:
            del self._ends[key]


def _ends_of(link: Link) -> tuple[NodeKey, NodeKey]:
    return (link.left_kind, link.left_name), (link.right_kind, link.right_name)
