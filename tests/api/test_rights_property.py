"""A tenant never sees, reads or links what it must not: random worlds against an oracle of its own.

The oracle below knows nothing of the code: it restates contrail-api's rules from the reference.
"""

import asyncio
import contextlib
import itertools
import json
import re
from concurrent.futures import ThreadPoolExecutor

import httpx2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filament.api.auth import Authentication
from filament.api.barrier import Barrier
from filament.api.caller import Caller
from filament.api.journal import Journal
from filament.api.rbac import DEFAULT_NAME
from filament.api.render import Include
from filament.api.routes import Api
from filament.api.writer import Writer
from filament.model.kinds import KINDS

from .office import NOW, Office, ipam_refs, subnet

PROJECTS = [f"aaaaaaaa-0000-4000-8000-00000000000{n}" for n in range(3)]
DOMAINS = [f"dddddddd-0000-4000-8000-00000000000{n}" for n in range(2)]
READ, WRITE, LINK = 4, 2, 1
KINDS_MADE = ["virtual-network", "network-policy", "virtual-machine-interface", "network-ipam"]

access = st.integers(0, 7)
share = st.builds(
    lambda tenant, level: {"tenant": tenant, "tenant_access": level},
    st.sampled_from(
        [
            *PROJECTS,
            *(f"tenant:{one}" for one in PROJECTS),
            *(f"domain:{one}" for one in DOMAINS),
            *(one.replace("-", "") for one in PROJECTS),
        ]
    ),
    access,
)
perms = st.fixed_dictionaries(
    {
        "owner": st.sampled_from([*(one.replace("-", "") for one in PROJECTS), "cloud-admin"]),
        "owner_access": st.sampled_from([7, 7, 7, 4, 5, 0]),
        "global_access": st.sampled_from([0, 0, 0, 4, 5, 1, 7]),
        "share": st.lists(share, max_size=2),
    }
)
made = st.lists(
    st.tuples(
        st.sampled_from(KINDS_MADE),
        st.integers(0, 2),  # the project
        perms,
        st.booleans() | st.just(True) | st.just(True),  # user_visible
        st.integers(0, 30),  # what it refers to
    ),
    min_size=3,
    max_size=9,
)
callers = st.builds(
    lambda project, domain: Caller("tess", frozenset({"member"}), project=project, domain=domain),
    st.sampled_from([*PROJECTS, None]),
    st.sampled_from([*DOMAINS, None]),
)


class Anyone:
    """Takes everybody for the caller of the moment."""

    challenge = "Test"

    def __init__(self):
        self.caller = None

    async def verify(self, credentials):
        return self.caller

    async def close(self):
        pass


def oracle(caller, props):
    """Rights by the reference: owner bits for the owner's project, share bits, everybody's."""
    if props.get("id_perms", {}).get("user_visible") is False:
        return 0
    perms2 = props["perms2"]
    rights = perms2["global_access"]
    me = (caller.project or "-").replace("-", "")
    if me and perms2["owner"].replace("-", "") == me:
        rights |= perms2["owner_access"]
    for one in perms2["share"]:
        words = one["tenant"].split(":")
        theirs = words[-1].replace("-", "")
        mine = caller.domain if words[0] == "domain" else caller.project
        if mine and mine.replace("-", "") == theirs:
            rights |= one["tenant_access"]
    return rights


