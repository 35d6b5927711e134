"""The door: who is let in how, and what is told to those who are not."""

import asyncio
import base64
import contextlib
import json
import subprocess

import httpx2
import pytest

from filament.api.auth import Authentication, Credentials, UnauthenticatedError
from filament.api.caller import Caller
from filament.api.permission import granted, letters
from filament.api.rbac import Rules
from filament.api.roles import RoleNames
from filament.api.tokens import KeystoneTokens
from filament.api.users import LocalUsers, User, hash_password, is_password, read_users, write_user
from filament.app.protection import api_protection, read_secret
from filament.app.settings import ApiSettings
from filament.base.errors import ForbiddenError, InputError, NotFoundError, TransientError
from filament.cli.main import run
from filament.cli.session import Session
from filament.client.keystone import KeystoneClient, ServiceUser
from filament.client.sync import Client
from filament.client.trust import Trust, trust_of
from filament.client.watch import WatchClient
from filament.runtime.serve import TlsFiles

from .served import ServedApi

PROJECT = "11111111-2222-4333-8444-555555555555"
NOW = 1_795_185_000.0


# -- local users -----------------------------------------------------------------------------


def basic(user, password):
    return Credentials("Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())


@pytest.fixture(scope="module")
def users_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("users") / "users.json"
    write_user(path, "root", User(hash_password("toor"), roles=("Admin",)))
    write_user(path, "tess", User(hash_password("secret"), ("member",), project=PROJECT))
    write_user(path, "olga", User(hash_password("look"), roles=("Auditor",)))
    return path


async def test_local_users_are_known_by_their_passwords(users_file, monkeypatch):
    clock = [0.0]
    users = LocalUsers(users_file, RoleNames(global_reader="auditor"), lambda: clock[0])
    root = await users.verify(basic("root", "toor"))
    assert root == Caller("root", frozenset({"admin"}), is_cloud_admin=True)
    tess = await users.verify(basic("tess", "secret"))
    assert tess == Caller("tess", frozenset({"member"}), project=PROJECT)
    assert (await users.verify(basic("olga", "look"))).is_global_reader
    for user, password in (("tess", "toor"), ("nobody", "x"), ("tess", "")):
        with pytest.raises(UnauthenticatedError, match=f"user '{user}' or the password is wrong"):
            await users.verify(basic(user, password))
    for text, why in (
        ("", "send user and password"),
        ("Bearer x", "send user and password"),
        ("Basic %%%", "is no HTTP Basic"),
        ("Basic " + base64.b64encode(b"tess").decode(), "has no password"),
    ):
        with pytest.raises(UnauthenticatedError, match=why):
            await users.verify(Credentials(text))
    # A password found right is not computed again until it is forgotten.
    checked = []
    monkeypatch.setattr(
        "filament.api.users.is_password", lambda *pair: checked.append(pair) or True
    )
    await users.verify(basic("tess", "secret"))
    assert not checked
    clock[0] += 301
    await users.verify(basic("tess", "secret"))
    assert len(checked) == 1
    await users.close()


async def test_a_changed_users_file_counts_at_once(tmp_path):
    path = tmp_path / "users.json"
    write_user(path, "tess", User(hash_password("old")))
    assert path.stat().st_mode & 0o777 == 0o600
    users = LocalUsers(path, RoleNames(), lambda: 0.0)
    await users.verify(basic("tess", "old"))
    write_user(path, "tess", User(hash_password("new")))
    with pytest.raises(UnauthenticatedError):
        await users.verify(basic("tess", "old"))
    await users.verify(basic("tess", "new"))
    await users.close()


def test_bad_users_files_are_explained(tmp_path):
    path = tmp_path / "users.json"
    with pytest.raises(
        InputError, match=r"cannot read users from .*; make it with `filament passw"
    ):
        LocalUsers(path, RoleNames(), lambda: 0.0)
    path.write_text('{"users": {"tess": {"password": "plain"}}}')
    with pytest.raises(InputError, match="password of user tess is no scrypt hash"):
        LocalUsers(path, RoleNames(), lambda: 0.0)
    path.write_text('{"users": 7}')
    with pytest.raises(InputError, match="is no users file"):
        LocalUsers(path, RoleNames(), lambda: 0.0)
    with pytest.raises(InputError, match="'a:b' is no user name"):
        write_user(path, "a:b", User("x"))


# -- keystone, by answers in its documented format -------------------------------------------


def answer_for(*, project=True, roles=("member",), expires="2026-11-20T15:30:00.000000Z"):
    token = {
        "methods": ["password"],
        "user": {
            "domain": {"id": "default", "name": "Default"},
            "id": "0ca8f6f4f3a54f6aa0f4d5b7c5c1b111",
            "name": "tess",
            "password_expires_at": None,
        },
        "audit_ids": ["mAjXQhiYRyKwkB4qygdLVg"],
        "expires_at": expires,
        "issued_at": "2026-11-20T14:30:00.000000Z",
        "roles": [{"id": f"id-{role}", "name": role} for role in roles],
    }
    if project:
        token["project"] = {
            "domain": {"id": "default", "name": "Default"},
            "id": PROJECT.replace("-", ""),
            "name": "demo",
        }
        token["is_domain"] = False
    return {"token": token}


class RecordedKeystone:
    """Answers as keystone does, and remembers what it was asked."""

    def __init__(self):
        self.answers = {}
        self.asked = []
        self.issued = 0
        self.is_away = False
        self.valid_service_token = ""

    def __call__(self, request):
        if self.is_away:
            raise httpx2.ConnectError("refused", request=request)
        assert request.url.path == "/v3/auth/tokens"
        if request.method == "POST":
            asked = json.loads(request.content)["auth"]
            assert asked["identity"]["password"]["user"]["name"] == "filament"
            assert asked["scope"]["project"]["name"] == "service"
            self.issued += 1
            self.valid_service_token = f"service{self.issued}"
            headers = {"X-Subject-Token": self.valid_service_token}
            return httpx2.Response(201, json=answer_for(), headers=headers)
        if request.headers["x-auth-token"] != self.valid_service_token:
            return httpx2.Response(401, json={"error": {"code": 401, "title": "Unauthorized"}})
        token = request.headers["x-subject-token"]
        self.asked.append(token)
        if token not in self.answers:
            return httpx2.Response(404, json={"error": {"code": 404, "title": "Not Found"}})
        return httpx2.Response(200, json=self.answers[token])


@pytest.fixture
async def keystone(monkeypatch):
    recorded = RecordedKeystone()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", lambda **_: httpx2.MockTransport(recorded))
    recorded.clock = [NOW]
    client = KeystoneClient("http://keystone:5000/v3/", ServiceUser("filament", "pw", "service"))
    recorded.tokens = KeystoneTokens(
        client,
        RoleNames(),
        lambda: recorded.clock[0],
        url="http://keystone:5000",
        token_ttl_s=60.0,
    )
    yield recorded
    await recorded.tokens.close()


async def test_tokens_are_validated_once_and_remembered_for_a_while(keystone):
    keystone.answers = {
        "tess": answer_for(),
        "root": answer_for(roles=("ADMIN", "member"), project=False),
    }
    tess = await keystone.tokens.verify(Credentials(token="tess"))
    assert tess == Caller("tess", frozenset({"member"}), project=PROJECT, domain="default")
    assert (await keystone.tokens.verify(Credentials(token="root"))).is_cloud_admin
    many = [keystone.tokens.verify(Credentials(token="tess")) for _ in range(5)]
    assert set(await asyncio.gather(*many)) == {tess}
    assert keystone.asked == ["tess", "root"]
    assert keystone.issued == 1
    # Revoked: it is believed for token_ttl_s at most.
    del keystone.answers["tess"]
    keystone.clock[0] += 61
    with pytest.raises(UnauthenticatedError, match="keystone does not accept the token"):
        await keystone.tokens.verify(Credentials(token="tess"))


async def test_concurrent_requests_with_one_token_ask_once(keystone):
    keystone.answers = {"tess": answer_for()}
    many = [keystone.tokens.verify(Credentials(token="tess")) for _ in range(20)]
    assert len(set(await asyncio.gather(*many))) == 1
    assert keystone.asked == ["tess"]


async def test_a_token_is_not_believed_after_it_expires(keystone):
    keystone.answers = {"tess": answer_for(expires="2026-11-20T14:30:10.000000Z")}
    assert (await keystone.tokens.verify(Credentials(token="tess"))).user == "tess"
    keystone.clock[0] += 11
    with pytest.raises(UnauthenticatedError):
        await keystone.tokens.verify(Credentials(token="tess"))
    assert keystone.asked == ["tess", "tess"]


async def test_unknown_tokens_are_remembered_too_and_absurd_ones_not_asked(keystone):
    for _ in range(3):
        with pytest.raises(UnauthenticatedError):
            await keystone.tokens.verify(Credentials(token="forged"))
    assert keystone.asked == ["forged"]
    for token in ("x" * 20_000, "a\x07b", "caf\xe9"):
        with pytest.raises(UnauthenticatedError, match="is no token of keystone"):
            await keystone.tokens.verify(Credentials(token=token))
    assert keystone.asked == ["forged"]


async def test_an_expired_service_token_is_renewed(keystone):
    keystone.answers = {"a": answer_for(), "b": answer_for()}
    await keystone.tokens.verify(Credentials(token="a"))
    keystone.valid_service_token = "rotated"
    await keystone.tokens.verify(Credentials(token="b"))
    assert keystone.issued == 2


async def test_keystone_away_is_said_and_known_tokens_still_work(keystone):
    keystone.answers = {"a": answer_for()}
    await keystone.tokens.verify(Credentials(token="a"))
    keystone.is_away = True
    assert await keystone.tokens.verify(Credentials(token="a"))
    with pytest.raises(TransientError, match=r"keystone at http://keystone:5000.* does not answer"):
        await keystone.tokens.verify(Credentials(token="b"))


# -- role rules ------------------------------------------------------------------------------


def rules(*listed):
    return Rules(
        [
            {
                "rbac_rule": [
                    {
                        "rule_object": name,
                        "rule_field": field,
                        "rule_perms": [{"role_name": role, "role_crud": crud}],
                    }
                    for name, field, role, crud in listed
                ]
            }
        ]
    )


def test_rules_add_up_and_fall_back_from_field_to_object_to_all():
    member = frozenset({"member"})
    made = rules(
        ("virtual-network", "", "Member", "R"),
        ("virtual_network", None, "member", "u"),
        ("virtual-network", "is_shared", "boss", "CRUD"),
        ("*", "*", "*", "R"),
    )
    assert made.lacking(member, "virtual-network", "R") is None
    assert made.lacking(member, "virtual-network", "U", ["mtu"]) is None
    assert made.lacking(member, "virtual-network", "U", ["mtu", "is_shared"]) == "is_shared"
    assert made.lacking(member | {"boss"}, "virtual-network", "U", ["is_shared"]) is None
    assert made.lacking(member, "virtual-network", "D") == ""
    assert made.lacking(frozenset(), "network-policy", "R") is None
    assert made.lacking(member, "network-policy", "C") == ""
    assert rules(("project", ["a", "b"], "x", "U")).lacking({"x"}, "project", "U", ["b"]) is None


# -- perms2 ----------------------------------------------------------------------------------

OTHER = "99999999-2222-4333-8444-555555555555"


@pytest.mark.parametrize(
    ("perms2", "expected"),
    [
        ({}, ""),
        ({"owner": PROJECT}, "RWX"),
        ({"owner": PROJECT.replace("-", ""), "owner_access": 4}, "R"),
        ({"owner": OTHER, "owner_access": 7}, ""),
        ({"owner": OTHER, "global_access": 5}, "RX"),
        ({"owner": OTHER, "share": [{"tenant": PROJECT, "tenant_access": 2}]}, "W"),
        ({"share": [{"tenant": f"tenant:{PROJECT}", "tenant_access": 1}]}, "X"),
        ({"share": [{"tenant": f"domain:{OTHER}", "tenant_access": 6}]}, "RW"),
        ({"share": [{"tenant": f"domain:{PROJECT}", "tenant_access": 7}]}, ""),
        ({"share": [{"tenant": f"tenant:{OTHER}", "tenant_access": 7}]}, ""),
        ({"share": [{"tenant": f"galaxy:{PROJECT}", "tenant_access": 7}]}, ""),
        ({"owner": "", "share": [{"tenant": "", "tenant_access": 7}]}, ""),
        ({"global_access": 1, "share": [{"tenant": PROJECT, "tenant_access": 4}]}, "RX"),
    ],
)
def test_rights_come_from_owner_shares_and_everybody(perms2, expected):
    caller = Caller("tess", project=PROJECT, domain=OTHER)
    assert letters(granted(caller, perms2)) == expected
    nobody = Caller("nobody")
    assert granted(nobody, perms2) == (perms2.get("global_access") or 0)


# -- a served API ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    made = tmp_path_factory.mktemp("tls")
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
        f" -keyout {made}/key.pem -out {made}/cert.pem -subj /CN=localhost"
        " -addext subjectAltName=IP:127.0.0.1",
        shell=True,
        check=True,
        capture_output=True,
    )
    return TlsFiles(f"{made}/cert.pem", f"{made}/key.pem")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, users_file, certificate):
    def authentication():
        users = LocalUsers(users_file, RoleNames(global_reader="auditor"), lambda: 0.0)
        return Authentication(users, "rbac", "control-secret")

    made = tmp_path_factory.mktemp("guarded")
    with ServedApi(made, authentication=authentication, tls=certificate) as api:
        yield api


