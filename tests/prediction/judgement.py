"""What isod said against what the kernel said."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from isod.core.reset_answer import Owner, answer
from isod.core.reset_set import ResetSets
from isod.core.reset_table import verdict
from isod.model.address import Address
from isod.model.reset import ResetAnswer
from tests.prediction.absent import ALONE, BESIDE, NO_SET, NOT_OPENED
from tests.prediction.cases import VFIO, Case, Function
from tests.prediction.truth import Answer, Truth

_REFUSED = {errno.EINVAL, errno.EPERM, errno.ENODEV}
# Permitted, and then it went well or the port could not do it.
_DONE = {0, errno.ENOTTY}
_IDLE_DRIVERS = {None, VFIO, "pci-stub", "pcieport"}


@dataclass(frozen=True)
class Prediction:
    """isod's answer for a caller, and the functions that it says are hit."""

    answer: ResetAnswer
    hits: tuple[str, ...] | None

    @classmethod
    def of(cls, case: Case, sets: ResetSets) -> Prediction:
        """From sysfs as it was when it was scanned; nothing is opened."""
        device = sets.snapshot.devices[Address.pci(case.caller)]
        assert device.group is not None
        its_set = sets.of(device.address)
        owner = Owner(case.hand_over, frozenset({device.group}))
        hits = None if its_set is None else tuple(one.name for one in its_set.members)
        return cls(answer(sets, device, owner), hits)


@dataclass(frozen=True)
class Said:
    """What the kernel answered to INFO and to RESET."""

    info: Answer
    reset: Answer

    def permitted(self, true: Truth) -> bool:
        return true.asked and self.reset["errno"] not in _REFUSED

    def well(self, true: Truth) -> bool:
        return true.asked and self.reset["errno"] == 0

    @property
    def listed(self) -> list[str]:
        """The functions that the reset would hit."""
        return sorted(name for name, _ in self.info["functions"])


def no_opening(case: Case, members: Sequence[Function], drivers: Mapping[str, str | None]) -> bool:
    """A kernel driver in the caller's own group: nobody gets the caller's device open then."""
    own = next(one.group for one in members if one.address == case.caller)
    return any(drivers[one.address] not in _IDLE_DRIVERS for one in members if one.group == own)


def disagreements(
    predicted: Prediction, true: Truth, said: Said, *, excused: bool
) -> Iterator[str]:
    """Between prediction, table and kernel. ``excused``: the caller could not get so far as to ask
    for the reset, which no client of a lease can come to: isod leases no such group."""
    permitted = said.permitted(true)
    if predicted.answer.permits(true.here, true.passed) != permitted:
        yield f"predicted {predicted.answer}, the kernel said {said.reset}"
    if true.asked == excused:
        yield "it could ask" if excused else "it could not ask"
    if not true.asked:
        return
    if said.reset["errno"] not in _REFUSED | _DONE:
        yield f"neither permitted nor refused: {said.reset}"
    hits = predicted.hits
    ruled = verdict(None if hits is None else [true.members[name] for name in hits])
    if (ruled == "permitted") != permitted:
        yield f"the table says {ruled}, the kernel {said.reset}: {true.members}"
    if hits is None:
        if (said.info["errno"], said.reset["errno"]) != (errno.ENODEV, errno.ENODEV):
            yield f"predicted no set, the kernel said {said.info} and {said.reset}"
    elif said.info["errno"]:
        yield f"no list of functions: {said.info}"
    elif said.listed != sorted(hits):
        yield f"predicted {hits}, the kernel lists {said.listed}"


def cell(case: Case, true: Truth, said: Said) -> tuple[str, str]:
    """The row and column that the case is counted in."""
    if not true.asked:
        return NOT_OPENED, case.hand_over
    if not said.listed:
        return NO_SET, case.hand_over
    if case.focus is None:
        return ALONE, case.hand_over
    if case.focus not in said.listed:
        return BESIDE, case.hand_over
    state, claim = true.members[case.focus]
    return state.value, claim.value