class World:
    """Random objects, an API over them and its oracle."""

    def __init__(self, specs):
        self.office = Office()
        self.rights_source = {}
        keep = self.office.create
        for n, uuid in enumerate(DOMAINS):
            keep("domain", f"d{n}", uuid=uuid)
        for n, uuid in enumerate(PROJECTS):
            keep("project", "d0", f"p{n}", uuid=uuid)
        everything = {"rule_object": "*", "rule_perms": [{"role_name": "*", "role_crud": "CRUD"}]}
        keep(
            "api-access-list",
            *DEFAULT_NAME,
            parent_type="global-system-config",
            api_access_list_entries={"rbac_rule": [everything]},
        )
        self.items = []
        # Tags of a stranger: one that everybody may link, one that nobody else may.
        self.tags = [
            keep(
                "tag",
                f"application={name}",
                tag_type_name="application",
                tag_value=name,
                perms2={"owner": PROJECTS[2], "owner_access": 7, "global_access": everybody},
            )
            for name, everybody in (("open", LINK), ("closed", 0))
        ]
        for n, (kind, project, perms2, visible, choice) in enumerate(specs):
            self.items.append(self._make(n, kind, project, perms2, visible, choice))

    def _make(self, n, kind, project, perms2, visible, choice):
        fields = {"perms2": perms2, "id_perms": {"user_visible": visible}}
        of = {one: [x for x in self.items if x.kind == one] for one in KINDS_MADE}
        if kind == "virtual-network":
            ipams, policies = of["network-ipam"], of["network-policy"]
            if policies:
                policy = policies[choice % len(policies)]
                fields["network_policy_refs"] = [{"uuid": policy.uuid, "attr": {"sequence": {}}}]
            if ipams:
                attr = {"ipam_subnets": [subnet(f"10.{n}.0.0")]}
                refs = [{"uuid": ipams[choice % len(ipams)].uuid, "attr": attr}]
            else:
                refs = ipam_refs(subnet(f"10.{n}.0.0"))
            fields["network_ipam_refs"] = refs
        if kind == "network-policy":
            fields["network_policy_entries"] = self._rules(
                of["virtual-network"], choice, n, project
            )
        if kind == "virtual-machine-interface":
            networks = of["virtual-network"]
            if not networks:
                kind = "network-policy"
            else:
                fields["virtual_network_refs"] = [{"uuid": networks[choice % len(networks)].uuid}]
                fields["parent_type"] = "project"
        return self.office.create(kind, "d0", f"p{project}", f"o{n}", **fields)

    def _rules(self, networks, choice, n, project):
        """Rules that name a network, and those that the policy itself is attached to."""
        anything = [{"start_port": -1, "end_port": -1}]
        others = [{"network_policy": f"d0:p{project}:o{n}"}]
        if networks:
            others.append({"virtual_network": networks[choice % len(networks)].name})
        rules = [
            {
                "protocol": "tcp",
                "direction": "<>",
                "src_addresses": [{"virtual_network": "local"}],
                "src_ports": anything,
                "dst_addresses": [other],
                "dst_ports": anything,
                "action_list": {"simple_action": "pass"},
            }
            for other in others
        ]
        return {"policy_rule": rules}

    def all(self):
        """Every object there is, rendered ones too, with the props that say its rights."""
        view, shown = self.office.engine.snapshot, self.office.engine.shown.objects
        for item in view.objects():
            yield item, item.props
        for kind in ("routing-instance", "access-control-list"):
            for item in shown.of_kind(kind):
                network = view.get(item.parent_uuid)
                if network is not None:
                    yield item, network.props

    def unreadable(self, caller):
        return {item.uuid: item for item, props in self.all() if not oracle(caller, props) & READ}


class Served:
    """The HTTP face, called without sockets."""

    def __init__(self, world, caller):
        self.world = world
        engine = world.office.engine
        self.anyone = Anyone()
        self.anyone.caller = caller
        self.executor = ThreadPoolExecutor(1)
        journal = Journal(engine.snapshot.revision)
        self.writer = Writer(engine, world.office.store, journal, self.executor, lambda: NOW)
        self.api = api = Api(
            engine,
            self.writer,
            journal,
            Barrier(lambda: 0.0),
            dict,
            Authentication(self.anyone, "rbac"),
        )
        transport = httpx2.ASGITransport(app=api.application())
        self.http = httpx2.AsyncClient(transport=transport, base_url="http://api")

    @contextlib.asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.writer.run())
        try:
            yield self
        finally:
            task.cancel()
            await self.http.aclose()
            self.executor.shutdown()

    async def __call__(self, method, path, body=None, **query):
        return await self.http.request(
            method, path, content=None if body is None else json.dumps(body), params=query
        )


