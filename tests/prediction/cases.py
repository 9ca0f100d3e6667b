"""Every state that a client and its neighbours can bring a reset set into, as scripts.

Pure: from the functions of a set to the cases. A case says on which driver each function is, what
another client does first, and what the caller does (in the words of ``prober.c``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

VFIO = "vfio-pci"
TOKEN = "6d2c8a4e-1f0b-4c55-9e77-0b1a2c3d4e5f"

HandOver = Literal["iommufd", "group"]


@dataclass(frozen=True)
class Function:
    """A function of the set. ``native`` is the kernel's driver for it; None: leave that out.

    ``kept``: it is on no vfio driver and stays so (a bridge, a physical function in use).
    ``on_vfio``: it is on one and stays so (a virtual function, and its physical one if that is on
    vfio, too). ``token``: opening it takes the VF token. ``noiommu``: its group is vfio's fake one.
    """

    address: str
    group: int
    native: str | None = None
    bridge: bool = False
    kept: bool = False
    on_vfio: bool = False
    token: bool = False
    noiommu: bool = False


@dataclass(frozen=True)
class Case:
    """``focus`` is the function whose state the case is about; None: the caller is alone.

    ``{cdev ADDRESS}`` in a script stands for the device's node: its name changes with each bind.
    """

    name: str
    caller: str
    hand_over: HandOver
    focus: str | None
    drivers: Mapping[str, str | None]
    caller_does: tuple[str, ...]
    other_does: tuple[str, ...] = ()


def cases(
    members: Sequence[Function],
    caller: Function,
    hand_over: HandOver,
    *,
    cdevs: bool,
    stub: bool,
) -> Iterator[Case]:
    """All cases of one caller. ``cdevs``: there are device nodes; ``stub``: there is pci-stub."""
    others = [member for member in members if member.address != caller.address]
    write = _Cdev(caller, others) if hand_over == "iommufd" else _Group(caller, others, cdevs)
    if not others:
        yield write.case("alone", None, {})
    for focus in others:
        if focus.kept:
            yield write.case("as it is", focus, {})
            if focus.group != caller.group:
                apart = write.script(focus, [], without=focus.group)
                yield write.case("as it is, nothing of its group", focus, {}, apart)
            continue
        if not focus.on_vfio:
            yield write.case("on no driver", focus, {focus.address: None})
            for driver in (focus.native, "pci-stub" if stub else None):
                if driver is not None:
                    yield write.case(f"on {driver}", focus, {focus.address: driver})
        yield from write.on_vfio(focus)


def _target(member: Function) -> str:
    return f"{{cdev {member.address}}}"


def _token(member: Function) -> str:
    return f" {TOKEN}" if member.token else ""


class _Writer:
    """Writes the scripts of one caller."""

    hand_over: HandOver

    def __init__(self, caller: Function, others: Sequence[Function]) -> None:
        self.caller = caller
        self.others = others

    def case(
        self,
        name: str,
        focus: Function | None,
        drivers: Mapping[str, str | None],
        does: Sequence[str] = (),
        other_does: Sequence[str] = (),
    ) -> Case:
        everybody = [self.caller, *self.others]
        free = [one.address for one in everybody if not (one.kept or one.on_vfio)]
        return Case(
            name=name,
            caller=self.caller.address,
            hand_over=self.hand_over,
            focus=None if focus is None else focus.address,
            drivers=dict.fromkeys(free, VFIO) | dict(drivers),
            caller_does=tuple(does) or self.script(focus, []),
            other_does=tuple(other_does),
        )

    def script(
        self, focus: Function | None, extra: Sequence[str], *, without: int | None = None
    ) -> tuple[str, ...]:
        raise NotImplementedError

    def on_vfio(self, focus: Function) -> Iterator[Case]:
        raise NotImplementedError

    def rest(self, focus: Function | None) -> list[Function]:
        """What is neither caller nor focus and can be had."""
        return [one for one in self.others if one is not focus and not one.kept]


class _Cdev(_Writer):
    """The caller's device is opened by its own node and bound to the iommufd ``x``."""

    hand_over = "iommufd"

    def script(
        self, focus: Function | None, extra: Sequence[str], *, without: int | None = None
    ) -> tuple[str, ...]:
        """The caller binds one device of each other group, but none of the group ``without``."""
        caller = self.caller
        lines = ["iommufd x", f"cdev d {_target(caller)}", f"bind d x{_token(caller)}"]
        bound = {caller.group} | ({without} if without is not None else set())
        for number, one in enumerate(self.rest(focus)):
            if one.group not in bound:
                bound.add(one.group)
                lines += [f"cdev r{number} {_target(one)}", f"bind r{number} x{_token(one)}"]
        return (*lines, *extra, "info d", "reset d")

    def on_vfio(self, focus: Function) -> Iterator[Case]:
        opened = f"cdev m {_target(focus)}"
        bound = [opened, f"bind m x{_token(focus)}"]
        yield self.case("not open", focus, {}, self.script(focus, []))
        yield self.case("open but unbound", focus, {}, self.script(focus, [opened]))
        yield self.case("bound to the same iommufd", focus, {}, self.script(focus, bound))
        if focus.group == self.caller.group:
            return
        free = self.script(focus, [], without=focus.group)
        yield self.case("not open, its group not here", focus, {}, free)
        half = self.script(focus, [opened], without=focus.group)
        yield self.case("open but unbound, its group not here", focus, {}, half)
        elsewhere = ["iommufd y", opened, f"bind m y{_token(focus)}"]
        yield self.case("bound to another iommufd", focus, {}, free, elsewhere)
        group = [f"group g /dev/vfio/{focus.group}"]
        yield self.case("its group opened elsewhere", focus, {}, free, group)


