"""A rule of a long group changes: what is made of the change is what would be made anew."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filament.agent.filters import ReadFilter, read_filter
from filament.agent.graph import Graph
from filament.base.errors import ProtocolError
from filament.compiler.compile import Compiler, compile_plan
from filament.compiler.plan import AgentView
from filament.compiler.render import Rendered
from filament.compiler.views import NOTHING, agent_view, diff
from filament.wire.xmpp.codec import decode_from_control, encode_from_control
from filament.wire.xmpp.stanza import ConfigSent, Node, RulesEdited
from filament.wire.xmpp.stream import FILAMENT_NAMESPACE, Element, XmlStream

from .universe import Universe, address, rule, uuid_of

LOCAL = {"security_group": "local"}
WEB = Universe.fq("web")
HEADER = (
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    b" xmlns:f='%s'>" % FILAMENT_NAMESPACE.encode()
)
INGRESS = f"{WEB}:ingress-access-control-list"


def port_rule(number):
    return rule(
        address(subnet=f"10.0.0.{number}/32"),
        LOCAL,
        protocol="tcp",
        destination_ports=[(number, number)],
        rule_uuid=f"r{number}",
    )


class Town:
    """A compiler that follows, an agent that is sent edits, and what both would be from scratch."""

    def __init__(self) -> None:
        self.universe = made = Universe()
        made.global_system_config()
        made.vrouter_config()
        made.router("host1")
        made.network("red")
        made.machine("vm1")
        made.group("web")
        made.group("db", number=8000001)
        made.port("port1", "red", "vm1", groups=["web"])
        made.commit()
        self.compiler = Compiler()
        self.compiler.load(made.snapshot)
        self.rendered = Rendered(self.compiler.plan)
        self.graph = Graph()
        self.told = NOTHING
        self.read: ReadFilter | None = None

    def view(self, plan, rendered) -> AgentView:
        machines = [uuid_of("virtual-machine", "vm1")]
        return agent_view(self.universe.snapshot, plan, rendered, "host1", machines)

    def follow(self) -> ConfigSent:
        """Commit, compile, send and read; each compared with doing it anew."""
        commit = self.universe.commit()
        delta = self.compiler.update(self.universe.snapshot, commit)
        self.compiler.verify(self.universe.snapshot)
        self.rendered.update(self.compiler.plan, delta)
        now = self.view(self.compiler.plan, self.rendered)
        plan = compile_plan(self.universe.snapshot)
        assert now == self.view(plan, Rendered(plan))
        sent = diff(self.told, now, edits=True)
        self.told = now
        for data in encode_from_control(sent, "host1", 1):
            stanza = decode_from_control(element_of(data))
            assert isinstance(stanza, ConfigSent)
            self.graph.receive(stanza)
        assert {(node.kind, node.name): node for node in self.graph.nodes} == now.nodes
        assert set(self.graph.links) == now.links
        node = self.graph.node("access-control-list", INGRESS)
        assert node is not None
        self.read = read_filter(node, self.read)
        assert self.read == read_filter(node)
        return sent


def element_of(data: bytes) -> Element:
    events = list(XmlStream(1 << 30).feed(HEADER + data))
    (found,) = [event for event in events if isinstance(event, Element)]
    return found


NUMBERS = st.lists(st.integers(1, 60), max_size=40, unique=True)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(NUMBERS, st.booleans()), min_size=1, max_size=5))
def test_following_edits_is_beginning_anew(steps) -> None:
    town = Town()
    for number, (numbers, has_number) in enumerate(steps):
        if number % 2:
            town.universe.group("db", number=8000001 if has_number else 0)
        rules = [port_rule(one) for one in numbers]
        rules.insert(len(rules) // 2, rule({"security_group": Universe.fq("db")}, LOCAL))
        town.universe.group("web", *rules)
        town.follow()


def test_one_rule_of_many_is_sent_alone() -> None:
    town = Town()
    numbers = list(range(1, 101))
    town.universe.group("web", *map(port_rule, numbers))
    town.follow()
    numbers[50] = 200
    town.universe.group("web", *map(port_rule, numbers))
    sent = town.follow()
    edits = {one.name: (one.start, one.count, len(one.rules)) for one in sent.edits}
    assert edits == {INGRESS: (50, 1, 1)}
    assert {node.kind for node in sent.nodes} == {"security-group", "access-control-list"}
    assert sum(map(len, encode_from_control(sent, "host1", 1))) < 4096


def listed(*rules: object, digest: int = 5) -> Node:
    entries = {"dynamic": None, "acl_rule": list(rules)}
    props = {"access_control_list_entries": entries, "access_control_list_hash": digest}
    return Node("access-control-list", "web", props, 1)


@pytest.mark.parametrize(
    ("nodes", "edit", "text"),
    [
        (
            [],
            RulesEdited("web", 2, 5, 6, 0, 1),
            "rules of access-control-list web with hash 5 are edited; here it is not known",
        ),
        (
            [listed(1)],
            RulesEdited("web", 2, 7, 6, 0, 1),
            "rules of access-control-list web with hash 7 are edited; here it has hash 5",
        ),
        (
            [listed(1)],
            RulesEdited("web", 2, 5, 6, 1, 1),
            "rules 1 to 2 of access-control-list web are edited, which has 1 rules",
        ),
        (
            [Node("access-control-list", "web", {"access_control_list_hash": 5})],
            RulesEdited("web", 2, 5, 6, 0, 1),
            "rules 0 to 1 of access-control-list web are edited, which has no list of rules",
        ),
    ],
)
def test_an_edit_of_something_else_ends_the_session(nodes, edit, text) -> None:
    graph = Graph(nodes)
    with pytest.raises(ProtocolError) as caught:
        graph.receive(ConfigSent(edits=(edit,)))
    assert text in str(caught.value)
