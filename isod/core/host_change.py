"""A lease whose devices change under it: what it is afterwards. The ledger says what follows.

Which device is meant is a matter of address *and* generation: an address that was removed and
added again is another device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from isod.model.address import Address
from isod.model.event import DeviceJoined, PrepareFailed
from isod.model.lease import Lease, LeaseDevice, State
from isod.model.reason import Reason
from isod.model.step import Fence

from .plan import plan_reopen


def without(lease: Lease, address: Address, generation: int, *, group_gone: bool) -> Lease:
    """The lease without a device that is gone; the very same one if it did not have it.

    A group that is gone is not the lease's any more: the kernel gives its number to another one.
    """
    gone = {(d.address, d.generation) for d in lease.devices} & {(address, generation)}
    strangers = tuple(name for name in lease.strangers if name != (address, generation))
    if not gone:
        return lease if strangers == lease.strangers else replace(lease, strangers=strangers)
    group = next(d.group for d in lease.devices if (d.address, d.generation) in gone)
    left = tuple(d for d in lease.devices if (d.address, d.generation) not in gone)
    groups = lease.groups
    if group_gone:
        groups = tuple(name for name in groups if name.number != group)
    return replace(
        lease,
        devices=left,
        groups=groups,
        strangers=strangers,
        open=tuple(one for one in lease.open if one != address),
    )


def merged(lease: Lease, seen: Sequence[LeaseDevice]) -> tuple[LeaseDevice, ...]:
    """The lease's devices as an operation left them (``seen``), but for those that are gone or
    have joined since it began."""
    known = {(device.address, device.generation): device for device in seen}
    return tuple(known.get((d.address, d.generation), d) for d in lease.devices)


def held_outside(lease: Lease, address: Address, by: str | None) -> Lease:
    """The lease with what others have made of one of its devices."""
    devices = tuple(
        replace(device, held_outside=by) if device.address == address else device
        for device in lease.devices
    )
    return replace(lease, devices=devices)


def joined(lease: Lease, event: DeviceJoined) -> Lease:
    """The lease with a device that came into its isolation group, on its way to be parked."""
    device = event.device
    more = () if event.group is None or event.group in lease.groups else (event.group,)
    return replace(
        lease,
        state=State.joining,
        devices=(*lease.devices, device),
        groups=(*lease.groups, *more),
        domain=tuple(sorted({*lease.domain, *event.domain})),
        strangers=tuple(n for n in lease.strangers if n != (device.address, device.generation)),
    )


def without_untouched(lease: Lease, event: PrepareFailed) -> Lease | None:
    """The lease without the device that was to be parked, if only its first step was begun, and
    that found another driver there than the scan had seen: the kernel announces a device before
    it looks for a driver (``device_add`` in drivers/base/core.c). Nothing was done to it, so it is
    judged anew as what it is now; a group that it brought along is nobody's again. None: something
    was done, or something else was wrong."""
    raced = event.begun == 1 and event.refusal.reason is Reason.in_use_by_driver
    named = event.refusal.details.get("devices")
    *others, newest = lease.devices or (None,)
    if not raced or newest is None or newest.why != "sibling" or named != [str(newest.address)]:
        return None
    has = {device.group for device in others}
    groups = tuple(one for one in lease.groups if one.number in has or one.number != newest.group)
    return replace(lease, devices=tuple(others), groups=groups)


def fenced(lease: Lease, begun: int) -> tuple[LeaseDevice, ...]:
    """The lease's devices after fresh fds could not be opened, for which ``begun`` steps were
    begun: a fence, which is an unbind, of one after the other."""
    steps = plan_reopen(lease)[:begun]
    addresses = {step.address for step in steps if isinstance(step, Fence)}
    return tuple(
        replace(device, fenced=True) if device.address in addresses else device
        for device in lease.devices
    )
