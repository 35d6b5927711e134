"""Texts inside Sandesh fields, as Tungsten Fabric's daemons write them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

NEVER = "n/a"
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_LAST_SECOND = 253402300799.0  # of year 9999


@lru_cache(maxsize=1024)  # whoever has many routes has few times
def format_time(epoch_s: float) -> str:
    """Format a time as `2026-Nov-28 01:02:03.000004`, UTC: readers insist on the microseconds."""
    moment = datetime.fromtimestamp(min(max(epoch_s, 0.0), _LAST_SECOND), UTC)
    return f"{moment:%Y}-{_MONTHS[moment.month - 1]}-{moment:%d %H:%M:%S.%f}"


def format_ago(seconds: float) -> str:
    """Format how long ago something was: `1 day, 02:03:04.000005`."""
    whole = int(max(seconds, 0.0))
    microseconds = int((max(seconds, 0.0) - whole) * 1_000_000)
    days, rest = divmod(whole, 86_400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}.{microseconds:06}"
    if not days:
        return clock
    return f"{days} day{'s' if days > 1 else ''}, {clock}"


def format_short_mac(mac: int) -> str:
    """Format a MAC as TF's agent does, without padding: `2:0:5e:10:0:1`."""
    return ":".join(f"{octet:x}" for octet in mac.to_bytes(6, "big"))