def mentions(text, unseen, may_know=()):
    """Unreadable objects whose uuid is in an answer."""
    return [item.name for uuid, item in unseen.items() if uuid in text and uuid not in may_know]


def ancestors(world, items):
    """An object's fq_name and parent_uuid tell its parents: TF's model, and ours."""
    view = world.office.engine.snapshot
    known = set()
    for item in items:
        uuid = item.parent_uuid
        while uuid is not None:
            known.add(uuid)
            parent = view.get(uuid)
            uuid = parent.parent_uuid if parent is not None else None
    return known


async def check_reads(world, caller):
    unseen = world.unreadable(caller)
    everything = list(world.all())
    seen = [item for item, _ in everything if item.uuid not in unseen]
    # perms2 of a readable object tells uuids of those it is shared with.
    may_know = {*ancestors(world, seen), *PROJECTS, *DOMAINS}
    async with Served(world, caller).running() as ask:
        for item, props in everything:
            answer = await ask("GET", f"/{item.kind}/{item.uuid}")
            if item.uuid in unseen:
                hidden = props.get("id_perms", {}).get("user_visible") is False
                assert answer.status_code == (404 if hidden else 403), (item, answer.text)
                assert item.fq_name[-1] not in answer.text.replace(item.uuid, "")
            else:
                assert answer.status_code == 200, (item, answer.text)
                assert not mentions(answer.text, unseen, may_know)
            named = await ask(
                "POST", "/fqname-to-id", {"type": item.kind, "fq_name": list(item.fq_name)}
            )
            back = await ask("POST", "/id-to-fqname", {"uuid": item.uuid})
            if item.uuid in unseen:
                assert named.status_code in {403, 404}
                assert item.uuid not in named.text
                assert back.status_code == 404
            else:
                assert named.json()["uuid"] == item.uuid
                assert back.json()["fq_name"] == list(item.fq_name)
            await check_actions_that_read(ask, caller, item, props, unseen, may_know)
        for kind in (*KINDS_MADE, "routing-instance", "access-control-list", "project"):
            row = KINDS[kind]
            fields = ",".join((*row.reference_fields, *row.children, *row.back_references))
            expected = {item.uuid for item in seen if item.kind == kind}
            for query in (
                {},
                {"detail": "true"},
                {"detail": "true", "fields": fields},
                {"fields": fields},
                {"obj_uuids": ",".join(unseen) or "x"},
                {"back_ref_id": ",".join(unseen) or "x"},
                {"parent_id": ",".join(unseen) or "x"},
                {"page_limit": "100"},
            ):
                bulk = {"type": kind, **query}
                for answer in (
                    await ask("GET", f"/{row.collection}", **query),
                    await ask("POST", "/list-bulk-collection", bulk),
                ):
                    assert answer.status_code == 200, answer.text
                    assert not mentions(answer.text, unseen, may_know), query
                    got = [one.get(kind, one)["uuid"] for one in answer.json()[row.collection]]
                    if "parent_id" in query:
                        assert set(got) <= expected
                    elif not {"obj_uuids", "back_ref_id"} & query.keys():
                        assert set(got) == expected
                    else:
                        assert not got
            count = (await ask("GET", f"/{row.collection}", count="true")).json()
            assert count[row.collection]["count"] == len(expected)
        await check_rendered(ask, caller, unseen)
        await check_closed(ask)


def named_networks(text, unseen):
    """Networks that may not be read, but whose names stand in what is rendered."""
    networks = (item for item in unseen.values() if item.kind == "virtual-network")
    return [item.name for item in networks if f'"{item.name}"' in text]


async def check_rendered(ask, caller, unseen):
    """What is made of others' intent names none that may not be read: read, listed, watched."""
    for kind in ("access-control-list", "routing-instance", "route-target"):
        row = KINDS[kind]
        fields = ",".join((*row.reference_fields, *row.children, *row.back_references))
        listed = await ask("GET", f"/{row.collection}", detail="true", fields=fields)
        assert not named_networks(listed.text, unseen), listed.text
        for one in listed.json()[row.collection]:
            read = await ask("GET", f"/{kind}/{one[kind]['uuid']}")
            assert not named_networks(read.text, unseen), read.text
        watched = ask.api.watches._objects({kind: Include()}, "http://api", caller)
        told = (await anext(watched)).decode()
        await watched.aclose()
        assert f'"{kind}s":' in told
        assert not named_networks(told, unseen), told


