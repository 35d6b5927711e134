"""Tokens of a real keystone, from Debian's packages, on loopback and in a directory of its own."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time

import httpx2
import pytest

from filament.api.auth import Credentials, UnauthenticatedError
from filament.api.roles import RoleNames
from filament.api.tokens import KeystoneTokens
from filament.base.errors import PermanentError, TransientError
from filament.client.keystone import KeystoneClient, ServiceUser

pytestmark = pytest.mark.heavy

PACKAGES = ["keystone", "mariadb-server", "python3-pymysql"]
PASSWORD = "of-the-test"
# Debian's tools are Python programs too: ours must not be found before theirs.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}
PATIENCE_S = 120


def install():
    tools = ("keystone-manage", "keystone-wsgi-public", "mariadbd", "mariadb-install-db")
    if all(shutil.which(one, path=ENVIRONMENT["PATH"]) for one in tools):
        return
    environment = ENVIRONMENT | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update"], env=environment, check=True)
    command = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
    subprocess.run(command, env=environment, check=True, stdin=subprocess.DEVNULL)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def process(command, log, **more):
    with log.open("wb") as out:
        started = subprocess.Popen(command, stdout=out, stderr=out, env=ENVIRONMENT, **more)
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(30)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


def wait_until(answers, started, log):
    until = time.monotonic() + PATIENCE_S
    while not answers():
        if started.poll() is not None or time.monotonic() > until:
            pytest.fail(f"{started.args[0]} does not run:\n{log.read_text()[-4000:]}")
        time.sleep(0.2)


@contextlib.contextmanager
def mariadb(directory):
    """A database server on a unix socket; yields the path of the socket."""
    place, sock = directory / "db", directory / "db.sock"
    command = ["mariadb-install-db", "--no-defaults", f"--datadir={place}", "--user=mysql"]
    shutil.chown(directory, "mysql")
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True)
    command = [
        "mariadbd",
        "--no-defaults",
        f"--datadir={place}",
        f"--socket={sock}",
        f"--pid-file={directory}/db.pid",
        "--skip-networking",
        "--user=mysql",
    ]

    def sql(text):
        command = ["mariadb", "--no-defaults", f"--socket={sock}", "-e", text]
        return subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=False)

    with process(command, directory / "db.log") as server:
        wait_until(lambda: sql("select 1").returncode == 0, server, directory / "db.log")
        sql("create database keystone character set utf8")
        sql(f"create user keystone@localhost identified by '{PASSWORD}'")
        assert sql("grant all on keystone.* to keystone@localhost").returncode == 0
        yield sock


@pytest.fixture(scope="module")
def keystone(tmp_path_factory):
    install()
    directory = tmp_path_factory.mktemp("keystone")
    for one in (directory, *directory.parents[:3]):
        one.chmod(one.stat().st_mode | 0o711)  # the database server is not root
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with mariadb(directory) as sock:
        configuration = directory / "keystone.conf"
        configuration.write_text(
            "[database]\n"
            f"connection = mysql+pymysql://keystone:{PASSWORD}@localhost/keystone"
            f"?unix_socket={sock}\n"
            "[token]\nprovider = fernet\n"
            f"[fernet_tokens]\nkey_repository = {directory}/fernet\n"
            f"[credential]\nkey_repository = {directory}/credential\n"
            "[cache]\nenabled = false\n"
        )

        def manage(*arguments):
            command = ["keystone-manage", "--config-file", str(configuration), *arguments]
            done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=False)
            assert done.returncode == 0, done.stderr.decode()[-4000:]

        (directory / "fernet").mkdir(mode=0o700)
        (directory / "credential").mkdir(mode=0o700)
        manage("db_sync")
        manage("fernet_setup", "--keystone-user", "root", "--keystone-group", "root")
        manage("credential_setup", "--keystone-user", "root", "--keystone-group", "root")
        manage(
            "bootstrap",
            "--bootstrap-password",
            PASSWORD,
            "--bootstrap-public-url",
            f"{url}/v3/",
            "--bootstrap-region-id",
            "here",
        )
        command = ["keystone-wsgi-public", "--host", "127.0.0.1", "--port", str(port), "--"]
        command += ["--config-file", str(configuration)]
        log = directory / "keystone.log"
        with process(command, log, cwd=directory) as server:

            def answers():
                with contextlib.suppress(httpx2.HTTPError):
                    return httpx2.get(f"{url}/v3", trust_env=False, timeout=10).status_code == 200
                return False

            wait_until(answers, server, log)
            yield url


class Admin:
    """Keystone as an operator uses it."""

    def __init__(self, url):
        self.http = httpx2.Client(base_url=f"{url}/v3", trust_env=False, timeout=30)
        self.token = self.issue("admin", PASSWORD, {"project": scope("admin")})
        self.http.headers["X-Auth-Token"] = self.token

    def issue(self, user, password, where=None):
        named = {"name": user, "domain": {"id": "default"}, "password": password}
        identity = {"methods": ["password"], "password": {"user": named}}
        auth = {"identity": identity} | ({"scope": where} if where else {})
        answer = self.http.post("/auth/tokens", json={"auth": auth})
        assert answer.status_code == 201, answer.text
        return answer.headers["X-Subject-Token"]

    def make(self, what, **fields):
        answer = self.http.post(f"/{what}s", json={what: fields})
        assert answer.status_code == 201, answer.text
        return answer.json()[what]["id"]

    def grant(self, project, user, role):
        roles = self.http.get("/roles").json()["roles"]
        role_id = next(one["id"] for one in roles if one["name"] == role)
        answer = self.http.put(f"/projects/{project}/users/{user}/roles/{role_id}")
        assert answer.status_code == 204, answer.text

    def revoke(self, token):
        answer = self.http.delete("/auth/tokens", headers={"X-Subject-Token": token})
        assert answer.status_code == 204, answer.text


def scope(project):
    return {"name": project, "domain": {"id": "default"}}


async def test_tokens_of_a_real_keystone(keystone):
    admin = await asyncio.to_thread(Admin, keystone)
    service = admin.make("project", name="service", domain_id="default")
    demo = admin.make("project", name="demo", domain_id="default")
    ours = admin.make("user", name="filament", password="f", domain_id="default")
    tess = admin.make("user", name="tess", password="t", domain_id="default")
    admin.grant(service, ours, "admin")
    admin.grant(demo, tess, "member")
    clock = [time.time()]

    def tokens(password="f", url=keystone):
        client = KeystoneClient(url, ServiceUser("filament", password, "service"))
        return KeystoneTokens(client, RoleNames(), lambda: clock[0], url=url, token_ttl_s=60.0)

    verifier = tokens()
    # A project's own uuid has no dashes in keystone, and has them in ours.
    token = admin.issue("tess", "t", {"project": scope("demo")})
    caller = await verifier.verify(Credentials(token=token))
    assert caller.user == "tess"
    assert "member" in caller.roles
    assert caller.project.replace("-", "") == demo
    assert caller.project.count("-") == 4
    assert caller.domain == "default"
    assert not caller.is_cloud_admin
    assert (await verifier.verify(Credentials(token=admin.token))).is_cloud_admin
    unscoped = await verifier.verify(Credentials(token=admin.issue("tess", "t")))
    assert unscoped.project is None
    assert not unscoped.roles
    with pytest.raises(UnauthenticatedError):
        await verifier.verify(Credentials(token="forged"))
    # A revoked token is believed until token_ttl_s is over.
    admin.revoke(token)
    assert await verifier.verify(Credentials(token=token)) == caller
    clock[0] += 61
    with pytest.raises(UnauthenticatedError):
        await verifier.verify(Credentials(token=token))
    # Our own token is revoked behind our back: another is asked for.
    admin.revoke(verifier._client._token)
    clock[0] += 61
    assert (await verifier.verify(Credentials(token=admin.token))).is_cloud_admin
    before = time.perf_counter()
    for _ in range(20):
        clock[0] += 61
        await verifier.verify(Credentials(token=admin.token))
    print(f"validation: {(time.perf_counter() - before) / 20 * 1e3:.1f} ms")
    await verifier.close()
    wrong = tokens(password="wrong")
    with pytest.raises(PermanentError, match="refuses the service user filament"):
        await wrong.verify(Credentials(token=admin.token))
    await wrong.close()
    away = tokens(url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TransientError, match="does not answer"):
        await away.verify(Credentials(token=admin.token))
    await away.close()
    admin.http.close()
