"""How ``driver_override`` is read, which may wait for a client.

Before 7.x, showing it takes the device's lock (drivers/pci/pci-sysfs.c), and an unbind that waits
for an open file holds that lock: a plain read would hang, uninterruptibly. So the scanner takes a
reader: on a real kernel one that reads in the helper process and gives up after a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .tree import check_shortage


@dataclass(frozen=True, slots=True)
class Override:
    """A device's ``driver_override``: None is unset. ``unsettled``: the lock was held."""

    text: str | None = None
    unsettled: bool = False


OverrideReader = Callable[[Iterable[str]], Mapping[str, Override]]
"""Gives the overrides of PCI devices by name. A name that is missing in the answer is a device
that is gone or cannot be read. Raises OSError when it can read none now, and ShortageError."""


def parse_override(text: str) -> str | None:
    """What sysfs prints, as a driver's name; "(null)" and nothing mean unset."""
    stripped = text.strip()
    return None if stripped in {"", "(null)"} else stripped


def plain_reader(root: Path) -> OverrideReader:
    """A reader for trees whose files never wait: captured and simulated hosts."""
    devices = root / "sys" / "bus" / "pci" / "devices"

    def read(names: Iterable[str]) -> dict[str, Override]:
        found = {}
        for name in names:
            try:
                found[name] = Override(
                    parse_override((devices / name / "driver_override").read_text())
                )
            except FileNotFoundError:
                if (devices / name).exists():
                    found[name] = Override()
            except OSError as error:
                check_shortage(devices / name, error)
            except UnicodeDecodeError:
                continue
        return found

    return read
