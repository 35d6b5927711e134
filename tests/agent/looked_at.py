"""An agent's introspect over rows that were planned but never left memory."""

import types
import xml.etree.ElementTree as ET

from filament.agent.sandesh import agent_introspect
from filament.dataplane.netlink import Link
from filament.dataplane.reconcile import Reconciler
from filament.forward.ids import Ids
from filament.forward.layout import TABLES
from filament.forward.plan import plan
from filament.runtime.clock import now
from filament.testing.maps import MemoryMaps
from filament.wire.sandesh.query import find_request, read_query
from filament.wire.sandesh.xml import write


class Maps(MemoryMaps):
    """The maps that the kernel owns hold what a test says."""

    def __init__(self):
        super().__init__()
        self.owned = {table.name: {} for table in TABLES if not table.planned}

    def read_all(self, table):
        return self.owned[table]


class Devices:
    """Every device is there, up and attached."""

    underlay = "eth0"
    hook = "tcx"

    def state(self, name):
        link = Link(name=name, ifindex=2, mtu_bytes=1600, is_up=True, is_veth=True)
        return types.SimpleNamespace(name=name, link=link, is_attached=True, problem="")


class LookedAt:
    """The introspect of a core that was told things; `ask` returns an answer's root."""

    def __init__(self, talk):
        self.core = talk.core
        self.maps = Maps()
        ids = Ids()
        inputs = self.core.inputs()
        tables = plan(inputs, ids, whole=True)
        reconciler = Reconciler(self.maps)
        reconciler.apply(tables, may_delete=True)
        self.core.applied(inputs, ids.numbers("vrf"), ids.numbers("label"))
        self.host = types.SimpleNamespace(
            core=self.core,
            ids=ids,
            tables=tables,
            reconciler=reconciler,
            maps=self.maps,
            devices=Devices(),
            posted_count=1,
        )
        self.connections = {
            name: types.SimpleNamespace(
                control=name,
                state=state,
                problem="" if state == "established" else "Connection refused",
                since=now() - 60,
                last_state="opening",
                flap_count=flaps,
                flapped_at=now() - 61 if flaps else None,
                history=[(now() - 60, state)],
                sent_count=3,
                received_count=4,
            )
            for name, state, flaps in (("ctl1", "established", 2), ("ctl2", "connecting", 0))
        }
        self.introspect = agent_introspect(self.host, self.connections)
        self.vrf = ids.numbers("vrf")

    def messages(self, target):
        name, _, query = target.partition("?")
        request = find_request(self.introspect.schema, name)
        return name, self.introspect.answers[name](read_query(request, query))

    def written(self, name, messages):
        is_list = name in self.introspect.lists
        return ET.fromstring("".join(write(self.introspect.schema, messages, is_list=is_list)))

    def ask(self, target):
        return self.written(*self.messages(target))

    async def ask_slow(self, target):
        name, messages = self.messages(target)
        return self.written(name, await messages)


def texts(root, path, *fields):
    """The texts of some fields of every element that a path finds."""
    return [[one.find(field).text for field in fields] for one in root.iterfind(path)]
