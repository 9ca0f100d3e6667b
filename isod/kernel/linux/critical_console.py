"""The display that firmware started the machine on, and the devices of the console."""

from __future__ import annotations

import re
from pathlib import Path

from isod.model.host import is_vfio_driver

from .critical_finding import Findings, entries, pci_above, real_path

DISPLAY = "03"
COMMUNICATION = "07"
_VIRTUAL_TERMINAL = re.compile(r"tty[0-9]*")


def read_boot_display(findings: Findings) -> None:
    """``boot_vga`` (Documentation/ABI/testing/sysfs-bus-pci). Without a driver it may still show
    what firmware or the kernel's plain framebuffer draws; on vfio-pci it does not any more, which
    evicts those when it is bound. Raises OSError."""
    for device in findings.of_class(DISPLAY):
        if device.boot_display and not _with_vfio(findings.root, device.address.name):
            findings.add(device.address.name, "display", "is the boot display")


def _with_vfio(root: Path, name: str) -> bool:
    try:
        driver = (root / "sys/bus/pci/devices" / name / "driver").readlink().name
    except (FileNotFoundError, NotADirectoryError):
        return False
    return is_vfio_driver(driver)


def read_console(findings: Findings) -> None:
    """Each of ``/sys/class/tty/console/active`` (Documentation/ABI/testing/sysfs-tty), and where
    it is. Raises OSError."""
    classes = findings.root / "sys/class/tty"
    try:
        active = (classes / "console/active").read_text().split()
    except FileNotFoundError:
        return
    for name in active:
        if _VIRTUAL_TERMINAL.fullmatch(name):
            _shown_on(findings, name)
            continue
        path = real_path(classes / name / "device") or real_path(classes / name)
        device = None if path is None else pci_above(path)
        if device is not None:
            findings.add(device, "console", f"carries the console ({name})")
        elif path is None or "/devices/virtual/" in path:
            # hvc0 is a virtual device of which nothing says where its other end is.
            findings.suspect(f"may carry the console ({name})", COMMUNICATION)


def _shown_on(findings: Findings, terminal: str) -> None:
    """A virtual terminal is drawn on the framebuffers (``/sys/class/graphics/fb*``)."""
    top = findings.root / "sys/class/graphics"
    for name in entries(top):
        if name.startswith("fb") and name != "fbcon":
            path = real_path(top / name)
            device = None if path is None else pci_above(path)
            if device is not None:
                findings.add(device, "console", f"shows the console ({terminal} on {name})")
