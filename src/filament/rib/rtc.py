"""Route target membership (RFC 4684): what a peer asked for.

A peer that speaks the family gets only VPN routes with a target it announced a membership of; one
of length 0 asks for everything, and one cut short for all targets that begin like it.
"""

from __future__ import annotations

from filament.rib.targets import Targets, TargetSet, TargetSets
from filament.wire.bgp.family import AddressFamily

# Families whose routes a peer gets only if it asked.
CONSTRAINED = frozenset(
    {
        AddressFamily.INET_VPN,
        AddressFamily.INET6_VPN,
        AddressFamily.E_VPN,
        AddressFamily.ERM_VPN,
    }
)
_WHOLE_BITS = 96  # of an AS and a target
_AS_BITS = 32
END_OF_RIB_TIMEOUT_S = 30.0  # VPN routes wait no longer for a peer's memberships (TF's)


def membership_key(asn: int, target: bytes) -> bytes:
    """Return the NLRI key of a membership."""
    return bytes((_WHOLE_BITS,)) + asn.to_bytes(4, "big") + target


class Interest:
    """The memberships of one peer. What is noted counts once it is applied, so that what the peer
    was sent before and after can be compared.
    """

    def __init__(self) -> None:
        self._noted: dict[bytes, bool] = {}
        self._counts: dict[bytes, int] = {}  # by whole target: several ASes may ask for one
        self._ranges: dict[bytes, tuple[int, int]] = {}  # by key: (value, bits to the right)
        self._keys: set[bytes] = set()

    def note(self, key: bytes, *, is_there: bool) -> None:
        """Note that the peer announced or withdrew a membership."""
        self._noted[key] = is_there

    @property
    def is_noted(self) -> bool:
        """Whether something was noted that has not been applied."""
        return bool(self._noted)

    def wants(self, targets: Targets) -> bool:
        """Say whether the peer asked for routes with any of these targets."""
        if self._ranges and self._wants_range(targets):
            return True
        counts = self._counts
        if len(targets) == 1:
            (target,) = targets
            return target in counts
        return any(target in counts for target in targets)

    def _wants_range(self, targets: Targets) -> bool:
        for value, shift in self._ranges.values():
            if shift == 64:  # no bit of the target matters, nor whether there is one
                return True
            if any(int.from_bytes(each, "big") >> shift == value for each in targets):
                return True
        return False

    def apply(self, target_sets: TargetSets) -> tuple[list[TargetSet], list[TargetSet]]:
        """Let what was noted count; return the target sets that the peer gained and lost."""
        noted, self._noted = self._noted, {}
        noted = {key: there for key, there in noted.items() if there != (key in self._keys)}
        if not noted:
            return [], []
        touched: dict[TargetSet, bool] = {}
        if all(key[0] == _WHOLE_BITS for key in noted):
            for key in noted:
                for target_set in target_sets.with_target(key[5:]):
                    touched[target_set] = True
        else:
            touched = dict.fromkeys(target_sets, True)
        for target_set in touched:
            touched[target_set] = self.wants(target_set.targets)
        for key, is_there in noted.items():
            self._apply(key, is_there=is_there)
        gained: list[TargetSet] = []
        lost: list[TargetSet] = []
        for target_set, wanted in touched.items():
            if self.wants(target_set.targets) != wanted:
                (lost if wanted else gained).append(target_set)
        return gained, lost

    def _apply(self, key: bytes, *, is_there: bool) -> None:
        bits = key[0]
        (self._keys.add if is_there else self._keys.discard)(key)
        if bits == _WHOLE_BITS:
            target = key[5:]
            count = self._counts.get(target, 0) + (1 if is_there else -1)
            if count:
                self._counts[target] = count
            else:
                del self._counts[target]
        elif is_there:
            shift = 64 - max(bits - _AS_BITS, 0)
            octets = key[5:].ljust(8, b"\x00")
            self._ranges[key] = (int.from_bytes(octets, "big") >> shift, shift)
        else:
            del self._ranges[key]

    def __len__(self) -> int:
        return len(self._keys)