@pytest.fixture
def ask(guarded, certificate):
    made = []

    def client(user="", password="", **more):
        trust = Trust(user=user, password=password, ca=certificate.certificate, **more)
        made.append(Client(guarded.url, trust=trust))
        return made[-1]

    yield client
    for one in made:
        one.close()


def test_only_the_home_page_is_open(ask, guarded):
    assert ask().request("GET", "/").value["href"] == guarded.url
    with pytest.raises(ForbiddenError, match="send user and password"):
        ask().list("virtual-network")
    with pytest.raises(ForbiddenError, match="user 'tess' or the password is wrong"):
        ask("tess", "wrong").list("virtual-network")


def test_a_401_says_how_to_authenticate(guarded, certificate):
    context = Trust(ca=certificate.certificate).context()
    with httpx2.Client(verify=context, trust_env=False) as http:
        response = http.get(f"{guarded.url}/virtual-networks")
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Basic realm="filament", charset="UTF-8"'


def test_the_unix_socket_of_root_needs_no_credentials_unless_it_shows_some(guarded):
    with Client(guarded.socket) as client:
        assert client.list("project")
        assert client.request("GET", "/filament/status").value["role"] == "api"
    with (
        Client(guarded.socket, trust=Trust(user="tess", password="secret")) as client,
        pytest.raises(ForbiddenError, match="no api-access-list rule grants R on project"),
    ):
        client.list("project")


