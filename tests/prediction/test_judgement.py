"""A comparison that can fail: each kind of disagreement is told."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from isod.model.reset import Claim, MemberState, ResetAnswer
from tests.prediction.absent import BESIDE, NO_SET, NOT_OPENED
from tests.prediction.cases import VFIO, Case, Function
from tests.prediction.judgement import Prediction, Said, cell, disagreements, no_opening
from tests.prediction.truth import Truth

CALLER, OTHER = "0000:01:00.0", "0000:01:00.1"
BOUND = (MemberState.bound_here, Claim.group_here)
TRUE = Truth(
    asked=True,
    here=frozenset({1}),
    passed=frozenset(),
    members={CALLER: BOUND, OTHER: (MemberState.not_open, Claim.group_here)},
)
WHEN = Prediction(ResetAnswer(hot="permitted_when", bind_groups=(1,)), (CALLER, OTHER))
NEVER = Prediction(ResetAnswer(hot="never"), (CALLER, OTHER))
NO_RESET = Prediction(ResetAnswer(hot="never"), None)
CASE = Case("not open", CALLER, "iommufd", OTHER, {}, ("reset d",))


def said(number: int, *functions: str) -> Said:
    info = {"errno": 0 if functions else errno.ENODEV, "functions": [[one, 1] for one in functions]}
    return Said(info, {"errno": number, "tries": 1})


def told(predicted: Prediction, true: Truth, answer: Said, *, excused: bool = False) -> list[str]:
    return list(disagreements(predicted, true, answer, excused=excused))


@pytest.mark.parametrize("number", [0, errno.ENOTTY])
def test_permitted_is_permitted_whether_or_not_it_succeeds(number: int) -> None:
    answer = said(number, CALLER, OTHER)
    assert told(WHEN, TRUE, answer) == []
    assert answer.permitted(TRUE)
    assert answer.well(TRUE) is (number == 0)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EPERM])
def test_a_refusal_of_what_was_promised(number: int) -> None:
    found = told(WHEN, TRUE, said(number, CALLER, OTHER))
    assert [one.split()[0] for one in found] == ["predicted", "the"], "isod and its table are wrong"


def test_a_permission_that_was_denied() -> None:
    (found,) = told(NEVER, TRUE, said(0, CALLER, OTHER))
    assert found.startswith("predicted hot='never'")


def test_a_reset_that_stays_busy_is_neither() -> None:
    assert any(one.startswith("neither") for one in told(WHEN, TRUE, said(errno.EAGAIN, CALLER)))


def test_another_set_than_predicted() -> None:
    (found,) = told(WHEN, TRUE, said(0, CALLER))
    assert "the kernel lists ['0000:01:00.0']" in found
    assert told(NO_RESET, TRUE, said(errno.ENODEV)) == []
    assert told(NO_RESET, TRUE, said(errno.EINVAL, CALLER))


def test_a_caller_that_cannot_ask_must_be_excused() -> None:
    none = replace(TRUE, asked=False, here=frozenset())
    assert told(NEVER, none, said(errno.EBADF)) == ["it could not ask"]
    assert told(NEVER, none, said(errno.EBADF), excused=True) == []
    assert told(NEVER, TRUE, said(errno.EINVAL, CALLER, OTHER), excused=True)[0] == "it could ask"


def test_only_a_kernel_driver_in_its_own_group_excuses_it() -> None:
    members = (Function(CALLER, 1), Function(OTHER, 1))
    assert no_opening(CASE, members, {CALLER: VFIO, OTHER: "igb"})
    for driver in (None, VFIO, "pci-stub"):
        assert not no_opening(CASE, members, {CALLER: VFIO, OTHER: driver})
    apart = (Function(CALLER, 1), Function(OTHER, 2))
    assert not no_opening(CASE, apart, {CALLER: VFIO, OTHER: "igb"})


def test_where_a_case_is_counted() -> None:
    assert cell(CASE, TRUE, said(0, CALLER, OTHER)) == ("vfio, not open", Claim.group_here.value)
    assert cell(CASE, TRUE, said(0, CALLER)) == (BESIDE, "iommufd")
    assert cell(CASE, TRUE, said(errno.ENODEV)) == (NO_SET, "iommufd")
    assert cell(CASE, replace(TRUE, asked=False), said(9)) == (NOT_OPENED, "iommufd")
