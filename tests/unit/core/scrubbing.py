"""The scrub on the books: what resets hit, which of them fail, and which have to wait."""

from __future__ import annotations

from dataclasses import replace

from isod.core.reset_set import ResetSets
from isod.core.scrub import in_the_way
from isod.model.address import Address
from isod.model.effect import GiveBack
from isod.model.event import Returned, ScrubBlocked
from isod.model.host import HostSnapshot, is_vfio_driver
from isod.model.lease import Lease
from isod.model.reason import Reason, Refusal
from isod.model.step import HotReset, Reset, Step

FAILED = Refusal(Reason.kernel, "injected", {})


def hit_by(host: HostSnapshot, step: HotReset) -> list[Address]:
    """What a bus reset really hits: everything beside the device (nothing here lies deeper)."""
    return [address for address in host.devices if address.pci_bus == step.address.pci_bus]


def is_refused(host: HostSnapshot, step: HotReset, drivers: dict[Address, str | None]) -> bool:
    """The kernel wants every function of the set on vfio and among those that it is told of: a
    set that has grown since the steps were planned is not reset."""
    known = dict(step.members)
    return any(
        known.get(address) != host.devices[address].generation
        or not is_vfio_driver(drivers[address] or "")
        for address in hit_by(host, step)
    )


def check_hot_reset(
    host: HostSnapshot, step: HotReset, lease: Lease, drivers: dict[Address, str | None]
) -> None:
    """A hot reset hits the lease's own functions and nothing else, and all are on vfio."""
    own = {device.address for device in lease.devices}
    for address in hit_by(host, step):
        assert address in own, f"{address} is reset and not of {lease.id}"
        driver = drivers[address]
        assert driver is not None, f"{address} is reset on no driver"
        assert is_vfio_driver(driver), f"{address} is reset on {driver}"


def blocked(host: HostSnapshot, effect: GiveBack, owners: dict[int, Lease]) -> str | None:
    """What the executor asks first."""
    return in_the_way(ResetSets(host), owners.get, effect.steps)


def may_wait(effect: GiveBack) -> bool:
    return any(isinstance(step, HotReset) and step.required for step in effect.steps)


def waits(effect: GiveBack, *, seen: bool) -> ScrubBlocked:
    """Something is in the way that the host's picture shows, or does not."""
    return ScrubBlocked(effect.lease.id, "something was plugged in", seen=seen)


def failing(step: Step) -> Refusal:
    """A step that fails, as the executor names it."""
    return replace(FAILED, details={"step": step.step})


def returned(effect: GiveBack, failed: Reset | HotReset | None) -> Returned:
    """The way back's end; a failed reset is a remark unless it is required."""
    if failed is None or not failed.required:
        return Returned(effect.lease.id)
    return Returned(effect.lease.id, ((failed.address, failing(failed)),))


def of_which(lease: Lease, failed: Reset | HotReset) -> set[Address]:
    """The devices that a failed reset leaves unclean."""
    if isinstance(failed, Reset):
        return {failed.address}
    beside = failed.address.pci_bus
    known = {a for d in lease.devices if d.address == failed.address for a in d.hot_reset}
    return {
        device.address
        for device in lease.devices
        # What joined later as a parked sibling was never in the client's hands.
        if device.address.pci_bus == beside and (device.why != "sibling" or device.address in known)
    }
