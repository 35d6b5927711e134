"""Provenance: which configuration object, which rule and which revision made a derived row."""

from __future__ import annotations

import msgspec


class Origin(msgspec.Struct, frozen=True, order=True):
    """Where a derived row comes from.

    `object` is `kind fq:name` (`virtual-network default-domain:demo:red`), `rule` the compiler
    or forwarding rule that derived the row (a dashed word, with details after a space),
    `revision` the store revision of the commit that last changed the object.
    """

    object: str
    rule: str
    revision: int = 0


NOWHERE = Origin(object="", rule="", revision=0)
