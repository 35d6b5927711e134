"""Stores by address: `sqlite:PATH` or `etcd:http://HOST:PORT[,http://HOST:PORT...]`."""

from __future__ import annotations

from filament.base.errors import InputError
from filament.store.contract import Store


def open_store(address: str) -> Store:
    """Open or create the store at an address. Raises InputError, TransientError, PermanentError."""
    medium, _, place = address.partition(":")
    if place and medium == "sqlite":
        from filament.store.sqlite import SqliteStore  # noqa: PLC0415 - only what is used

        return SqliteStore(place)
    if place and medium == "etcd":
        from filament.store.etcd import EtcdStore  # noqa: PLC0415

        return EtcdStore(place.split(","))
    raise InputError(
        "bad-store",
        f"{address!r} is no address of a store",
        hint="write sqlite:PATH or etcd:http://HOST:PORT[,http://HOST:PORT...]",
    )
