"""Keystone tokens: validated once, remembered until they expire, or for a while at most.

A revoked token works for at most `token_ttl_s` longer.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from filament.api.auth import Credentials, UnauthenticatedError
from filament.api.caller import Caller, dashed
from filament.api.roles import RoleNames
from filament.base.errors import TransientError
from filament.client.keystone import KeystoneClient, Token

MAX_REMEMBERED = 10_000
MAX_VALIDATIONS = 256  # at once; more are told to come again
MAX_TOKEN_BYTES = 16_384
REFUSED_S = 10.0


class _Known(NamedTuple):
    until: float
    caller: Caller | None


class KeystoneTokens:
    """Verifies X-Auth-Token headers. One per API process.

    Tokens are remembered by their hash; concurrent requests with one token ask keystone once.
    """

    def __init__(
        self,
        client: KeystoneClient,
        roles: RoleNames,
        wall: Callable[[], float],
        *,
        url: str,
        token_ttl_s: float,
    ) -> None:
        """`wall` is the clock in epoch seconds; `url` is where clients get tokens."""
        self._client = client
        self._roles = roles
        self._wall = wall
        self._url = url
        self._token_ttl_s = token_ttl_s
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[_Known]] = {}

    @property
    def challenge(self) -> str:
        """See Verifier."""
        return f'Keystone uri="{self._url}"'

    async def verify(self, credentials: Credentials) -> Caller:
        """See Verifier."""
        token = credentials.token
        if not token:
            raise UnauthenticatedError(
                f"authentication is needed: send a token of {self._url} as X-Auth-Token"
            )
        if len(token) > MAX_TOKEN_BYTES or not token.isascii() or not token.isprintable():
            raise UnauthenticatedError("the X-Auth-Token header is no token of keystone")
        key = hashlib.sha256(token.encode()).digest()
        known = self._known.get(key)
        if known is None or known.until <= self._wall():
            known = await self._ask(key, token)
        if known.caller is None:
            raise UnauthenticatedError("keystone does not accept the token; get another")
        return known.caller

    async def _ask(self, key: bytes, token: str) -> _Known:
        asking = self._asked.get(key)
        if asking is None:
            if len(self._asked) >= MAX_VALIDATIONS:
                raise TransientError(f"{MAX_VALIDATIONS} tokens are being validated; try again")
            asking = asyncio.ensure_future(self._validate(key, token))
            self._asked[key] = asking
            asking.add_done_callback(lambda _: self._asked.pop(key, None))
        # Whoever asked first may leave: the others still want the answer.
        return await asyncio.shield(asking)

    async def _validate(self, key: bytes, token: str) -> _Known:
        answer = await self._client.validate(token)
        now = self._wall()
        if answer is None or answer.expires <= now:
            known = _Known(now + REFUSED_S, None)
        else:
            until = min(now + self._token_ttl_s, answer.expires)
            known = _Known(until, self._caller(answer))
        self._known[key] = known
        self._known.move_to_end(key)
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return known

    def _caller(self, token: Token) -> Caller:
        project = token.project
        domain = token.domain
        if domain is None and project is not None:
            domain = project.domain
        if domain is None:
            domain = token.user.domain
        return self._roles.caller(
            token.user.name or token.user.id,
            (role.name for role in token.roles),
            dashed(project.id) if project is not None else None,
            dashed(domain.id) if domain is not None else None,
        )

    async def close(self) -> None:
        """Give up what is being asked and close the connections."""
        for asking in list(self._asked.values()):
            asking.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)
        await self._client.close()
