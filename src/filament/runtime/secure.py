"""Switching a fresh stream to TLS once both ends have agreed to (RFC 6120 section 5)."""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol

from filament.base.errors import ProtocolError
from filament.runtime.tls import names_of

_READ_BYTES = 4096


class Agreement(Protocol):
    """The talk before the handshake, sans-IO: `wire.xmpp.starttls`."""

    @property
    def is_agreed(self) -> bool:
        """Whether the handshake may begin."""

    def receive_data(self, data: bytes) -> None:
        """Take bytes; raises ProtocolError."""

    def data_to_send(self) -> bytes:
        """Return and forget what to write."""


async def secure(
    agreement: Agreement,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    context: ssl.SSLContext,
    *,
    within_s: float,
    host: str | None = None,
) -> set[str]:
    """Agree, shake hands, and return the names in the peer's certificate.

    `host` is whom a client connects to; None for a server. Raises `ProtocolError` that says what
    was wrong; the caller closes the stream.
    """
    try:
        async with asyncio.timeout(within_s):
            writer.write(agreement.data_to_send())
            while not agreement.is_agreed:
                try:
                    agreement.receive_data(await reader.read(_READ_BYTES))
                finally:
                    writer.write(agreement.data_to_send())
            await writer.start_tls(context, server_hostname=host, ssl_handshake_timeout=within_s)
    except TimeoutError:
        raise ProtocolError(
            "policy-violation",
            f"TLS was not agreed on within {within_s:g} s: does the peer have xmpp_auth_enable?",
        ) from None
    except ssl.SSLCertVerificationError as error:
        raise ProtocolError(
            "not-authorized", f"the peer's certificate is refused: {error.verify_message}"
        ) from error
    except OSError as error:  # ssl.SSLError is one
        reason = getattr(error, "reason", None) or error.strerror or str(error)
        raise ProtocolError("reset", f"the TLS handshake failed: {reason}") from error
    return names_of(writer.get_extra_info("peercert") or {})
