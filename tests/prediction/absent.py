"""Which cells of the table nothing can bring about, and why: said beside the counts, so that an
empty cell is never mistaken for a tested one."""

from __future__ import annotations

from collections.abc import Mapping

from isod.model.reset import Claim, MemberState

COLUMNS = (Claim.group_here, Claim.group_not_here, Claim.given, Claim.withheld)
CDEV = (Claim.group_here, Claim.group_not_here)

_FILE_OR_CDEV = "a group's open file and a bound cdev of it shut each other out (EBUSY)"
_NO_IOMMUFD = "who opens a device through its group has no iommufd"

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
        return "this kernel has neither device cdevs nor iommufd"
    return None
