"""How a client and the API prove themselves to one another: credentials out, certificates in."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from filament.base.errors import InputError

if TYPE_CHECKING:
    from ssl import SSLContext


class Trust(NamedTuple):
    """What a client shows, and whom it believes.

    `token` is a control node's token, `auth_token` one of keystone, `user` and `password` a local
    user's. `ca` is a PEM file of certificates to believe for https:// ("": the system's);
    `is_insecure` believes any.
    """

    token: str = ""
    auth_token: str = ""
    user: str = ""
    password: str = ""
    ca: str = ""
    is_insecure: bool = False

    def headers(self) -> dict[str, str]:
        """The request headers that show who we are."""
        headers = {}
        if self.auth_token:
            headers["X-Auth-Token"] = self.auth_token
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        elif self.user:
            pair = f"{self.user}:{self.password}".encode()
            headers["Authorization"] = f"Basic {b2a_base64(pair, newline=False).decode()}"
        return headers

    def context(self) -> SSLContext:
        """How to check the server's certificate."""
        # Imported here: who talks over a unix socket or plain TCP does without.
        import ssl  # noqa: PLC0415

        try:
            context = ssl.create_default_context(cafile=self.ca or None)
        except OSError as error:  # ssl.SSLError is one
            raise InputError(
                "bad-ca",
                f"cannot believe the certificates of {self.ca}: {error.strerror or error}",
                hint="give a PEM file",
            ) from error
        if self.is_insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


NO_TRUST = Trust()


def trust_of(environment: Mapping[str, str]) -> Trust:
    """What a person's environment says: FILAMENT_TOKEN (or OS_TOKEN) is keystone's, FILAMENT_USER
    and FILAMENT_PASSWORD a local user's; FILAMENT_CA and FILAMENT_INSECURE are about the server.
    """
    return Trust(
        auth_token=environment.get("FILAMENT_TOKEN") or environment.get("OS_TOKEN", ""),
        user=environment.get("FILAMENT_USER", ""),
        password=environment.get("FILAMENT_PASSWORD", ""),
        ca=environment.get("FILAMENT_CA", ""),
        is_insecure=environment.get("FILAMENT_INSECURE", "") not in {"", "0"},
    )
