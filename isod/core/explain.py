"""A plan in words: each step, and what undoes it. The steps are the very ones a grant runs."""

from __future__ import annotations

from collections.abc import Mapping

from isod.model.address import Address
from isod.model.lease import LeaseDevice
from isod.model.reply import PlannedStep
from isod.model.step import (
    Bind,
    GrantNodes,
    HotReset,
    Limit,
    OpenGroup,
    OpenIommufd,
    Probe,
    Reset,
    Step,
    Unbind,
)

from .plan import Plan


def planned_steps(plan: Plan) -> tuple[PlannedStep, ...]:
    """All steps in order, with their words."""
    devices = {device.address: device for device in plan.devices}
    return tuple(_planned(step, devices) for step in plan.steps)


def _planned(  # noqa: PLR0911 - one line a step
    step: Step, devices: Mapping[Address, LeaseDevice]
) -> PlannedStep:
    match step:
        case Unbind(address=address, driver=driver):
            text = f"{address.short} from {driver}"
            return PlannedStep(
                step="unbind", address=address, driver=driver, text=text, undo="probing again"
            )
        case Bind(address=address, driver=driver, sibling=sibling):
            former = devices[address].former_override
            undo = "clearing the override" if former is None else f"the override {former}"
            return PlannedStep(
                step="park" if sibling else "bind",
                address=address,
                driver=driver,
                text=f"{address.short} to {driver}",
                undo=undo,
            )
        case Probe(group=group, held_only=True):
            text = f"whether another program has group {group.number} open"
            return PlannedStep(step="probe", group=group.number, text=text)
        case Probe(group=group):
            text = f"whether group {group.number} can be owned"
            return PlannedStep(step="probe", group=group.number, text=text)
        case Reset(address=address):
            text = f"{address.short} (function)"
            return PlannedStep(step="reset", address=address, text=text)
        case HotReset(address=address):
            together = ", ".join(member.short for member in devices[address].hot_reset)
            return PlannedStep(step="reset", address=address, text=f"{together} (hot)")
        case Limit(pid=pid, soft=soft):
            text = f"memlock of pid {pid} to {_size(soft)}"
            return PlannedStep(step="limit", text=text, undo="the limit of before")
        case GrantNodes(groups=groups, uid=uid):
            names = ", ".join(f"/dev/vfio/{group.number}" for group in groups)
            text = f"uid {uid} may open {names}"
            return PlannedStep(step="grant", text=text, undo="taking the rights back")
        case OpenIommufd(devices=opened, iommufd=new):
            names = ", ".join(_cdev(devices[address]) for address in opened)
            text = f"{'iommufd, ' if new else ''}{names} (unbound)"
            return PlannedStep(step="open", text=text)
        case OpenGroup(groups=groups, devices=opened):
            parts = ["container", *(f"group {group.number}" for group in groups)]
            text = ", ".join([*parts, *(address.short for address in opened)])
            return PlannedStep(step="open", text=text)
        case _:
            raise TypeError(f"{step.step} is no step of a grant")


def _cdev(device: LeaseDevice) -> str:
    return device.cdev or f"the cdev of {device.address.short}"


def _size(size: int) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size % 1024 or size == 0:
            return f"{size} {unit}"
        size //= 1024
    return f"{size} TiB"
