"""Which vfio driver a device wants: vfio-pci, or a variant that knows the device better.

A variant's module has an alias ``vfio_pci:…`` for its devices (include/linux/mod_devicetable.h,
PCI_ID_F_VFIO_DRIVER_OVERRIDE); it never binds by itself, only through ``driver_override``.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from isod.kernel.tree import names_in
from isod.model.host import VFIO_PCI

_PREFIX = "vfio_pci:"


def is_vfio_driver(driver: str) -> bool:
    """vfio-pci or a variant of it (``mlx5_vfio_pci``, ``hisi-acc-vfio-pci``)."""
    return driver.replace("_", "-").endswith(VFIO_PCI)


def vfio_drivers(root: Path) -> tuple[str, ...]:
    """The vfio drivers of PCI that are loaded, by name. Raises UnreadableError: to know of none
    would make a fence that fences nothing."""
    return tuple(name for name in names_in(root / "sys/bus/pci/drivers") if is_vfio_driver(name))


def preferred_driver(root: Path, release: str, modalias: str) -> str:
    """The loaded variant driver for a modalias (``pci:v…``), else ``vfio-pci``.

    ``release`` names the folder of ``/lib/modules`` with ``modules.alias``. A variant whose
    module is not loaded is passed over: loading modules is not isod's to do.
    """
    wanted = _PREFIX + modalias.removeprefix("pci:")
    for module in _modules(root, release, wanted):
        drivers = root / "sys/module" / module.replace("-", "_") / "drivers"
        try:
            names = sorted(path.name.removeprefix("pci:") for path in drivers.iterdir())
        except OSError:
            continue
        if names:
            return names[0]
    return VFIO_PCI


def _modules(root: Path, release: str, wanted: str) -> list[str]:
    try:
        text = (root / "lib/modules" / release / "modules.alias").read_text()
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for line in text.splitlines():
        if line.startswith(f"alias {_PREFIX}"):
            _, pattern, module = line.split(maxsplit=2)
            # "vfio_pci:v*d*…" matches every device: that is vfio-pci itself.
            if not pattern.startswith(f"{_PREFIX}v*") and fnmatchcase(wanted, pattern):
                found.append(module)
    return found
