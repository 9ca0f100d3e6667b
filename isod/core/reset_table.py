"""Who may hot-reset: the kernel's decision, as a table that can be read.

drivers/vfio/pci/vfio_pci_core.c, vfio_pci_dev_set_hot_reset, 7.2 (6.1 and 6.12 have the columns
for groups): every function of the reset set must be in the caller's device set
(vfio_pci_dev_set_resettable), and each of them the caller's, by its iommufd
(vfio_iommufd_get_dev_id) or by the groups that were passed (vfio_dev_in_groups).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from isod.model.reset import Claim, MemberState

Ruling = Literal["permitted", "EINVAL", "cannot be"]
Verdict = Literal["permitted", "EINVAL", "ENODEV"]

_YES: Ruling = "permitted"
_NO: Ruling = "EINVAL"
_OUT: Ruling = "cannot be"

_COLUMNS = (Claim.group_here, Claim.group_not_here, Claim.given, Claim.withheld)

# "cannot be": such a state excludes itself. A group has one owner, so a function bound to the
# caller's iommufd has its group there; a group's file and a bound cdev shut each other out (EBUSY);
# and on a group-opened device the caller has no iommufd.
_ROWS: Mapping[MemberState, tuple[Ruling, Ruling, Ruling, Ruling]] = {
    #                             cdev: group  cdev: group  group fd  group fd
    #  the function is            in iommufd   not in it    passed    not passed
    MemberState.unbound:          (_NO,        _NO,         _NO,      _NO),
    MemberState.kernel_driver:    (_OUT,       _NO,         _NO,      _NO),
    MemberState.stub:             (_NO,        _NO,         _NO,      _NO),
    MemberState.bridge:           (_NO,        _NO,         _NO,      _NO),
    MemberState.other_set:        (_NO,        _NO,         _NO,      _NO),
    MemberState.not_open:         (_YES,       _NO,         _YES,     _NO),
    MemberState.unbound_cdev:     (_YES,       _NO,         _YES,     _NO),
    MemberState.bound_here:       (_YES,       _OUT,        _OUT,     _OUT),
    MemberState.bound_elsewhere:  (_OUT,       _NO,         _OUT,     _NO),
    MemberState.group_opened:     (_OUT,       _OUT,        _YES,     _NO),
    MemberState.group_elsewhere:  (_OUT,       _NO,         _YES,     _NO),
}  # fmt: skip

TABLE: Mapping[tuple[MemberState, Claim], Ruling] = {
    (state, claim): ruling
    for state, row in _ROWS.items()
    for claim, ruling in zip(_COLUMNS, row, strict=True)
}


def verdict(
    members: Iterable[tuple[MemberState, Claim]] | None,
) -> Verdict:
    """What the kernel says to VFIO_DEVICE_PCI_HOT_RESET on an open (on a cdev: bound) device, given
    what each function of its set is, itself included; None: it has no set.

    Raises ValueError for what cannot be.
    """
    if members is None:
        return "ENODEV"
    answer: Verdict = "permitted"
    for state, claim in members:
        ruling = TABLE[state, claim]
        if ruling == "cannot be":
            raise ValueError(f"no function can be {state!r} to a caller {claim!r}")
        if ruling == "EINVAL":
            answer = "EINVAL"
    return answer
