"""HTTP over TLS: the same connection with certificates, in a file of its own that few import."""

from __future__ import annotations

import socket
import ssl

from filament.client.connection import Connection


class TlsConnection(Connection):
    """A connection whose server proves that it is called `host`."""

    def __init__(self, host: str, port: int, timeout_s: float, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout_s)
        self._context = context

    def _opened(self) -> socket.socket:
        plain = super()._opened()
        try:
            return self._context.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise
