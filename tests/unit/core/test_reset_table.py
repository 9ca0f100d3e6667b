"""The table of hot resets, cell by cell as the kernel was seen to decide."""

from __future__ import annotations

import pytest

from isod.core.reset_table import TABLE, verdict
from isod.model.reset import Claim, MemberState

OFF_VFIO = (
    MemberState.unbound,
    MemberState.kernel_driver,
    MemberState.stub,
    MemberState.bridge,
    MemberState.other_set,
)
CALLER = (MemberState.bound_here, Claim.group_here)
GROUP_CALLER = (MemberState.group_opened, Claim.given)


def test_every_state_is_ruled_for_every_claim() -> None:
    assert set(TABLE) == {(state, claim) for state in MemberState for claim in Claim}


@pytest.mark.parametrize("state", OFF_VFIO)
@pytest.mark.parametrize("claim", Claim)
def test_no_claim_helps_against_what_vfio_does_not_have(state: MemberState, claim: Claim) -> None:
    assert TABLE[state, claim] != "permitted"


@pytest.mark.parametrize("state", sorted(set(MemberState) - set(OFF_VFIO)))
def test_what_vfio_has_is_a_matter_of_the_claim_alone(state: MemberState) -> None:
    assert {TABLE[state, claim] for claim in (Claim.group_here, Claim.given)} <= {
        "permitted",
        "cannot be",
    }
    assert {TABLE[state, claim] for claim in (Claim.group_not_here, Claim.withheld)} <= {
        "EINVAL",
        "cannot be",
    }


@pytest.mark.parametrize(
    ("state", "claim", "expected"),
    [
        (MemberState.unbound, Claim.group_here, "EINVAL"),
        (MemberState.kernel_driver, Claim.group_not_here, "EINVAL"),
        (MemberState.not_open, Claim.group_here, "permitted"),
        (MemberState.unbound_cdev, Claim.group_here, "permitted"),
        (MemberState.bound_here, Claim.group_here, "permitted"),
        (MemberState.not_open, Claim.group_not_here, "EINVAL"),
        (MemberState.unbound_cdev, Claim.group_not_here, "EINVAL"),
        (MemberState.bound_elsewhere, Claim.group_not_here, "EINVAL"),
        (MemberState.group_elsewhere, Claim.group_not_here, "EINVAL"),
    ],
)
def test_on_a_cdev(state: MemberState, claim: Claim, expected: str) -> None:
    assert verdict([CALLER, (state, claim)]) == expected


@pytest.mark.parametrize(
    ("state", "claim", "expected"),
    [
        (MemberState.unbound, Claim.given, "EINVAL"),
        (MemberState.not_open, Claim.given, "permitted"),
        (MemberState.not_open, Claim.withheld, "EINVAL"),
        (MemberState.unbound_cdev, Claim.given, "permitted"),
        (MemberState.bound_elsewhere, Claim.withheld, "EINVAL"),
        (MemberState.group_elsewhere, Claim.given, "permitted"),
        (MemberState.group_elsewhere, Claim.withheld, "EINVAL"),
    ],
)
def test_on_a_group(state: MemberState, claim: Claim, expected: str) -> None:
    assert verdict([GROUP_CALLER, (state, claim)]) == expected


def test_one_function_is_enough_to_forbid_it() -> None:
    allowed = [(MemberState.not_open, Claim.group_here)] * 6
    assert verdict([CALLER, *allowed]) == "permitted"
    assert verdict([CALLER, *allowed, (MemberState.bridge, Claim.group_here)]) == "EINVAL"


def test_without_a_set_there_is_no_reset() -> None:
    assert verdict(None) == "ENODEV"


def test_what_excludes_itself_is_no_question() -> None:
    with pytest.raises(ValueError, match="no function can be"):
        verdict([(MemberState.bound_elsewhere, Claim.group_here)])
