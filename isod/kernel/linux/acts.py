"""Writes to a device's attributes, each bounded in time and for one instance of the device only."""

from __future__ import annotations

import errno
from pathlib import Path

from isod.kernel.helper import Helpers, StuckError, Write
from isod.kernel.overrides import parse_override
from isod.kernel.refusal import gone, refused_by_kernel
from isod.kernel.scan import pci_directory
from isod.kernel.tree import Directory, UnreadableError
from isod.model.address import Address
from isod.model.reason import Reason, RefusedError

_DEVICES = "bus/pci/devices"
_DRIVERS = "bus/pci/drivers"
_GONE = {errno.ENOENT, errno.ENODEV, errno.ESTALE}
_OVERRIDE_SECONDS = 5.0
_DRIVER_SECONDS = 60.0
_RESET_SECONDS = 30.0


class Acts:
    """Acts on the PCI devices of one host, done in its helper processes."""

    def __init__(self, root: Path, helpers: Helpers) -> None:
        self._root = root
        self._helpers = helpers

    def driver(self, address: Address, generation: int) -> str | None:
        """The bound driver now. Raises RefusedError (gone) for another instance."""
        if address.bus != "pci":
            raise RefusedError(Reason.unsupported, f"{address} is no PCI device")
        try:
            with Directory(pci_directory(self._root) / address.name) as directory:
                if directory.generation != generation:
                    raise gone(address)
                return directory.link("driver")
        except FileNotFoundError as error:
            raise gone(address) from error
        except UnreadableError as error:
            raise refused_by_kernel(f"cannot read {address}", error.errno) from error

    def override(self, address: Address) -> str | None:
        """``driver_override`` as it reads now. Raises RefusedError."""
        path = f"{_DEVICES}/{address.name}/driver_override"
        try:
            found = self._helpers.read([path], _OVERRIDE_SECONDS)[path]
        except OSError as error:
            raise refused_by_kernel(
                f"cannot read driver_override of {address}: the helper failed",
                error.errno or errno.EIO,
            ) from error
        if found is None:
            raise self._stuck(f"reading driver_override of {address}")
        number, text = found
        if number in _GONE:
            raise gone(address)
        if number:
            raise refused_by_kernel(f"cannot read driver_override of {address}", number)
        return parse_override(text)

    def set_override(self, address: Address, generation: int, driver: str | None) -> None:
        """Write ``driver_override``, a newline for None. Raises RefusedError."""
        write = self._attribute(address, generation, "driver_override", f"{driver or ''}\n")
        number = self._write(write, _OVERRIDE_SECONDS, f"driver_override of {address}")
        if number in _GONE:
            raise gone(address)
        if number:
            raise refused_by_kernel(f"cannot set driver_override of {address}", number)

    def unbind(self, address: Address, driver: str) -> None:
        """Unbind from a kernel driver. Raises RefusedError; ENODEV (not bound to it) is success,
        since the caller reads the link back."""
        write = Write(f"{_DRIVERS}/{driver}/unbind", address.name)
        number = self._write(write, _DRIVER_SECONDS, f"unbinding {address} from {driver}")
        if number not in {0, errno.ENODEV}:
            raise refused_by_kernel(f"cannot unbind {address} from {driver}", number)

    def probe_drivers(self, address: Address) -> int:
        """Let the bus find a driver; the errno. No match is success: read the link back."""
        write = Write("bus/pci/drivers_probe", address.name)
        return self._write(write, _DRIVER_SECONDS, f"probing drivers for {address}")

    def autoprobes(self) -> bool:
        """Whether the bus looks for a driver when a device is added. Raises OSError."""
        return (self._root / "sys/bus/pci/drivers_autoprobe").read_text().strip() != "0"

    def reset(self, address: Address, generation: int) -> int:
        """Reset one function through sysfs; the errno."""
        write = self._attribute(address, generation, "reset", "1")
        return self._write(write, _RESET_SECONDS, f"resetting {address}")

    def _attribute(self, address: Address, generation: int, name: str, text: str) -> Write:
        return Write(f"{_DEVICES}/{address.name}/{name}", text, generation)

    def _write(self, write: Write, seconds: float, what: str) -> int:
        try:
            return self._helpers.write([write], seconds)[0]
        except StuckError as error:
            raise self._stuck(what) from error
        except OSError as error:
            raise refused_by_kernel(
                f"{what}: the helper failed", error.errno or errno.EIO
            ) from error

    def _stuck(self, what: str) -> RefusedError:
        return refused_by_kernel(
            f"{what} does not return",
            errno.ETIMEDOUT,
            hint="the device's lock is held: an unbind waits for an open file, or a driver hangs",
        )
