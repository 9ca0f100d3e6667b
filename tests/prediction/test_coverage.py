"""The cases reach every cell of the table, and isod's answer and the table agree about each:
without a kernel, so that a gap shows at once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pytest

from isod.core.reset_answer import Owner, answer
from isod.core.reset_set import ResetSets
from isod.core.reset_table import TABLE, verdict
from isod.model.host import Device, HostSnapshot
from isod.model.reset import Claim, MemberState
from tests.lab.topology import TOPOLOGIES
from tests.prediction.absent import (
    ALONE,
    ALWAYS,
    BESIDE_THE_TABLE,
    COLUMNS,
    absent,
    absent_beside,
)
from tests.prediction.cases import VFIO, Case, Function, HandOver, cases
from tests.prediction.guests import guests
from tests.prediction.tally import Tally
from tests.prediction.truth import Truth, read_client, truth
from tests.unit.core.build import at, bridge, device, host

PORT = replace(bridge("00:01.0", None), secondary_bus="0000:01")
FIRST, SECOND, THIRD = "0000:01:00.0", "0000:01:00.1", "0000:01:00.2"

PAIR = (Function(FIRST, 1, "igb"), Function(SECOND, 1, "igb"))
TWO_GROUPS = (Function(FIRST, 1, "igb"), Function(SECOND, 2, "igb"))
THREE = (*TWO_GROUPS, Function(THIRD, 2, "igb"))
SAME_GROUP_BRIDGE = (Function(FIRST, 1), Function(SECOND, 1, "pcieport", bridge=True, kept=True))
OTHER_GROUP_BRIDGE = (Function(FIRST, 1), Function(SECOND, 2, "pcieport", bridge=True, kept=True))
USED_BY_HOST = (Function(FIRST, 1, "igb", kept=True), Function(SECOND, 2, on_vfio=True))
VIRTUAL = (
    Function(FIRST, 1, on_vfio=True, token=True),
    Function(SECOND, 2, on_vfio=True, token=True),
    Function(THIRD, 3, on_vfio=True, token=True),
)
SETS = (PAIR, TWO_GROUPS, THREE, SAME_GROUP_BRIDGE, OTHER_GROUP_BRIDGE, USED_BY_HOST, VIRTUAL)
VIRTUAL_OF = {USED_BY_HOST: frozenset({SECOND}), VIRTUAL: frozenset({SECOND, THIRD})}

HAND_OVERS: tuple[HandOver, ...] = ("iommufd", "group")


def came_about(members: tuple[Function, ...], case: Case) -> Truth:
    """The case with a kernel that refuses nothing."""
    drivers = {one.address: VFIO if one.on_vfio else one.native for one in members}
    drivers |= dict(case.drivers)
    clients = [
        read_client(script, [{"errno": 0}] * len(script))
        for script in (case.caller_does, case.other_does)
    ]
    return truth(case, members, drivers, VIRTUAL_OF.get(members, frozenset()), *clients)


def snapshot_of(members: tuple[Function, ...], case: Case) -> HostSnapshot:
    def one(member: Function) -> Device:
        short = member.address
        if member.bridge:
            return bridge(short, member.group)
        driver = VFIO if member.on_vfio else case.drivers.get(member.address, member.native)
        virtual = member.address in VIRTUAL_OF.get(members, frozenset())
        return device(short, member.group, driver, physical_function=at(FIRST) if virtual else None)

    return host(PORT, *(one(member) for member in members))


def used_by(state: MemberState) -> bool:
    return state is MemberState.kernel_driver


def all_cases(members: Sequence[Function], *, cdevs: bool = True) -> list[Case]:
    return [
        case
        for caller in members
        if not caller.kept
        for hand_over in HAND_OVERS[0 if cdevs else 1 :]
        for case in cases(members, caller, hand_over, cdevs=cdevs, stub=True)
    ]


def possible_cells() -> set[tuple[MemberState, Claim]]:
    return {cell for cell, ruling in TABLE.items() if ruling != "cannot be"}


def test_every_cell_that_can_be_is_reached() -> None:
    cells: Counter[tuple[MemberState, Claim]] = Counter()
    for members in SETS:
        for case in all_cases(members):
            if case.focus is not None:
                cells[came_about(members, case).members[case.focus]] += 1
    assert possible_cells() - set(cells) == set()


@pytest.mark.parametrize("members", SETS)
def test_answer_and_table_agree_about_every_case(members: tuple[Function, ...]) -> None:
    for case in all_cases(members):
        true = came_about(members, case)
        group = next(one.group for one in members if one.address == case.caller)
        states = [true.members[one.address] for one in members]
        used = {
            one.group for one, (state, _) in zip(members, states, strict=True) if used_by(state)
        }
        if group in used or used & true.here:
            continue  # a kernel refuses to open a group that a kernel driver is in
        snapshot = snapshot_of(members, case)
        sets = ResetSets(snapshot)
        owner = Owner(case.hand_over, frozenset({group}))
        promised = answer(sets, snapshot.devices[at(case.caller)], owner)
        ruled = verdict(true.members.values())
        assert promised.permits(true.here, true.passed) == (ruled == "permitted"), case


def test_names_of_cases_tell_them_apart() -> None:
    for members in SETS:
        names = [(c.caller, c.hand_over, c.focus, c.name) for c in all_cases(members)]
        assert len(set(names)) == len(names)


def test_each_cell_that_cannot_be_has_its_reason() -> None:
    assert set(ALWAYS) == set(TABLE) - possible_cells()


def test_without_cdevs_all_that_can_be_is_reached_by_groups_alone() -> None:
    cells = set()
    for members in SETS:
        for case in all_cases(members, cdevs=False):
            if case.focus is not None:
                cells.add(came_about(members, case).members[case.focus])
    everything = {cell for cell in TABLE if absent(*cell, cdevs=False) is None}
    assert everything - cells == set()


def full(kernel: str, *, cdevs: bool) -> Tally:
    """Every cell that can be has a case."""
    tally = Tally(kernel, cdevs=cdevs)
    for state, claim in product(MemberState, COLUMNS):
        if absent(state, claim, cdevs=cdevs) is None:
            tally.count(state, claim, permitted=False, succeeded=False)
    for row, hand_over in product(BESIDE_THE_TABLE, HAND_OVERS):
        if absent_beside(row, hand_over, kernel=kernel, cdevs=cdevs) is None:
            tally.count(row, hand_over, permitted=False, succeeded=False)
    return tally


@pytest.mark.parametrize(("kernel", "cdevs"), [("7.2", True), ("6.12", False)])
def test_an_empty_cell_that_can_be_is_told(kernel: str, cdevs: bool) -> None:
    tally = full(kernel, cdevs=cdevs)
    assert tally.empty() == []
    tally.cells[MemberState.unbound, Claim.given] = 0
    tally.cells[ALONE, "group"] = 0
    assert tally.empty() == [f"{MemberState.unbound}, {Claim.given}", f"{ALONE}, group"]


def test_the_sum_of_guests_is_told_with_a_reason_for_each_cell_that_cannot_be() -> None:
    tally = Tally("6.12", cdevs=False)
    for _ in range(2):
        tally.add(json.loads(json.dumps(full("6.12", cdevs=False).as_data())))
    lines = list(tally.lines())
    (bridges,) = (line for line in lines if line.startswith("bridge"))
    assert bridges.split() == ["bridge", "a", "a", "2", "2"]
    assert "  a: this kernel has neither device cdevs nor iommufd" in lines
    assert lines[-1] == f"{tally.cases} cases; 0 permitted, 0 of them succeeded; mismatches 0"


def test_every_topology_is_tried_on_every_kernel() -> None:
    tried = {(guest.kernel, guest.topology) for _, guest in guests()}
    # "several" is the machines of "standard" and "shared-bus" once more, in one.
    shapes = TOPOLOGIES.keys() - {"several"}
    assert tried == {(kernel, topology) for kernel in ("7.2", "6.12") for topology in shapes}
