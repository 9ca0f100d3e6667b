"""One arrangement of drivers after the other: predict, write it down, then let the prober try."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from isod.core.reset_answer import Owner, answer
from isod.core.reset_set import ResetSets
from isod.core.reset_table import verdict
from isod.kernel.scan import scan_host
from isod.model.address import Address
from isod.model.host import Features
from isod.model.reset import ResetAnswer
from tests.prediction import machine
from tests.prediction.cases import Case, Function, HandOver, cases, sample
from tests.prediction.tally import ALONE, BESIDE, NO_SET, NOT_ISOLATED, NOT_OPENED, Tally
from tests.prediction.truth import Answer, Truth, read_client, truth

_REFUSED = {errno.EINVAL, errno.EPERM, errno.ENODEV}
# Permitted, and then it went well or the port could not do it.
_DONE = {0, errno.ENOTTY}


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


@dataclass
class Comparison:
    """Compares on this machine. ``book`` is where predictions are written before anything opens.
    Without ``isolated`` MSIs no caller gets a device open, so none can ask for a reset. If not the
    ``whole``, it is a sample of each set's cases. ``tried``: the functions of all sets so far."""

    program: Path
    book: Path
    tally: Tally
    whole: bool = False
    isolated: bool = True
    tried: set[str] = field(default_factory=set)

    def compare(
        self, members: Sequence[Function], callers: Sequence[str], *, cdevs: bool, stub: bool
    ) -> None:
        """Try all cases of these callers, whose set ``members`` are as far as the test knows."""
        hand_overs: tuple[HandOver, ...] = ("iommufd", "group") if cdevs else ("group",)
        found = [
            case
            for caller in members
            if caller.address in callers
            for hand_over in hand_overs
            for case in cases(members, caller, hand_over, cdevs=cdevs, stub=stub)
        ]

        if found:
            self.tried.update(member.address for member in members)
        if not self.whole:
            found = list(sample(found, members))

        def arrangement(case: Case) -> list[tuple[str, str]]:
            return sorted((address, driver or "") for address, driver in case.drivers.items())

        for _, together in groupby(sorted(found, key=arrangement), arrangement):
            self._arranged(members, list(together))

    def _arranged(self, members: Sequence[Function], together: Sequence[Case]) -> None:
        for address, driver in together[0].drivers.items():
            machine.put_on(address, driver)
        left = machine.open_nodes()
        assert not left, left
        sets = ResetSets(scan_host(Path("/"), 1, Features(kernel=os.uname().release)))
        predictions = {
            key: Prediction.of(case, sets)
            for case in together
            for key in [(case.caller, case.hand_over)]
        }
        with self.book.open("a") as book:
            for (caller, hand_over), one in predictions.items():
                line = {"caller": caller, "hand_over": hand_over, "hits": one.hits}
                book.write(json.dumps(line | one.answer.model_dump(mode="json")) + "\n")
            book.flush()
            os.fsync(book.fileno())
        for case in together:
            self._try(members, case, predictions[case.caller, case.hand_over])

    def _try(self, members: Sequence[Function], case: Case, predicted: Prediction) -> None:
        drivers = {one.address: machine.driver_of(one.address) for one in members}
        with machine.prober(self.program) as other, machine.prober(self.program) as caller:
            others_answers = other.run(case.other_does)
            answers = caller.run(case.caller_does[:-1])
            case = _with_listed_groups(case, answers)
            answers += caller.run(case.caller_does[-1:])
        what = f"{case.caller} by {case.hand_over}, {case.focus} {case.name}"
        other_client = read_client(case.other_does, others_answers)
        assert not other_client.refused, (what, other_client.refused)
        client = read_client(case.caller_does, answers)
        virtual = frozenset(
            one.address
            for one in members
            if (machine.PCI / "devices" / one.address / "physfn").is_symlink()
        )
        true = truth(case, members, drivers, virtual, client, other_client)
        if not self.isolated:
            if true.asked:
                self.tally.mismatches.append(f"{what}: opened without isolated MSIs")
            self.tally.count(NOT_ISOLATED, case.hand_over, permitted=False, succeeded=False)
            return
        info, reset = answers[-2:]
        permitted = true.asked and reset["errno"] not in _REFUSED
        complaints = list(_wrong(predicted, info, reset, true.asked))
        if predicted.answer.permits(true.here, true.passed) != permitted:
            complaints.append(f"predicted {predicted.answer}, the kernel said {reset}")
        if true.asked:
            if reset["errno"] not in _REFUSED | _DONE:
                complaints.append(f"neither permitted nor refused: {reset}")
            hit = predicted.hits
            ruled = verdict(None if hit is None else [true.members[name] for name in hit])
            if (ruled == "permitted") != permitted:
                complaints.append(f"the table says {ruled}, the kernel {reset}: {true.members}")
        elif case.focus is None or drivers[case.focus] in (None, "vfio-pci", "pci-stub"):
            complaints.append(f"the caller could not ask: {client.refused}")
        succeeded = true.asked and reset["errno"] == 0
        listed = {name for name, _ in info["functions"]}
        row, column = _cell(case, true, listed)
        self.tally.count(row, column, permitted=permitted, succeeded=succeeded)
        self.tally.mismatches += [f"{what}: {complaint}" for complaint in complaints]
        print(f"{what}: {'permitted' if permitted else 'refused'}, errno {reset['errno']}")


def _cell(case: Case, true: Truth, listed: Collection[str]) -> tuple[str, str]:
    """Where the case is counted; ``listed``: what the kernel says that the reset would hit."""
    if not true.asked:
        return NOT_OPENED, case.hand_over
    if not listed:
        return NO_SET, case.hand_over
    if case.focus is None:
        return ALONE, case.hand_over
    if case.focus not in listed:
        return BESIDE, case.hand_over
    state, claim = true.members[case.focus]
    return state.value, claim.value


def _with_listed_groups(case: Case, answers: Sequence[Answer]) -> Case:
    """The case with a reset that passes only fds of groups that the kernel lists, as clients do:
    more fds than there are functions are EINVAL."""
    if case.hand_over != "group":
        return case
    groups = read_client(case.caller_does[:-1], answers).groups
    listed = {number for _, number in answers[-1]["functions"]}
    what, device, *names = case.caller_does[-1].split()
    known = [name for name in names if groups.get(name) in listed or not listed]
    return replace(case, caller_does=(*case.caller_does[:-1], " ".join([what, device, *known])))


def _wrong(predicted: Prediction, info: Answer, reset: Answer, asked: bool) -> Iterator[str]:
    """What the kernel's list of functions says against the predicted set."""
    if not asked:
        return
    if predicted.hits is None:
        if (info["errno"], reset["errno"]) != (errno.ENODEV, errno.ENODEV):
            yield f"predicted no set, the kernel said {info} and {reset}"
    elif info["errno"]:
        yield f"no list of functions: {info}"
    elif sorted(name for name, _ in info["functions"]) != sorted(predicted.hits):
        yield f"predicted {predicted.hits}, the kernel lists {info['functions']}"