def test_what_rules_grant_and_what_is_missing(ask, guarded):
    admin, tess = ask("root", "toor"), ask("tess", "secret")
    admin.create("project", ["default-domain", "tess"], uuid=PROJECT)
    with pytest.raises(ForbiddenError, match="no api-access-list rule grants C on virtual-netw"):
        tess.create("virtual-network", ["default-domain", "tess", "red"])
    rule = {
        "rule_object": "*",
        "rule_field": "",
        "rule_perms": [{"role_name": "member", "role_crud": "CRUD"}],
    }
    admin.create(
        "api-access-list",
        ["default-domain", "tess", "rules"],
        parent_type="project",
        api_access_list_entries={"rbac_rule": [rule]},
    )
    red = tess.create("virtual-network", ["default-domain", "tess", "red"])
    assert tess.get("virtual-network", red)["perms2"]["owner"] == PROJECT.replace("-", "")
    blue = admin.create("virtual-network", ["default-domain", "default-project", "blue"])
    text = (
        rf"Permission Denied: read \(R\) access to virtual-network {blue} is missing;"
        rf" user tess of project {PROJECT} has no access; its owner may share it"
    )
    with pytest.raises(ForbiddenError, match=text):
        tess.get("virtual-network", blue)
    admin.update("virtual-network", blue, is_shared=True)
    assert admin.get("virtual-network", blue)["perms2"]["global_access"] == 7
    assert tess.get("virtual-network", blue)["is_shared"] is True
    with pytest.raises(ForbiddenError, match="only the project that owns virtual-network"):
        tess.delete("virtual-network", blue)
    instances = tess.get("virtual-network", red)["routing_instances"]
    assert tess.get("routing-instance", instances[0]["uuid"])["fq_name"][2] == "red"
    admin.update("virtual-network", blue, is_shared=False)
    hidden = admin.get("virtual-network", blue)["routing_instances"][0]["uuid"]
    with pytest.raises(ForbiddenError, match="read"):
        tess.get("routing-instance", hidden)
    for method, path in (
        ("GET", "/filament/snapshot"),
        ("GET", "/filament/log"),
        ("POST", "/unknown"),
    ):
        with pytest.raises(ForbiddenError, match="concerns the whole database"):
            tess.request(method, path)