async def check_actions_that_read(ask, caller, item, props, unseen, may_know):
    hidden = props.get("id_perms", {}).get("user_visible") is False
    rights = oracle(caller, props)
    elements = await ask("GET", "/prop-collection-get", uuid=item.uuid, fields="annotations")
    permissions = await ask("GET", "/obj-perms", uuid=item.uuid)
    if item.uuid in unseen:
        for answer in (elements, permissions):
            assert answer.status_code == 404
            assert item.fq_name[-1] not in answer.text.replace(item.uuid, "")
    else:
        assert elements.json() == {"annotations": []}
        letters = "".join(x for x, bit in (("R", READ), ("W", WRITE), ("X", LINK)) if rights & bit)
        assert permissions.json()["permissions"] == letters
        assert not permissions.json()["is_cloud_admin_role"]
    if item.kind == "virtual-network":
        path = f"/virtual-network/{item.uuid}/subnet-ip-count"
        answer = await ask("POST", path, {"subnet_list": []})
        refused = 404 if hidden else 403
        assert answer.status_code == (refused if item.uuid in unseen else 200), answer.text
        assert not mentions(answer.text, unseen, {*may_know, item.uuid})


async def check_closed(ask):
    """What is not known to be safe for tenants."""
    for path in (
        "/watch?after=0",
        "/filament/snapshot",
        "/filament/status",
        "/filament/log",
        "/int-pool?pool=a&value=1",
        "/aaa-mode",
    ):
        assert (await ask("GET", path)).status_code == 403, path
    for path in ("/useragent-kv", "/int-pools", "/int-pool", "/filament/restore", "/db-check"):
        assert (await ask("POST", path, {})).status_code == 403, path
    assert (await ask("PUT", "/aaa-mode", {})).status_code == 403


async def check_dry_run(ask, world, caller, method, path, body):
    """A dry run is refused as the write is, and tells nothing of what its author may not read."""
    view = world.office.engine.snapshot
    revision = view.revision
    answer = await ask(method, path, body, dry_run="true")
    assert view.revision == revision
    unseen = world.unreadable(caller)
    seen = [item for item, _ in world.all() if item.uuid not in unseen]
    may_know = {*ancestors(world, seen), *PROJECTS, *DOMAINS, *asked_uuids(body), path[-36:]}
    assert not mentions(answer.text, unseen, may_know), answer.text
    if answer.status_code == 200:
        told = json.dumps(answer.json()["plan"])
        networks = (item for item in unseen.values() if item.kind == "virtual-network")
        names = [item.name for item in networks if f"{item.name}:" in told]
        assert not names, told
    return answer.status_code


