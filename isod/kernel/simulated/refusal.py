"""Refusals for what only the simulated kernel can see; ``kernel.refusal`` has the others."""

from __future__ import annotations

from isod.model.reason import Reason, RefusedError
from isod.model.step import GroupName

from .host import Host


def not_viable(host: Host, group: GroupName, number: int) -> RefusedError:
    """A driver that manages DMA, or another owner, has the group."""
    drivers = {name: host.tree.driver(name) for name in host.tree.members(group.number)}
    blocking = {
        f"pci:{name}": driver
        for name, driver in drivers.items()
        if host.machine.kind(driver) == "kernel"
    }
    if not blocking:
        return RefusedError(
            Reason.held_outside,
            f"group {group.number} has another owner, though no member's driver blocks it",
            errno=number,
        )
    names = ", ".join(f"{name} is on {driver}" for name, driver in blocking.items())
    return RefusedError(
        Reason.not_viable,
        f"group {group.number} is not viable: {names}",
        devices=list(blocking),
        drivers=blocking,
        errno=number,
    )


def firmware_mapping(group: GroupName, number: int) -> RefusedError:
    """Firmware wants memory of the group mapped 1:1."""
    return RefusedError(
        Reason.firmware_mapping,
        f"firmware has memory mapped for group {group.number}",
        errno=number,
    )


def no_isolated_msi(number: int) -> RefusedError:
    """The platform has no interrupt remapping."""
    return RefusedError(
        Reason.no_isolated_msi, "the platform does not isolate interrupts", errno=number
    )
