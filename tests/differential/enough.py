"""Whether a run has shown anything: enough sequences, in which each operation has succeeded, too.

What is refused all the time is the same on both kernels for many a wrong reason.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping

from .recording import Recording

SEQUENCES = 2100
# Of each operation one success for each so many sequences. The rarest, unset_container and restore,
# have some ten in 2000.
PER = 2000
_CLIENT = """attach bind cdev close config container detach device dup group hot info ioas iommufd
    map pass reset set_container set_iommu status unmap unset_container"""
_ISOD = "bind fence open_group open_iommufd probe reset restore unbind"
_ROOT = "override probe release"
OPERATIONS = tuple(
    f"{who} {what}"
    for who, whats in (("client", _CLIENT), ("isod", _ISOD), ("root", _ROOT))
    for what in whats.split()
)
# It wants a device that a scene has put on a kernel driver, and few have: a run may be without.
_BY_CHANCE = frozenset({"root release"})


def wanted(environment: Mapping[str, str] = os.environ) -> int:
    """How many sequences are to be played: fewer only where the environment says so, be it by
    naming a single one."""
    if "/" in environment.get("ISOD_SEED", ""):
        return 1
    return int(environment.get("ISOD_SEQUENCES") or SEQUENCES)


def shortcomings(recordings: Iterable[Recording], sequences: int) -> list[str]:
    """What is missing in what the guests played, of which each was to play so many; empty if
    nothing is."""
    found: list[str] = []
    succeeded: Counter[str] = Counter()
    played = 0
    for recording in recordings:
        played += len(recording.outcomes)
        succeeded.update(recording.successes())
        if len(recording.outcomes) < sequences:
            found.append(f"{len(recording.outcomes)} sequences of {sequences} were played")
    few = played // PER
    found += [
        f"{operation} has succeeded {succeeded[operation]} times, not {few}"
        for operation in OPERATIONS
        if succeeded[operation] < few and operation not in _BY_CHANCE
    ]
    return found if played else ["no guest has played anything"]