def asked_uuids(body):
    """Uuids that the author itself wrote."""
    return set(re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", json.dumps(body)))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made, callers)
def test_a_tenant_reads_exactly_what_the_rules_let_it(specs, caller):
    asyncio.run(check_reads(World(specs), caller))


def expected_write(caller, props, right):
    rights = oracle(caller, props)
    if props["id_perms"].get("user_visible") is False:
        return 404
    return None if rights & right else 403


async def check_writes(world, caller):
    view = world.office.engine.snapshot
    networks = [item for item in world.items if item.kind == "virtual-network"]
    policies = [item for item in world.items if item.kind == "network-policy"]
    async with Served(world, caller).running() as ask:
        for network, policy in itertools.product(networks[:3], policies[:3]):
            before = view.get(network.uuid)
            linked = {ref.uuid for ref in before.refs}
            refused = expected_write(caller, before.props, WRITE)
            # The PUT repeats what is there and adds one, so a link is asked for only if it is new.
            put_refused = refused
            if refused is None and policy.uuid not in linked:
                put_refused = expected_write(caller, view.get(policy.uuid).props, LINK)
            update_refused = refused or expected_write(caller, view.get(policy.uuid).props, LINK)
            attr = {"sequence": {}}
            have = [
                {"uuid": ref.uuid, "attr": ref.attr} for ref in before.refs_to("network-policy")
            ]
            wanted = have if policy.uuid in linked else [*have, {"uuid": policy.uuid, "attr": attr}]
            body = {"virtual-network": {"network_policy_refs": wanted}}
            path = f"/virtual-network/{network.uuid}"
            dry = await check_dry_run(ask, world, caller, "PUT", path, body)
            answer = await ask("PUT", path, body)
            assert answer.status_code == dry == (put_refused or 200), answer.text
            if put_refused:
                assert view.get(network.uuid) == before
            add = {
                "type": "virtual-network",
                "uuid": network.uuid,
                "ref-type": "network-policy",
                "ref-uuid": policy.uuid,
                "operation": "ADD",
                "attr": {"sequence": {"major": 1}},
            }
            before = view.get(network.uuid)
            dry = await check_dry_run(ask, world, caller, "POST", "/ref-update", add)
            answer = await ask("POST", "/ref-update", add)
            assert answer.status_code == dry == (update_refused or 200), answer.text
            if update_refused:
                assert view.get(network.uuid) == before
        for item in world.items:
            await check_edits(ask, world, caller, item)
        for network, policy in itertools.product(networks[:2], policies[:2]):
            await check_transaction(ask, view, caller, network, policy)
        for n, item in enumerate(world.items):
            project = view.get(item.parent_uuid)
            refused = expected_write(caller, project.props, WRITE)
            body = {item.kind: {"fq_name": [*item.fq_name[:-1], f"new{n}"]}}
            if item.kind == "virtual-machine-interface":
                network = view.get(item.refs[0].uuid)
                body[item.kind] |= {
                    "parent_type": "project",
                    "virtual_network_refs": [{"to": list(network.fq_name)}],
                }
                refused = refused or expected_write(caller, network.props, LINK)
            answer = await ask("POST", f"/{item.kind}s", body)
            assert answer.status_code == (refused or 200), answer.text
        for item in world.items:
            props = view.get(item.uuid).props
            refused = expected_write(caller, props, WRITE)
            owner = props["perms2"]["owner"].replace("-", "")
            if refused is None and owner != (caller.project or "-").replace("-", ""):
                refused = 403
            refused = refused or expected_write(caller, view.get(item.parent_uuid).props, WRITE)
            unseen = world.unreadable(caller)
            answer = await ask("DELETE", f"/{item.kind}/{item.uuid}")
            if refused is not None:
                assert answer.status_code == refused, answer.text
                assert view.get(item.uuid) is not None
            else:
                assert answer.status_code in {200, 409}, answer.text  # 409: still referred
            assert not mentions(answer.text, unseen, {item.uuid, item.parent_uuid})


async def check_edits(ask, world, caller, item):
    """Actions that change one object: R to know it, W to change it, X on a new target."""
    view = world.office.engine.snapshot
    before = view.get(item.uuid)
    props = before.props
    may_read = oracle(caller, props) & READ
    by_uuid = None if may_read else 404
    by_kind = None if may_read else expected_write(caller, props, READ)
    no_write = expected_write(caller, props, WRITE)
    unseen = world.unreadable(caller)
    owner = props["perms2"]["owner"]
    annotation = {"key": "who", "value": "tess"}
    element = {"field": "annotations", "operation": "set", "value": annotation}
    asked = [
        ("/chown", {"uuid": item.uuid, "owner": owner}, by_uuid or no_write),
        ("/chmod", {"uuid": item.uuid, "global_access": None}, by_uuid or no_write),
        (
            "/prop-collection-update",
            {"uuid": item.uuid, "updates": [element]},
            by_uuid or no_write,
        ),
    ]
    for ref in before.refs[:2]:
        target = view.get(ref.uuid)
        relax = {"uuid": item.uuid, "ref-uuid": ref.uuid}
        lost = None if oracle(caller, target.props) & READ else 404
        asked.append(("/ref-relax-for-delete", relax, by_uuid or no_write or lost))
    if item.kind in {"virtual-network", "virtual-machine-interface"}:
        for tag in world.tags:
            link = expected_write(caller, tag.props, LINK)
            body = {
                "obj_type": item.kind,
                "obj_uuid": item.uuid,
                "application": {"is_global": True, "value": tag.name.partition("=")[2]},
            }
            asked.append(("/set-tag", body, by_kind or no_write or link))
    for path, body, refused in asked:
        before = view.get(item.uuid)
        answer = await ask("POST", path, body)
        assert answer.status_code == (refused or 200), (path, answer.text)
        assert not mentions(
            answer.text, unseen, set(body.values()) if path[1] == "r" else {item.uuid}
        )
        if refused:
            assert view.get(item.uuid) == before
    if item.kind == "virtual-network":
        held = set(view.allocations())
        answer = await ask("POST", f"/virtual-network/{item.uuid}/ip-alloc", {"count": 1})
        refused = by_kind or no_write
        assert answer.status_code == (refused or 200), answer.text
        if refused:
            assert set(view.allocations()) == held
        addresses = answer.json() if not refused else {"ip_addr": ["10.0.0.9"]}
        answer = await ask("POST", f"/virtual-network/{item.uuid}/ip-free", addresses)
        assert answer.status_code == (refused or 200), answer.text
        assert set(view.allocations()) == held


async def check_transaction(ask, view, caller, network, policy):
    props = view.get(network.uuid).props
    refused = expected_write(caller, props, READ) or expected_write(caller, props, WRITE)
    refused = refused or expected_write(caller, view.get(policy.uuid).props, LINK)
    update = {
        "op": "update",
        "type": "virtual-network",
        "fq-name": list(network.fq_name),
        "object": {"display_name": f"with {policy.uuid}"},
    }
    link = {
        "op": "ref-update",
        "type": "virtual-network",
        "uuid": network.uuid,
        "ref-type": "network-policy",
        "ref-fq-name": list(policy.fq_name),
        "attr": {"sequence": {"major": 2}},
    }
    before = view.get(network.uuid)
    answer = await ask("POST", "/transaction", {"operations": [update, link]})
    assert answer.status_code == (refused or 200), answer.text
    assert policy.uuid not in answer.text
    if refused:
        assert view.get(network.uuid) == before
        # A name does not tell the uuid of what may not be read.
        answer = await ask("POST", "/transaction", {"operations": [update]})
        assert network.uuid not in answer.text or oracle(caller, props) & READ


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made, callers)
def test_a_tenant_writes_and_links_exactly_what_the_rules_let_it(specs, caller):
    asyncio.run(check_writes(World(specs), caller))