class _Group(_Writer):
    """The caller's device is opened through its group ``own`` in a container."""

    hand_over = "group"

    def __init__(self, caller: Function, others: Sequence[Function], cdevs: bool) -> None:
        super().__init__(caller, others)
        self._cdevs = cdevs

    def script(
        self,
        focus: Function | None,
        extra: Sequence[str],
        *,
        also: Sequence[str] = (),
        own: bool = True,
        without: int | None = None,
    ) -> tuple[str, ...]:
        """The caller opens and passes the group of every other function, but not ``without``."""
        caller = self.caller
        node, kind = ("noiommu-", " noiommu") if caller.noiommu else ("", "")
        lines = ["container c", f"group own /dev/vfio/{node}{caller.group}"]
        lines += ["attach own c", f"iommu c{kind}"]
        lines.append(f"device d own {caller.address}" + _named_token(caller))
        passed = ["own"] if own else []
        known = {caller.group} | ({without} if without is not None else set())
        for number, one in enumerate(self.rest(focus)):
            if one.group not in known:
                known.add(one.group)
                lines.append(f"group g{number} /dev/vfio/{one.group}")
                passed.append(f"g{number}")
        return (*lines, *extra, "info d", " ".join(["reset d", *passed, *also]))

    def on_vfio(self, focus: Function) -> Iterator[Case]:
        opened = f"cdev m {_target(focus)}"
        if focus.group == self.caller.group:
            yield self.case("not open, fd passed", focus, {}, self.script(focus, []))
            device = f"device m own {focus.address}" + _named_token(focus)
            for own, word in ((True, "passed"), (False, "not passed")):
                does = self.script(focus, [device], own=own)
                yield self.case(f"open through the group, fd {word}", focus, {}, does)
            yield self.case("not open, fd not passed", focus, {}, self.script(focus, [], own=False))
            if self._cdevs:
                half = self.script(focus, [opened])
                yield self.case("open but unbound, fd passed", focus, {}, half)
            return
        here = focus.group
        group = f"group b /dev/vfio/{here}"
        free = self.script(focus, [], without=here)
        given = self.script(focus, [group], also=["b"], without=here)
        yield self.case("not open, fd passed", focus, {}, given)
        yield self.case("not open, fd not passed", focus, {}, free)
        in_use = [group, "container e", "attach b e", "iommu e"]
        in_use.append(f"device m b {focus.address}" + _named_token(focus))
        used = self.script(focus, in_use, also=["b"], without=here)
        yield self.case("its group in use elsewhere, fd passed", focus, {}, used)
        yield self.case("its group in use elsewhere, fd not passed", focus, {}, free, [group])
        if not self._cdevs:
            return
        half = self.script(focus, [group, opened], also=["b"], without=here)
        yield self.case("open but unbound, fd passed", focus, {}, half)
        apart = self.script(focus, [opened], without=here)
        yield self.case("open but unbound, fd not passed", focus, {}, apart)
        elsewhere = ["iommufd y", opened, f"bind m y{_token(focus)}"]
        yield self.case("bound to an iommufd elsewhere", focus, {}, free, elsewhere)


def _named_token(member: Function) -> str:
    return f" vf_token={TOKEN}" if member.token else ""
