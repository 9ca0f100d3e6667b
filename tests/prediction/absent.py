"""Which cells of the table nothing can bring about, and why: said beside the counts, so that an
empty cell is never mistaken for a tested one."""

from __future__ import annotations

from collections.abc import Mapping

from isod.model.reset import Claim, MemberState

COLUMNS = (Claim.group_here, Claim.group_not_here, Claim.given, Claim.withheld)
CDEV = (Claim.group_here, Claim.group_not_here)

# Cases beside the table, which counts by hand-over alone.
ALONE = "alone in its set"
BESIDE = "on the same bus, but not in the set"
NO_SET = "on a root bus: no set"
NOT_OPENED = "kernel driver in the caller's own group: cannot be opened"
NOT_ISOLATED = "the platform does not isolate MSIs: cannot be opened"
BESIDE_THE_TABLE = (ALONE, BESIDE, NO_SET, NOT_OPENED, NOT_ISOLATED)

_FILE_OR_CDEV = "a group's open file and a bound cdev of it shut each other out (EBUSY)"
_NO_IOMMUFD = "who opens a device through its group has no iommufd"
_NO_CDEVS = "this kernel has neither device cdevs nor iommufd"
_WHOLE_BUS_SLOTS = (7, 1)

ALWAYS: Mapping[tuple[MemberState, Claim], str] = {
    (MemberState.kernel_driver, Claim.group_here): "while a kernel driver has a function of the "
    "group, no device of it can be bound to an iommufd (EPERM)",
    (MemberState.bound_here, Claim.group_not_here): "what is bound here has its group here",
    (MemberState.bound_here, Claim.given): _NO_IOMMUFD,
    (MemberState.bound_here, Claim.withheld): _NO_IOMMUFD,
    (MemberState.bound_elsewhere, Claim.group_here): "a group is one iommufd's at a time (EPERM)",
    (MemberState.bound_elsewhere, Claim.given): _FILE_OR_CDEV,
    (MemberState.group_opened, Claim.group_here): _FILE_OR_CDEV,
    (MemberState.group_opened, Claim.group_not_here): _FILE_OR_CDEV,
    (MemberState.group_elsewhere, Claim.group_here): _FILE_OR_CDEV,
}

_NEEDS_CDEVS = {
    MemberState.unbound_cdev,
    MemberState.bound_here,
    MemberState.bound_elsewhere,
}


def absent(state: MemberState, claim: Claim, *, cdevs: bool) -> str | None:
    """Why no function can be in this state to such a caller; None: it can. ``cdevs``: the kernel
    has device nodes and iommufd."""
    always = ALWAYS.get((state, claim))
    if always is not None:
        return always
    if not cdevs and (claim in CDEV or state in _NEEDS_CDEVS):
        return _NO_CDEVS
    return None


def absent_beside(row: str, hand_over: str, *, kernel: str, cdevs: bool) -> str | None:
    """The same for what is counted beside the table. ``kernel`` as in "6.12"."""
    if not cdevs and hand_over == "iommufd":
        return _NO_CDEVS
    if row == BESIDE and tuple(map(int, kernel.split("."))) >= _WHOLE_BUS_SLOTS:
        return "from 7.1 on a slot that can be reset is its whole bus"
    return None
