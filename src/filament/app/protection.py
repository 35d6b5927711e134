"""From settings to what protects the API: authentication and TLS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from filament.api.auth import Authentication, Verifier
from filament.api.roles import RoleNames
from filament.api.tokens import KeystoneTokens
from filament.api.users import LocalUsers
from filament.app.settings import ApiSettings, AuthSettings
from filament.base.errors import InputError
from filament.client.keystone import KeystoneClient, ServiceUser
from filament.client.trust import Trust
from filament.runtime import clock
from filament.runtime.serve import TlsFiles


class Protection(TypedDict):
    """Arguments of `run_api`."""

    authentication: Callable[[], Authentication]
    tls: TlsFiles | None


def api_protection(settings: ApiSettings) -> Protection:
    """What the settings ask for; InputError when they ask for half of it."""
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise InputError(
            "bad-settings",
            "one of api.tls_certificate and api.tls_key is missing",
            hint="give both, or neither",
        )
    tls = None
    if settings.tls_certificate:
        tls = TlsFiles(settings.tls_certificate, settings.tls_key)
    return Protection(authentication=lambda: _authentication(settings.auth), tls=tls)


def read_secret(path: str, name: str) -> str:
    """The secret in a file, without the space around it; "" for no file."""
    if not path:
        return ""
    try:
        secret = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("bad-settings", f"{name}: cannot read {path}: {error}") from error
    if not secret:
        raise InputError("bad-settings", f"{name}: {path} is empty", hint="write a secret into it")
    return secret


def _authentication(settings: AuthSettings) -> Authentication:
    return Authentication(
        verifier=_verifier(settings),
        aaa_mode=settings.aaa_mode,
        control_token=read_secret(settings.control_token, "api.auth.control_token"),
    )


def _verifier(settings: AuthSettings) -> Verifier | None:
    roles = RoleNames(settings.cloud_admin_role, settings.global_read_only_role)
    if settings.mode == "local":
        return LocalUsers(Path(settings.users), roles, clock.now)
    if settings.mode == "keystone":
        told = settings.keystone
        user = ServiceUser(
            name=told.user,
            password=read_secret(told.password_file, "api.auth.keystone.password_file"),
            project=told.project,
            user_domain=told.user_domain,
            project_domain=told.project_domain,
        )
        context = Trust(ca=told.ca, is_insecure=told.is_insecure).context()
        return KeystoneTokens(
            KeystoneClient(told.url, user, context),
            roles,
            clock.wall,
            url=told.url,
            token_ttl_s=told.token_ttl_s,
        )
    return None
