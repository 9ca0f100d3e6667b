"""Running steps in a thread, one after the other, as far as they go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from isod.kernel.port import Kernel
from isod.model.address import Address
from isod.model.host import Device
from isod.model.reason import Refusal, RefusedError
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


def run_stretch(
    kernel: Kernel, steps: Sequence[Step], begin_look: Callable[[], int]
) -> tuple[list[StepResult], Refusal | None, Mapping[Address, Device | None], int]:
    """In a thread: run steps until one fails, then look at the devices that they named."""
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
    return results, failure, {address: kernel.look(address) for address in changed}, look


def address_of(step: Step) -> Address:
    address = getattr(step, "address", None)
    assert isinstance(address, Address)
    return address
