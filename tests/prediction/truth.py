"""What really came about in a case: from the drivers in sysfs and from what the prober was answered
to its commands, to the state of each function in the words of the table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from isod.model.reset import Claim, MemberState
from tests.prediction.cases import Case, Function

Answer = Mapping[str, Any]


@dataclass
class Client:
    """What one prober has open, by the functions' addresses and the groups' numbers."""

    opened: set[str] = field(default_factory=set)
    bound: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    groups: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def read_client(script: Sequence[str], answers: Sequence[Answer]) -> Client:
    """Follow a script with the kernel's answers: what was refused is not there."""
    client = Client()
    addresses: dict[str, str] = {}
    for line, answer in zip(script, answers, strict=True):
        what, name, *more = line.replace("{cdev ", "{cdev:").split()
        if what in ("info", "reset"):
            continue
        if answer["errno"]:
            client.refused.append(f"{line}: errno {answer['errno']}")
        elif what == "cdev":
            addresses[name] = more[0].removeprefix("{cdev:").removesuffix("}")
            client.opened.add(addresses[name])
        elif what == "bind":
            client.bound.add(addresses[name])
        elif what == "group":
            client.groups[name] = int(re.findall(r"\d+", more[0])[-1])
        elif what == "device":
            client.held.add(more[1])
    return client


@dataclass(frozen=True)
class Truth:
    """``asked``: the caller got as far as to ask for the reset. ``here`` are the groups of which a
    device is bound to its iommufd, ``passed`` those whose fds it passed."""

    asked: bool
    here: frozenset[int]
    passed: frozenset[int]
    members: Mapping[str, tuple[MemberState, Claim]]


def truth(
    case: Case,
    members: Iterable[Function],
    drivers: Mapping[str, str | None],
    virtual: frozenset[str],
    caller: Client,
    other: Client,
) -> Truth:
    """``drivers`` as sysfs showed them, ``virtual`` the virtual functions among the members."""
    known = {member.address: member for member in members}
    cdev = case.hand_over == "iommufd"
    here = frozenset(known[address].group for address in caller.bound)
    reset = next(line for line in case.caller_does if line.startswith("reset")).split()[2:]
    passed = frozenset(caller.groups[name] for name in reset if name in caller.groups)
    own_group = known[case.caller].group

    def state(member: Function) -> MemberState:
        driver = drivers[member.address]
        if member.bridge:
            return MemberState.bridge
        if driver != "vfio-pci":
            if driver is None:
                return MemberState.unbound
            return MemberState.stub if driver == "pci-stub" else MemberState.kernel_driver
        apart = member.address in virtual or case.caller in virtual
        if apart and member.address != case.caller:
            return MemberState.other_set
        return _use(member)

    def _use(member: Function) -> MemberState:
        address = member.address
        if address in caller.bound:
            return MemberState.bound_here
        if address in other.bound:
            return MemberState.bound_elsewhere
        if member.group in other.groups.values():
            return MemberState.group_elsewhere
        if address in caller.held:
            same = member.group == own_group
            return MemberState.group_opened if same else MemberState.group_elsewhere
        return MemberState.unbound_cdev if address in caller.opened else MemberState.not_open

    def claim(member: Function) -> Claim:
        if cdev:
            return Claim.group_here if member.group in here else Claim.group_not_here
        return Claim.given if member.group in passed else Claim.withheld

    return Truth(
        asked=case.caller in (caller.bound if cdev else caller.held),
        here=here,
        passed=passed,
        members={member.address: (state(member), claim(member)) for member in known.values()},
    )
