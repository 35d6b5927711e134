"""The one kind of object that is not in the registry: the API's own small values (`api.stored`)."""

from __future__ import annotations

STORED_VALUE = "stored-value"
