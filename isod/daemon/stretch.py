"""Running steps in a thread, one after the other, as far as they go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from isod.kernel.port import Kernel
from isod.kernel.tree import UnreadableError
from isod.model.address import Address
from isod.model.host import Device
from isod.model.reason import Reason, Refusal, RefusedError
from isod.model.step import (
    Bind,
    Fence,
    OpenFile,
    Reset,
    Restore,
    Step,
    StepResult,
    Unbind,
)

from .outcome import close_files


@dataclass(frozen=True, slots=True)
class Run:
    """How far a run of steps came: what was opened, what else the results said, what failed."""

    begun: int
    files: tuple[OpenFile, ...]
    warnings: tuple[str, ...] = ()
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """How far a stretch of steps came (``begun``), and what the look afterwards saw: devices, None
    for those that are gone, and why others could not be read. ``look`` is its number."""

    begun: int
    results: Sequence[StepResult]
    failure: Refusal | None
    seen: Mapping[Address, Device | None]
    unread: Mapping[Address, str]
    look: int


def stretch_from(steps: Sequence[Step], begin: int) -> tuple[Step, ...]:
    """The step and those that may follow it at once: up to a fence, which waits in a process of its
    own, and up to an unbind, before which the host's needs are looked up."""
    end = begin + 1
    while end < len(steps) and not isinstance(steps[end], Fence | Unbind):
        end += 1
    return tuple(steps[begin:end])


def waits_for_helper(steps: Sequence[Step]) -> bool:
    """Whether one of them is done in a helper process (``kernel.linux.acts``), which a driver may
    keep from coming back."""
    return any(isinstance(step, Unbind | Bind | Restore | Reset) for step in steps)


def run_stretch(kernel: Kernel, steps: Sequence[Step], begin_look: Callable[[], int]) -> Stretch:
    """In a thread: run steps until one fails, then look at the devices that they named. A device
    that cannot be looked at is no step forward, but for one that only had to be put back."""
    results: list[StepResult] = []
    failure: Refusal | None = None
    begun: list[Step] = []
    try:
        for step in steps:
            begun.append(step)
            results.append(kernel.run(step))
    except RefusedError as error:
        named = {"step": steps[len(results)].step, **error.refusal.details}
        failure = replace(error.refusal, details=named)
    except BaseException:
        for result in results:
            close_files(result.files)
        raise
    changed = {address_of(s) for s in begun if s.step in {"bind", "unbind", "restore"}}
    look = begin_look()
    seen: dict[Address, Device | None] = {}
    unread: dict[Address, str] = {}
    for address in changed:
        try:
            seen[address] = kernel.look(address)
        except (UnreadableError, OSError) as error:
            unread[address] = str(error)
            if failure is None and not all(step.step == "restore" for step in begun):
                what = f"{address.short} cannot be read any more: {error}"
                failure = Refusal(Reason.kernel, what, {"errno": error.errno})
    return Stretch(len(begun), results, failure, seen, unread, look)


def address_of(step: Step) -> Address:
    address = getattr(step, "address", None)
    assert isinstance(address, Address)
    return address
