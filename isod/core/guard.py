"""The guard: what the host needs is not taken, whatever the rule, unless ``critical_ok`` says so.

It looks at everything that a grant reaches: the devices of the groups (requested, parked, bridges
whose driver is taken, and members that are left alone, since they become the client's together),
and what shares their fate: virtual functions with their physical one, whatever hangs below a
device that loses its driver, and the bus of a device where the rule lets a hot reset happen.

The physical function does not share the fate of a virtual one: a card that carries the host's
route while its virtual functions go to machines is what they are made for. Nor does the bus count
without ``whole-set``: isod runs function resets only, and a hot reset of the client's own is
refused by the kernel as long as one function of the set has another driver than vfio's.

A device on a vfio driver, or without a driver, carries neither route nor disk. The facts say so
already: they are read after the request, and are not second-guessed here by an older snapshot.
Only chipset functions and the boot display are in use without a driver.

What the host needs may change between the decision and the act: a grant waits for other operations
and takes one device after the other. So it is asked again right before each unbind.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from isod.model.address import Address
from isod.model.critical import CriticalFacts, CriticalUse, Kind
from isod.model.host import Device, Group, HostSnapshot
from isod.model.reason import Reason, RefusedError
from isod.model.terms import Terms

from .isolation import blocks_ownership, can_be_owned
from .reset_set import ResetSets

_REMEDIES: Mapping[Kind, str] = {
    "default route": "move the route",
    "network disk": "move what is mounted over it",
    "another namespace": "give its network interface back",
    "mounted disk": "unmount it",
    "swap": "turn that swap off",
    "volume": "deactivate the volume",
    "display": "start the machine on another display",
    "console": "move the console",
}
_SHOWN = 2

Touched = dict[Address, str]


def check_guard(
    sets: ResetSets,
    facts: CriticalFacts,
    requested: Sequence[Device],
    groups: Sequence[Group],
    terms: Terms,
    extras: Sequence[Device] = (),
) -> tuple[str, ...]:
    """Raises RefusedError ``host_critical``. Returns warnings: what ``critical_ok`` let pass.

    ``extras`` are what a reset set pulled in; what else is in ``groups`` a quirk has joined."""
    touched = _touched(sets, requested, groups, terms, extras)
    return _check(touched, facts, terms.critical_ok)


def check_unbind(
    snapshot: HostSnapshot, facts: CriticalFacts, address: Address, critical_ok: Collection[str]
) -> None:
    """As ``check_guard``, of one device that is about to lose its driver, and of what goes with
    it; ``facts`` are from right before. Raises RefusedError ``host_critical``."""
    device = snapshot.devices.get(address)
    touched = {address: address.short}
    if device is not None:
        _add_fellows(snapshot, {address: device}, touched)
    _check(touched, facts, critical_ok)


def _check(touched: Touched, facts: CriticalFacts, critical_ok: Collection[str]) -> tuple[str, ...]:
    passed: list[str] = []
    refused: list[tuple[Address, str, tuple[CriticalUse, ...]]] = []
    for address, sentence in touched.items():
        uses = facts.uses_of(address)
        if not uses:
            continue
        if str(address) in critical_ok:
            passed.append(f"{address.short} {_words(uses)}; critical_ok lets it pass")
        else:
            refused.append((address, sentence, uses))
    if not refused:
        return tuple(passed)
    _, sentence, uses = refused[0]
    more = f"; {_more(refused[1:])} needed as well" if refused[1:] else ""
    raise RefusedError(
        Reason.host_critical,
        f"{sentence} {_words(uses)}{more}",
        hint=_hint(refused),
        devices=[str(address) for address, _, _ in refused],
        uses=[
            {"address": str(address), "kind": use.kind, "words": use.words}
            for address, _, found in refused
            for use in found
        ],
    )


def _touched(
    sets: ResetSets,
    requested: Sequence[Device],
    groups: Sequence[Group],
    terms: Terms,
    extras: Sequence[Device],
) -> Touched:
    """Everything that the grant reaches, each with the beginning of a sentence that says how."""
    touched: Touched = {device.address: device.address.short for device in requested}
    losing: dict[Address, Device] = {device.address: device for device in requested}
    whole_set = terms.reset == "whole-set" or bool(extras)
    for group in groups:
        members = sets.snapshot.members(group.number)
        if not can_be_owned(members):
            continue  # a port that a quirk brings along is left alone
        asked = next((member for member in members if member in requested), None)
        pulled_in = any(member in extras for member in members)
        for member in members:
            name = member.address.short
            if asked is not None:
                sentence = f"{asked.address.short} shares group {group.number} with {name}, which"
            elif pulled_in:
                sentence = f"the reset set brings {name} along, which"
            else:
                sentence = f"a quirk joins {requested[0].address.short} with {name}, which"
            touched.setdefault(member.address, sentence)
            if not member.is_bridge or blocks_ownership(member):
                losing[member.address] = member
    _add_fellows(sets.snapshot, losing, touched)
    if whole_set:
        _add_reset_sets(sets, requested, touched)
    return touched


def _add_fellows(
    snapshot: HostSnapshot, losing: Mapping[Address, Device], touched: Touched
) -> None:
    """Virtual functions, and what hangs below: they go with the driver of their parent. That is
    a bridge, or a controller with a PCI domain of its own (Intel VMD)."""
    for device in losing.values():
        for function in device.virtual_functions:
            touched.setdefault(
                function,
                f"{device.address.short} has the virtual function {function.short}, which",
            )
    for other in snapshot.devices.values():
        above = next((bridge for bridge in other.bridges if bridge in losing), None)
        if above is not None:
            touched.setdefault(
                other.address, f"below {above.short} hangs {other.address.short}, which"
            )


def _add_reset_sets(sets: ResetSets, requested: Sequence[Device], touched: Touched) -> None:
    for device in requested:
        reset_set = sets.of(device.address)
        for other in reset_set.members if reset_set is not None else ():
            touched.setdefault(
                other, f"a hot reset of {device.address.short} hits {other.short}, which"
            )


def _words(uses: Sequence[CriticalUse]) -> str:
    shown = " and ".join(use.words for use in uses[:_SHOWN])
    left = len(uses) - _SHOWN
    return f"{shown} and {left} more" if left > 0 else shown


def _more(others: Sequence[tuple[Address, str, tuple[CriticalUse, ...]]]) -> str:
    names = [address.short for address, _, _ in others]
    if len(names) > _SHOWN:
        names = [*names[:_SHOWN], f"{len(names) - _SHOWN} more"]
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"


def _hint(refused: Sequence[tuple[Address, str, tuple[CriticalUse, ...]]]) -> str:
    kinds = dict.fromkeys(use.kind for _, _, uses in refused for use in uses)
    remedies = list(dict.fromkeys(_REMEDIES[kind] for kind in kinds if kind in _REMEDIES))
    names = [address.short for address, _, _ in refused]
    if len(names) > _SHOWN:  # all of them stand in ``devices``
        names = [", ".join(names[:_SHOWN]), f"{len(names) - _SHOWN} more"]
    last = f"list {' and '.join(names)} in critical_ok of your rule"
    text = ", ".join([*remedies[:_SHOWN], f"or {last}"]) if remedies else last
    return text[:1].upper() + text[1:] + "."
