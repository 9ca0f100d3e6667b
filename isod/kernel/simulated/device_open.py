"""The first open of a device: it is enabled and reset (vfio_pci_core_enable)."""

from __future__ import annotations

import errno

from .failure import failure
from .host import Host
from .pci import function_reset_works
from .resets import log_reset


def first_open(host: Host, device: str) -> bool:
    """Enable a device; returns whether its function reset works.

    Raises EAGAIN where it has reset methods and its lock is held by a pending unbind.
    """
    if host.tree.attribute(device, "reset_method"):
        refuse_locked(host, device)
    works = function_reset_works(host, device)
    if works:
        log_reset(host, "function", device, "open")
    host.tree.set_enabled(device, 1)
    return works


def refuse_locked(host: Host, device: str) -> None:
    """Raise EAGAIN while an unbind of the device waits, holding its lock."""
    if host.pending(device):
        raise failure(errno.EAGAIN, "the device's lock is held")
