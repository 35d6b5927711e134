"""Settings of the roles: a TOML file, overridden by the environment, overridden by options.

    run = "/run/filament"            # sockets of the roles       (FILAMENT_RUN)
    state = "/var/lib/filament"      # what survives restarts     (FILAMENT_STATE)
    bpffs = "/sys/fs/bpf"            # where agents pin           (FILAMENT_BPFFS)
    log_level = "info"

    [api]
    listen = ["127.0.0.1:8082"]      # besides RUN/api.sock, which is always served
    store = "sqlite:/var/lib/filament/filament.db"  # or "etcd:http://10.0.0.1:2379,http://..."
    retain_commits = 100000          # how far back `filament history` goes
    tls_certificate = "/etc/filament/api.crt"   # with tls_key: the TCP addresses speak HTTPS
    tls_key = "/etc/filament/api.key"

    [api.auth]
    mode = "keystone"                # none, local or keystone
    aaa_mode = "rbac"                # no-auth, cloud-admin or rbac
    cloud_admin_role = "admin"
    global_read_only_role = ""       # nobody
    users = "/etc/filament/users.json"          # mode local: made by `filament passwd`
    control_token = "/etc/filament/control.token"  # control nodes of other machines show it
    keystone = { url = "https://keystone:5000", user = "filament", password_file = "...", ca = "" }

    [control]
    name = "ctl1"
    api = "unix:/run/filament/api.sock"          # or several, with commas: processes of one API
    xmpp = "0.0.0.0:5269"
    xmpp_auth_enable = false                    # TLS with agents, as TF names it; both must
    xmpp_server_cert = "/etc/filament/ctl1.crt" # of this machine: of the name or address that
    xmpp_server_key = "/etc/filament/ctl1.key"  # agents are told, or of the agent's own name
    xmpp_ca_cert = "/etc/filament/ca.crt"       # who signed the others'
    bgp = ["0.0.0.0"]                # where to listen for BGP; the port is our bgp-router's
    introspect = "127.0.0.1:8083"    # Sandesh introspect over HTTP; "" for none
    api_token = "/etc/filament/control.token"   # when `api` is another machine's
    api_ca = "/etc/filament/ca.crt"             # for an https:// api; the system's own otherwise

    [agent]
    name = "host1"
    address = "172.30.0.1"           # tunnel end
    controls = ["172.30.0.10:5269"]
    underlay = "eth0"
    # and xmpp_auth_enable, xmpp_server_cert, ... as above
    port_listen = "127.0.0.1:9091"   # TF's port API, besides RUN/agent-NAME.sock
    introspect = "127.0.0.1:8085"    # Sandesh introspect over HTTP; "" for none
    session_log = "/var/log/filament/sessions.jsonl"  # what flows were; "" (the default) for none
    session_log_bytes = 67108864     # of one file; then it is called .1 and another begins
    session_log_files = 8            # former ones that are kept
    flow_table = 1048576             # flows that the host may have, some 200 bytes of memory each
    max_vm_flows = 0.0               # percent of these that one port may have; 0 for no limit

Everything has a default except the agent's name, address and controls. An unknown key is an error:
a misspelt setting must not be silently ignored.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from filament.base.errors import InputError
from filament.base.limits import MAX_FLOW_TABLE, MIN_FLOW_TABLE

DEFAULT_FILE = Path("/etc/filament/filament.toml")
_PATHS_BY_VARIABLE = {"FILAMENT_RUN": "run", "FILAMENT_STATE": "state", "FILAMENT_BPFFS": "bpffs"}


class KeystoneSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where tokens are validated, and as whom: a user with a role in `project`.

    `token_ttl_s` is how long a validated token is believed without asking again, and so how long
    a revoked one may still work.
    """

    url: str = "http://127.0.0.1:5000"
    user: str = "filament"
    password_file: str = ""
    project: str = "service"
    user_domain: str = "Default"
    project_domain: str = "Default"
    ca: str = ""
    is_insecure: bool = False
    token_ttl_s: float = 60.0


class AuthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the API knows its callers, and what it checks; see docs/operations/auth.md."""

    mode: Literal["none", "local", "keystone"] = "none"
    aaa_mode: Literal["no-auth", "cloud-admin", "rbac"] = "cloud-admin"
    cloud_admin_role: str = "admin"
    global_read_only_role: str = ""
    users: str = "/etc/filament/users.json"
    control_token: str = ""
    keystone: KeystoneSettings = KeystoneSettings()


class ApiSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The configuration API; `listen` are addresses besides the unix socket.

    `store` is `sqlite:PATH` or `etcd:http://HOST:PORT,...`; "" is STATE/filament.db.
    `retain_commits` is how far back history goes.
    """

    listen: tuple[str, ...] = ("127.0.0.1:8082",)
    store: str = ""
    retain_commits: Annotated[int, msgspec.Meta(ge=1)] = 100_000
    tls_certificate: str = ""
    tls_key: str = ""
    auth: AuthSettings = AuthSettings()


class XmppSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """TLS between agents and control nodes, under TF's names; files are PEM."""

    xmpp_auth_enable: bool = False
    xmpp_server_cert: str = "/etc/filament/xmpp.crt"
    xmpp_server_key: str = "/etc/filament/xmpp.key"
    xmpp_ca_cert: str = "/etc/filament/ca.crt"


class ControlSettings(XmppSettings, frozen=True, forbid_unknown_fields=True):
    """A control node; `api` "" is the API of this machine by its unix socket. With commas between
    them it is several processes of one API: one is followed, all are reported to. `bgp` are the
    addresses to listen on for BGP peers, once there is a bgp-router of the node's name.
    """

    name: str = "ctl1"
    api: str = ""
    xmpp: str = "0.0.0.0:5269"
    bgp: tuple[str, ...] = ("0.0.0.0",)
    introspect: str = "127.0.0.1:8083"
    api_token: str = ""
    api_ca: str = ""
    is_api_insecure: bool = False


class AgentSettings(XmppSettings, frozen=True, forbid_unknown_fields=True):
    """The agent of a compute host; name, address and controls have no sensible default.

    `port_listen` is where TF's clients plug ports, besides the unix socket; "" is nowhere.
    """

    name: str = ""
    address: str = ""
    controls: tuple[str, ...] = ()
    underlay: str = "eth0"
    port_listen: str = "127.0.0.1:9091"
    introspect: str = "127.0.0.1:8085"
    session_log: str = ""
    session_log_bytes: Annotated[int, msgspec.Meta(ge=4096)] = 64 * 1024 * 1024
    session_log_files: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 8
    flow_table: Annotated[int, msgspec.Meta(ge=MIN_FLOW_TABLE, le=MAX_FLOW_TABLE)] = 1024 * 1024
    max_vm_flows: Annotated[float, msgspec.Meta(ge=0, le=100)] = 0.0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a process of ours is told from outside; fixed for its life."""

    run: str = "/run/filament"
    state: str = "/var/lib/filament"
    bpffs: str = "/sys/fs/bpf"
    log_level: str = "info"
    api: ApiSettings = ApiSettings()
    control: ControlSettings = ControlSettings()
    agent: AgentSettings = AgentSettings()

    @property
    def api_socket(self) -> str:
        """Where the API always listens, and a control node of this machine finds it."""
        return f"unix:{self.run}/api.sock"

    @property
    def control_socket(self) -> str:
        """The control node's own HTTP server."""
        return f"unix:{self.run}/control-{self.control.name}.sock"

    @property
    def agent_socket(self) -> str:
        """The agent's own HTTP server."""
        return f"unix:{self.run}/agent-{self.agent.name}.sock"

    @property
    def database(self) -> Path:
        """The API's SQLite file."""
        return Path(self.state, "filament.db")

    @property
    def store(self) -> str:
        """The address of the API's store."""
        return self.api.store or f"sqlite:{self.database}"

    @property
    def control_copy(self) -> Path:
        """The control node's copy of the last snapshot, to start from while the API is away."""
        return Path(self.state, f"control-{self.control.name}.json")

    @property
    def agent_state(self) -> Path:
        """The agent's ports and ids."""
        return Path(self.state, f"agent-{self.agent.name}")

    @property
    def pins(self) -> Path:
        """The agent's pinned maps, programs and links."""
        return Path(self.bpffs, "filament", self.agent.name)


def load_settings(path: Path | None, environment: Mapping[str, str]) -> Settings:
    """Read settings from `path` (None: the default file, if it exists) and the environment.

    Raises InputError that names the file, the place in it and what would be right.
    """
    file = path or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    values = _read(file) if file is not None else {}
    for variable, name in _PATHS_BY_VARIABLE.items():
        if environment.get(variable):
            values[name] = environment[variable]
    try:
        settings = msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise InputError(
            "bad-settings",
            f"{file or 'settings'}: {error}",
            hint="the keys are described in filament/app/settings.py",
        ) from error
    for name in _PATHS_BY_VARIABLE.values():
        directory = getattr(settings, name)
        if not directory.startswith("/"):
            raise InputError(
                "bad-settings",
                f"{name} = {directory!r} is no absolute path",
                hint="processes may be started anywhere: write it from /",
            )
    return settings


def _read(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise InputError(
            "bad-settings", f"cannot read settings from {file}: {error.strerror}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError("bad-settings", f"{file} is not TOML: {error}") from error
