"""Local users: a JSON file with scrypt hashes, checked by HTTP Basic.

    {"users": {"alice": {"password": "scrypt:16384:8:1:SALT:HASH", "roles": ["admin"],
                         "project": "<uuid>", "domain": "<uuid>"}}}

The file is read again when it changes. A password costs some 50 ms of a thread to check, so that
a stolen file is of little use; passwords found right are remembered for a while.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from filament.api.auth import Credentials, UnauthenticatedError
from filament.api.caller import Caller, dashed
from filament.api.roles import RoleNames
from filament.base.errors import InputError, PermanentError, TransientError

_COST, _BLOCK, _PARALLEL = 16384, 8, 1
_MAX_MEMORY = 64 * 1024 * 1024
_SALT_BYTES = 16
REMEMBERED_S = 300.0
MAX_REMEMBERED = 10_000
MAX_CHECKS_WAITING = 64


class User(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One user as the file holds it; `password` is a hash."""

    password: str
    roles: tuple[str, ...] = ()
    project: str | None = None
    domain: str | None = None


class UsersFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file, by user name."""

    users: dict[str, User] = {}


_file = msgspec.json.Decoder(UsersFile)


def read_users(path: Path) -> dict[str, User]:
    """Read a users file; InputError names what is wrong with it."""
    try:
        users = _file.decode(path.read_bytes()).users
    except OSError as error:
        raise InputError(
            "bad-users-file",
            f"cannot read users from {path}: {error.strerror}",
            hint="make it with `filament passwd`",
        ) from error
    except msgspec.DecodeError as error:
        raise InputError("bad-users-file", f"{path} is no users file: {error}") from error
    for name, user in users.items():
        _parse(name, user.password)
    return users


def write_user(path: Path, name: str, user: User) -> None:
    """Add or replace one user; the file is replaced at once, readable by its owner only."""
    if not name or ":" in name:
        raise InputError(
            "bad-user-name", f"{name!r} is no user name", hint="it may not be empty, nor hold ':'"
        )
    users = read_users(path) if path.exists() else {}
    content = msgspec.json.format(msgspec.json.encode(UsersFile(users | {name: user})), indent=2)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as new:
        new.write(content + b"\n")
    Path(new.name).replace(path)


def hash_password(password: str) -> str:
    """`scrypt:N:r:p:SALT:HASH`, with a fresh salt."""
    salt = secrets.token_bytes(_SALT_BYTES)
    made = _scrypt(password, salt, _COST, _BLOCK, _PARALLEL)
    texts = (base64.b64encode(part).decode() for part in (salt, made))
    return ":".join((f"scrypt:{_COST}:{_BLOCK}:{_PARALLEL}", *texts))


def is_password(password: str, stored: str) -> bool:
    """Compare a password with a hash; takes some 50 ms."""
    cost, block, parallel, salt, expected = _parse("", stored)
    return hmac.compare_digest(_scrypt(password, salt, cost, block, parallel), expected)


def _scrypt(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=cost, r=block, p=parallel, maxmem=_MAX_MEMORY
    )


def _parse(name: str, stored: str) -> tuple[int, int, int, bytes, bytes]:
    try:
        scheme, cost, block, parallel, salt, made = stored.split(":")
        if scheme != "scrypt":
            raise ValueError(scheme)
        decoded = base64.b64decode(salt, validate=True), base64.b64decode(made, validate=True)
        return int(cost), int(block), int(parallel), *decoded
    except (ValueError, binascii.Error) as error:
        raise InputError(
            "bad-password-hash",
            f"the password of user {name} is no scrypt hash",
            hint="set it with `filament passwd`",
        ) from error


class LocalUsers:
    """Verifies HTTP Basic credentials against a users file. One per API process."""

    def __init__(self, path: Path, roles: RoleNames, now: Callable[[], float]) -> None:
        """`now` is a monotonic clock in seconds. Raises InputError when the file is unusable."""
        self._path = path
        self._roles = roles
        self._now = now
        self._users = read_users(path)
        self._stamp = self._stamp_of()
        self._key = secrets.token_bytes(32)  # of the memory below: no password stays in it
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="password")
        self._waiting = 0
        # Unknown users cost as much as known ones, so that names cannot be told apart by time.
        self._nobody = hash_password(secrets.token_hex())

    async def close(self) -> None:
        """End the thread."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    @property
    def challenge(self) -> str:
        """See Verifier."""
        return 'Basic realm="filament", charset="UTF-8"'

    async def verify(self, credentials: Credentials) -> Caller:
        """See Verifier."""
        name, password = _basic(credentials.authorization)
        self._read_again()
        user = self._users.get(name)
        stored = user.password if user is not None else self._nobody
        proof = hmac.digest(self._key, f"{stored}\0{password}".encode(), "sha256")
        if self._right.get(proof, 0.0) <= self._now():
            if not await self._check(password, stored) or user is None:
                raise UnauthenticatedError(f"user {name!r} or the password is wrong")
            self._right[proof] = self._now() + REMEMBERED_S
            while len(self._right) > MAX_REMEMBERED:
                self._right.popitem(last=False)
        assert user is not None
        return self._roles.caller(
            name, user.roles, dashed(user.project) if user.project else None, user.domain
        )

    async def _check(self, password: str, stored: str) -> bool:
        if self._waiting >= MAX_CHECKS_WAITING:
            raise TransientError(f"{self._waiting} passwords are being checked; try again")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, is_password, password, stored)
        finally:
            self._waiting -= 1

    def _read_again(self) -> None:
        stamp = self._stamp_of()
        if stamp != self._stamp:
            try:
                self._users = read_users(self._path)
            except InputError as error:
                raise PermanentError(f"nobody can be authenticated: {error}") from error
            self._stamp = stamp

    def _stamp_of(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise UnauthenticatedError("authentication is needed: send user and password (HTTP Basic)")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise UnauthenticatedError("the Authorization header is no HTTP Basic") from None
    name, colon, password = text.partition(":")
    if not colon:
        raise UnauthenticatedError("the Authorization header has no password")
    return name, password
