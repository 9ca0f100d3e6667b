"""What a command asks for: devices by address, and devices out of pools."""

from __future__ import annotations

from collections.abc import Sequence

from isod.model.address import Address
from isod.model.reply import LeaseInfo
from isod.model.request import WantedDevice, WantedPool

from .handed import HandedFiles

Wish = WantedDevice | WantedPool


def expected(wishes: Sequence[Wish]) -> tuple[Address | None, ...]:
    """One entry for each device to come; None where only the lease will say which it is."""
    found: list[Address | None] = []
    for wish in wishes:
        if isinstance(wish, WantedPool):
            found += [None] * wish.count
        else:
            found.append(wish.address)
    return tuple(found)


def granted(wishes: Sequence[Wish], lease: LeaseInfo, files: HandedFiles) -> tuple[Address, ...]:
    """The devices that came, in the order of the wishes, which is that of their files, too. Where
    a hand-over brings none, those out of one pool come in the lease's order."""
    pool_of = {one.address: one.pool for one in lease.devices if one.why == "requested"}
    order = [address for address in files.devices if address in pool_of] or list(pool_of)
    found: list[Address] = []
    for wish in wishes:
        if isinstance(wish, WantedPool):
            members = [a for a in order if pool_of[a] == wish.pool and a not in found]
            found += members[: wish.count]
        else:
            found.append(wish.address)
    return tuple(found)