# One network that the caller may write, policies of a stranger with every mix of rights: what a
# link needs is told apart from what a read needs.
stranger = st.builds(
    lambda everybody, mine: {
        "owner": PROJECTS[1],
        "owner_access": 7,
        "global_access": everybody,
        "share": [{"tenant": f"{scope}:{uuid}", "tenant_access": level}]
        if (scope := mine[0])
        and (uuid := {"tenant": PROJECTS[0], "domain": DOMAINS[0]}[scope])
        and (level := mine[1])
        else [],
    },
    st.sampled_from([0, 1, 4, 5]),
    st.tuples(st.sampled_from(["tenant", "domain"]), st.sampled_from([0, 1, 2, 4, 6])),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(stranger, min_size=3, max_size=3))
def test_a_link_needs_x_and_nothing_else(policies):
    mine = {"owner": PROJECTS[0], "owner_access": 7, "global_access": 0, "share": []}
    specs = [("virtual-network", 0, mine, True, 0)]
    specs += [("network-policy", 1, perms2, True, 0) for perms2 in policies]
    specs += [("virtual-network", 1, perms2, True, 0) for perms2 in policies]
    specs += [("virtual-machine-interface", 0, mine, True, n) for n in range(4)]
    caller = Caller("tess", frozenset({"member"}), project=PROJECTS[0], domain=DOMAINS[0])
    asyncio.run(check_writes(World(specs), caller))
