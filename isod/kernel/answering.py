"""Does a device answer? All ones come back from one that has fallen off its bus.

Read from the first 64 bytes of config space in sysfs, which need no capability; the kernel wakes
a sleeping device for it (drivers/pci/pci-sysfs.c, pci_read_config).
"""

from __future__ import annotations

import struct
from pathlib import Path

from isod.model.address import Address

from .scan import pci_directory
from .tree import Directory, UnreadableError, hexadecimal

_NOTHING = 0xFFFFFFFF


def silence(root: Path, address: Address) -> str | None:
    """Why a device does not answer as itself, as a sentence; None: it does, or its config space is
    not shown.

    A virtual function has no ids in its config space (SR-IOV 3.4.1.1): of it the class is read.
    """
    name = address.short
    try:
        with Directory(pci_directory(root) / address.name) as directory:
            config = directory.data("config", 64)
            ids = _ids(directory)
    except FileNotFoundError:
        return f"{name} is gone"
    except UnreadableError as error:
        return f"{name} cannot be read: {error}"
    if config is None:
        return None
    first, _, kind = struct.unpack_from("<III", config.ljust(12, b"\xff"))
    if kind == _NOTHING or (ids is not None and first == _NOTHING):
        return f"{name} does not answer after its reset"
    if ids is not None and f"{first:08x}" != ids:
        return f"{name} is {first & 0xFFFF:04x}:{first >> 16:04x} after its reset"
    return None


def _ids(directory: Directory) -> str | None:
    """The first four bytes that config space should have, as one number; None: it has none."""
    if directory.link("physfn") is not None:
        return None
    return hexadecimal(directory.text("device"), 4) + hexadecimal(directory.text("vendor"), 4)