def test_hidden_objects_do_not_exist_for_tenants(ask):
    admin, tess = ask("root", "toor"), ask("tess", "secret")
    name = ["default-domain", "tess", "inner"]
    inner = admin.create("virtual-network", name, id_perms={"user_visible": False})
    for call in (
        lambda: tess.get("virtual-network", inner),
        lambda: tess.uuid_of("virtual-network", name),
        lambda: tess.name_of(inner),
        lambda: tess.update("virtual-network", inner, mtu=1500),
        lambda: tess.delete("virtual-network", inner),
    ):
        with pytest.raises(NotFoundError, match=r"not found|No virtual_network"):
            call()
    with pytest.raises(Exception, match=r"default-domain:tess:inner already exists$"):
        tess.create("virtual-network", name)


def test_counts_are_of_what_the_caller_may_list(ask):
    admin, tess = ask("root", "toor"), ask("tess", "secret")

    def counted(client):
        return client.request("GET", "/filament/counts").value

    before = counted(admin), counted(tess)
    admin.create("virtual-network", ["default-domain", "default-project", "not-hers"])
    tess.create("virtual-network", ["default-domain", "tess", "hers"])
    after = counted(admin), counted(tess)
    for kind in ("virtual-network", "routing-instance"):
        gained = [then[kind] - now[kind] for then, now in zip(after, before, strict=True)]
        assert gained == [2, 1], kind
    listed = admin.list("virtual-network")
    assert after[0]["virtual-network"] == len(listed)


