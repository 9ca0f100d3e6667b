"""One arrangement of drivers after the other: predict, write it down, then let the prober try."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from isod.core.reset_set import ResetSets
from isod.kernel.scan import scan_host
from isod.model.host import Features
from tests.prediction import machine
from tests.prediction.absent import NOT_ISOLATED
from tests.prediction.cases import Case, Function, HandOver, cases
from tests.prediction.judgement import Prediction, Said, cell, disagreements, no_opening
from tests.prediction.machine import Prober
from tests.prediction.tally import Tally
from tests.prediction.truth import Answer, read_client, truth


@dataclass
class Comparison:
    """Compares on this machine. ``book`` is where predictions are written before anything opens.
    Without ``isolated`` MSIs no caller gets a device open, so none can ask for a reset. ``tried``:
    the functions of all sets so far."""

    program: Path
    book: Path
    tally: Tally
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

        def arrangement(case: Case) -> list[tuple[str, str]]:
            return sorted((address, driver or "") for address, driver in case.drivers.items())

        left = machine.open_nodes()
        assert not left, left
        with machine.prober(self.program) as other, machine.prober(self.program) as caller:
            for _, together in groupby(sorted(found, key=arrangement), arrangement):
                self._arranged(members, list(together), caller, other)

    def _arranged(
        self,
        members: Sequence[Function],
        together: Sequence[Case],
        caller: Prober,
        other: Prober,
    ) -> None:
        """Predict while the probers have nothing open, and then let them try."""
        for address, driver in together[0].drivers.items():
            machine.put_on(address, driver)
        sets = ResetSets(scan_host(Path("/"), 1, Features(kernel=os.uname().release)))
        predictions = {
            key: Prediction.of(case, sets)
            for case in together
            for key in [(case.caller, case.hand_over)]
        }
        with self.book.open("a") as book:
            for (address, hand_over), one in predictions.items():
                line = {"caller": address, "hand_over": hand_over, "hits": one.hits}
                book.write(json.dumps(line | one.answer.model_dump(mode="json")) + "\n")
            book.flush()
            os.fsync(book.fileno())
        for case in together:
            self._try(members, case, predictions[case.caller, case.hand_over], caller, other)

    def _try(
        self,
        members: Sequence[Function],
        case: Case,
        predicted: Prediction,
        caller: Prober,
        other: Prober,
    ) -> None:
        drivers = {one.address: machine.driver_of(one.address) for one in members}
        others_answers = other.run(case.other_does)
        answers = caller.run(case.caller_does[:-1])
        case = _with_listed_groups(case, answers)
        answers += caller.run(case.caller_does[-1:])
        for one in (caller, other):
            one.clear()
        other_client = read_client(case.other_does, others_answers)
        assert not other_client.refused, (case, other_client.refused)
        client = read_client(case.caller_does, answers)
        virtual = frozenset(one.address for one in members if machine.is_virtual(one.address))
        true = truth(case, members, drivers, virtual, client, other_client)
        said = Said(*answers[-2:])
        what = f"{case.caller} by {case.hand_over}, {case.focus} {case.name}"
        if not self.isolated:
            complaints = ["opened without isolated MSIs"] if true.asked else []
            self.tally.count(NOT_ISOLATED, case.hand_over, permitted=False, succeeded=False)
        else:
            excused = no_opening(case, members, drivers)
            complaints = list(disagreements(predicted, true, said, excused=excused))
            row, column = cell(case, true, said)
            self.tally.count(row, column, permitted=said.permitted(true), succeeded=said.well(true))
        told = f"{what}: {'permitted' if said.permitted(true) else 'refused'}"
        print(f"{told}, errno {said.reset['errno']}", *client.refused, sep="; ")
        self.tally.mismatches += [f"{what}: {complaint}" for complaint in complaints]


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
