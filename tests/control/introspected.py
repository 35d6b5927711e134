"""A control node with a configuration and agents, asked as TF's tools ask."""

import types
import xml.etree.ElementTree as ET
from urllib.parse import quote

from filament.control.copy import DiskCopy
from filament.control.introspect import control_introspect
from filament.control.node import ControlNode
from filament.wire.sandesh.query import find_request, read_query
from filament.wire.sandesh.xml import write

from .control_world import Cluster, FakeAgent, demo_world


class Introspected:
    """The node of a cluster; `ask` returns the whole answer, following next_batch like ist.py."""

    def __init__(self, tmp_path, world=None, *agents):
        self.world = world or demo_world()
        agents = agents or (FakeAgent("host1", "red-1", "blue-1"), FakeAgent("host2", "red-2"))
        self.cluster = Cluster(self.world, *agents)
        self.cluster.start()
        self.node = ControlNode("ctl1", "unix:/api.sock", DiskCopy(tmp_path / "copy.json"))
        self.node.core = self.cluster.core
        self.node.api.connected, self.node.api.error = True, ""
        self.node.connections = {
            name: types.SimpleNamespace(
                claimed=name,
                address="172.30.0.1",
                remote="172.30.0.1:40000",
                local="172.30.0.10:5269",
                session=server,
                since=1_795_824_000.0,
            )
            for name, (_, server) in self.cluster.wires.items()
        }
        self.introspect = control_introspect(self.node)

    def text(self, target):
        name, _, query = target.partition("?")
        request = find_request(self.introspect.schema, name)
        messages = self.introspect.answers[name](read_query(request, query))
        is_list = name in self.introspect.lists
        return "".join(write(self.introspect.schema, messages, is_list=is_list))

    def pages(self, target):
        """Yield the answer's roots, page by page."""
        while target:
            root = ET.fromstring(self.text(target))
            yield root
            following = root.find(".//next_batch")
            target = (
                f"{following.get('link')}?x={quote(following.text)}"
                if following is not None and following.text
                else ""
            )

    def ask(self, target):
        [root] = self.pages(target)
        return root


def column(root, path, field):
    """The texts of one field of every element that a path finds."""
    return [one.find(field).text for one in root.iterfind(path)]