def test_nobody_is_told_of_strangers_by_name(ask):
    admin, tess = ask("root", "toor"), ask("tess", "secret")

    def called(client, name, **query):
        listed = client.request("GET", "/filament/called", name=name, **query).value["objects"]
        return sorted((one["type"], ":".join(one["fq_name"])) for one in listed)

    for project in ("default-project", "tess"):
        admin.create("virtual-network", ["default-domain", project, "same"])
    networks = [
        ("virtual-network", f"default-domain:{one}:same") for one in ("default-project", "tess")
    ]
    instances = [("routing-instance", f"{name}:same") for _, name in networks]
    assert called(admin, "same") == sorted([*networks, *instances])
    assert called(admin, "same", type="virtual-network") == networks
    assert called(admin, "default-domain:default-project:same") == networks[:1]
    assert called(admin, instances[0][1]) == instances[:1]
    owner = {"owner": PROJECT, "owner_access": 7, "global_access": 0, "share": []}
    (uuid,) = (
        one["uuid"]
        for one in admin.list("virtual-network")
        if one["fq_name"][1:] == ["tess", "same"]
    )
    admin.update("virtual-network", uuid, perms2=owner, display_name="shown")
    assert called(tess, "same") == [instances[1], networks[1]]
    assert called(tess, networks[0][1]) == []
    assert called(tess, "shown") == [networks[1]]
    with pytest.raises(Exception, match="give a name"):
        called(admin, "")
    with pytest.raises(NotFoundError, match="did you mean virtual-network"):
        called(admin, "same", type="virtual-netwrk")


