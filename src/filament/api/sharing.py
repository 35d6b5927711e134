"""Two old words for what perms2 says: `is_shared` and `router_external` of a virtual-network.

Tungsten Fabric's clients set either side and expect the other to follow: shared is access 7 for
everybody, external is access 5 (read and link). Pure.
"""

from __future__ import annotations

from typing import Any

from filament.model.body import Body
from filament.model.kind import Kind

_SHARED = 7
_EXTERNAL = 5
_ACCESS_BY_FLAG = (("is_shared", _SHARED), ("router_external", _EXTERNAL))


def shared_as_shown(kind: Kind, body: Body, props: dict[str, Any], before: dict[str, Any]) -> None:
    """Make the flags of a network and its global access agree in `props`, which is changed.

    What the caller wrote leads: the flags, else perms2. `before` is the object as it was.
    """
    if kind.name != "virtual-network":
        return
    written = [flag for flag, _ in _ACCESS_BY_FLAG if flag in body.props]
    perms2 = props["perms2"]
    if written:
        access = next((access for flag, access in _ACCESS_BY_FLAG if props.get(flag)), None)
        was_flagged = any(before.get(flag) for flag in written)
        if access is not None:
            props["perms2"] = perms2 | {"global_access": access}
        elif was_flagged and "perms2" not in body.props:
            props["perms2"] = perms2 | {"global_access": 0}
    elif "perms2" in body.props:
        given = perms2.get("global_access")
        for flag, access in _ACCESS_BY_FLAG:
            if given == access or flag in props:
                props[flag] = given == access
