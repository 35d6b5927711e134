"""TLS in which both sides prove who they are, by certificates of one authority."""

from __future__ import annotations

import ssl
from typing import Any, NamedTuple

from filament.base.errors import InputError


class MutualTls(NamedTuple):
    """PEM files: our certificate, its key, and the authority whose certificates are believed."""

    certificate: str
    key: str
    ca: str

    def server_context(self) -> ssl.SSLContext:
        """How to serve: every client must show a certificate. Raises InputError."""
        context = self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        """How to connect: the server's certificate must be of the host asked for. Raises
        InputError.
        """
        return self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def _load(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key)
        except OSError as error:  # ssl.SSLError is one
            raise InputError(
                "bad-tls-files",
                f"cannot prove who we are with {self.certificate} and {self.key}:"
                f" {error.strerror or error}",
                hint="give PEM files of a certificate and of its key",
            ) from error
        try:
            context.load_verify_locations(self.ca)
        except OSError as error:
            raise InputError(
                "bad-ca",
                f"cannot believe the certificates of {self.ca}: {error.strerror or error}",
                hint="give a PEM file",
            ) from error
        return context


def names_of(certificate: dict[str, Any]) -> set[str]:
    """Return the names a verified certificate stands for: DNS names and common names."""
    names = {value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"}
    for part in certificate.get("subject", ()):
        names |= {value for kind, value in part if kind == "commonName"}
    return names