def test_a_global_reader_reads_and_does_not_write(ask):
    olga = ask("olga", "look")
    listed = olga.list("virtual-network")
    assert listed
    assert olga.uuid_of("virtual-network", listed[0]["fq_name"]) == listed[0]["uuid"]
    assert olga.request("GET", "/filament/status").value["role"] == "api"
    with pytest.raises(ForbiddenError, match="no api-access-list rule grants U"):
        olga.update("virtual-network", listed[0]["uuid"], mtu=1500)
    for path, text in (
        ("/filament/snapshot", "/filament/snapshot holds what is hidden as well"),
        ("/filament/log", "/filament/log holds what is hidden as well"),
        ("/watch?after=0", r"/watch\?after= tells commits whole, hidden objects too"),
    ):
        with pytest.raises(ForbiddenError, match=text):
            olga.request("GET", path)


async def test_control_nodes_show_a_token_which_opens_nothing_else(guarded, certificate, ask):
    trust = Trust(token="control-secret", ca=certificate.certificate)
    async with WatchClient(guarded.url, trust) as client:
        loaded = await client.load()
        await client.report({"control": "ctl9", "revision": 1, "settled": 1, "agents": {}})
        async for commit in client.watch(loaded.revision - 1):
            assert commit.revision == loaded.revision
            break
    assert loaded.objects
    with pytest.raises(ForbiddenError, match="a control node's token does not open /projects"):
        ask(token="control-secret").list("project")
    with pytest.raises(ForbiddenError, match="send user and password"):
        ask(token="guess").list("project")


async def test_commits_name_the_user(ask, guarded, certificate):
    trust = Trust(token="control-secret", ca=certificate.certificate)
    async with WatchClient(guarded.url, trust) as client:
        loaded = await client.load()
        ask("root", "toor").create("virtual-machine", ["signed"])
        async for commit in client.watch(loaded.revision):
            assert commit.who == "root"
            break


def test_certificates_are_checked_unless_told_not_to(guarded):
    with Client(guarded.url) as client, pytest.raises(TransientError, match="CERTIFICATE_VERIFY"):
        client.request("GET", "/")
    with Client(guarded.url, trust=Trust(is_insecure=True)) as client:
        assert client.request("GET", "/").value["href"].startswith("https://127.0.0.1:")
    with pytest.raises(InputError, match="cannot believe the certificates of /none"):
        Client("https://x", trust=Trust(ca="/none"))


def test_the_command_line_finds_credentials_in_its_environment(guarded, certificate, monkeypatch):
    monkeypatch.setenv("FILAMENT_USER", "olga")
    monkeypatch.setenv("FILAMENT_PASSWORD", "look")
    monkeypatch.setenv("FILAMENT_CA", certificate.certificate)
    with contextlib.closing(Session(None, guarded.url)) as session:
        assert session.get("/filament/status")["role"] == "api"
    assert trust_of({"OS_TOKEN": "t"}).headers() == {"X-Auth-Token": "t"}
    assert trust_of({"FILAMENT_INSECURE": "1"}).is_insecure


def test_passwd_adds_and_changes_users(tmp_path, capsys):
    path = tmp_path / "users.json"
    add = ["passwd", "tess", "--file", str(path), "--password", "one", "--role", "member"]
    assert run([*add, "--project", PROJECT]) == 0
    assert "tess is in" in capsys.readouterr().out
    assert run(["passwd", "tess", "--file", str(path), "--password", "two"]) == 0
    user = read_users(path)["tess"]
    assert (user.roles, user.project) == (("member",), PROJECT)
    assert is_password("two", user.password)
    assert not is_password("one", user.password)


def test_half_settings_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"one of api.tls_certificate and api.tls_key is missing"):
        api_protection(ApiSettings(tls_key="x"))
    with pytest.raises(InputError, match=r"api.auth.control_token: cannot read /none"):
        read_secret("/none", "api.auth.control_token")
    (tmp_path / "empty").touch()
    with pytest.raises(InputError, match="is empty; write a secret into it"):
        read_secret(f"{tmp_path}/empty", "x")
