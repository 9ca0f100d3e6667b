"""A device that goes away under a lease while its owner may still have it open.

An unbind, and a removal, take the device's ``driver`` link away and then wait for the last close
(drivers/vfio/vfio_main.c, vfio_unregister_group_dev). The owner is told at once, and has the time
of its rule's ``revoke`` to close it; the lease goes on with fewer devices. Whether this very device
is still open when the time is over no probe can tell: they see groups. A fence can, and disturbs
nobody here, since the kernel unbinds the device anyway.

    leased --Deadline--> proving --Prepared--> leased           it is closed
                            '--PrepareFailed--> draining        it is open, and the rule says kill
"""

from __future__ import annotations

from dataclasses import replace

from isod.model.effect import Effect, StartTimer, StopTimer
from isod.model.lease import NO_DRIVER, Lease, LeaseDevice
from isod.model.step import Fence, Step

from .revocation import time_left
from .scrub import in_reach

AGAIN_SECONDS = 1.0


def waited_for(lease: Lease) -> tuple[LeaseDevice, ...]:
    """The devices that go as soon as the owner has closed them. A parked one it has not open."""
    return tuple(
        one for one in in_reach(lease.devices, lease.hand_over) if one.held_outside == NO_DRIVER
    )


def timed(lease: Lease, now: float) -> tuple[Lease, tuple[Effect, ...]]:
    """The lease with its time to close what goes, or without, if nothing goes any more. One that is
    taken back as a whole, or ends, has the time for that."""
    if not waited_for(lease):
        return forgotten(lease)
    ends = lease.revocation is not None or lease.state.public != "leased"
    if ends or lease.leaving is not None:
        return lease, ()
    seconds = lease.terms.revoke.ask
    lease = replace(lease, leaving=now + seconds)
    return lease, (StartTimer(lease, seconds),)


def forgotten(lease: Lease) -> tuple[Lease, tuple[Effect, ...]]:
    """The lease without such a time."""
    if lease.leaving is None:
        return lease, ()
    lease = replace(lease, leaving=None)
    return lease, (StopTimer(lease),)


def resumed(lease: Lease, now: float) -> tuple[Lease, tuple[Effect, ...]]:
    """After a restart: the timer runs for what is left."""
    if lease.leaving is None or lease.revocation is not None:
        return lease, ()
    seconds = time_left(lease, lease.leaving, now)
    lease = replace(lease, leaving=now + seconds)
    return lease, (StartTimer(lease, seconds),)


def steps_to_prove(lease: Lease) -> tuple[Step, ...]:
    """A fence for each device that goes."""
    return tuple(Fence(one.address, one.generation) for one in waited_for(lease))


def asked(lease: Lease, device: LeaseDevice) -> str:
    """What the owner is told, beside that the device is on no driver."""
    seconds = f"{lease.terms.revoke.ask:g} s"
    ends = ", or be ended" if lease.terms.revoke.then == "kill" else ""
    return f"{device.address.short} is on {NO_DRIVER}: close it within {seconds}{ends}"


def not_closed(lease: Lease) -> str:
    """What is said of the owner when the time is over."""
    names = ", ".join(one.address.short for one in waited_for(lease))
    return f"{names} is being taken away and was not closed in time"
