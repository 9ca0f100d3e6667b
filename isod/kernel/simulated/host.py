"""One simulated host: its machine, its open files, and how they hold each other."""

from __future__ import annotations

import random
from pathlib import Path

from . import opens
from .machine import Machine
from .opens import CONTEXTS, Opened
from .records import Container, DeviceFile, GroupFile, Iommufd, Record, RecordType
from .tree import Tree, names_in, text


class NotAHostError(ValueError):
    """The directory holds no simulated host."""


class Host:
    """A simulated kernel's memory. Every use of it is under the kernel's lock (see ``entry``).

    Objects are cheap and share nothing but the directory, as processes share a kernel.
    """

    def __init__(self, directory: Path) -> None:
        """Raises NotAHostError."""
        self.tree = Tree(directory)
        self.closed: list[Record] = []
        """Files found closed since the kernel was entered; ``entry`` sees to what follows."""
        if not self.tree.machine.exists():
            raise NotAHostError(f"no simulated host in {directory}")

    @property
    def machine(self) -> Machine:
        """What the machine can do, as it is written down now."""
        return Machine.load(self.tree.machine)

    def pending(self, name: str) -> bool:
        """Whether an unbind of the device is under way, waiting for an open file."""
        return any(mark.endswith(f"@{name}") for mark in names_in(self.tree.pending))

    def on_vfio(self, name: str) -> bool:
        """Whether a vfio driver has the device. One whose unbind waits has it still, though the
        ``driver`` link is gone (drivers/base/dd.c, __device_release_driver)."""
        return self.machine.kind(self.tree.driver(name)) == "vfio" or self.pending(name)

    # --- open files -------------------------------------------------------------------------------

    def open(self, place: str, node: str, record: Record) -> int:
        """Make an open file; the fd is the caller's."""
        if place == CONTEXTS:
            self._sweep_contexts()
        return opens.create(self.tree.opens, place, node, record)

    def files(self, group: int) -> list[Opened]:
        """The open files of a group and its devices, without those closed."""
        still_open, gone = opens.survey(self.tree.opens, str(group))
        self.closed += [opened.record for opened in gone]
        return still_open

    def group_files(self, group: int) -> list[tuple[str, GroupFile]]:
        """The open files of a group itself, those of an earlier group of that number left out."""
        incarnation = self.incarnation(group)
        return [
            (opened.name, opened.record)
            for opened in self.files(group)
            if isinstance(opened.record, GroupFile) and opened.record.incarnation == incarnation
        ]

    def device_files(self, device: str, group: int) -> list[tuple[str, DeviceFile]]:
        """The open files of a device, bound or not."""
        return [
            (opened.name, opened.record)
            for opened in self.files(group)
            if isinstance(opened.record, DeviceFile) and opened.record.device == device
        ]

    def incarnation(self, group: int) -> str | None:
        """The identity of a group's node; None when no member is on a vfio driver."""
        return text(self.tree.vfio / str(group)) or text(self.tree.vfio / f"noiommu-{group}")

    def context(self, name: str, kind: type[RecordType]) -> RecordType | None:
        """A container or iommufd by name, as long as it exists."""
        opened = opens.look(self.tree.opens, name)
        if opened is None or not isinstance(opened.record, kind):
            return None
        return opened.record

    def container_groups(self, name: str, container: Container) -> list[tuple[str, GroupFile]]:
        """The groups that are in a container now."""
        found = []
        for group_file in container.groups:
            place = int(group_file.partition("/")[0])
            found += [
                (other, record)
                for other, record in self.group_files(place)
                if other == group_file and record.container == name
            ]
        return found

    def iommufd_devices(self, name: str, iommufd: Iommufd) -> list[tuple[str, DeviceFile]]:
        """The device files that are bound to an iommufd now."""
        found = []
        for device_file in iommufd.devices.values():
            place = int(device_file.partition("/")[0])
            found += [
                (opened.name, opened.record)
                for opened in self.files(place)
                if opened.name == device_file
                and isinstance(opened.record, DeviceFile)
                and opened.record.iommufd == name
            ]
        return found

    def _sweep_contexts(self) -> None:
        """Forget a few contexts that nothing holds: a bounded cost for each new one."""
        directory = self.tree.opens / CONTEXTS
        names = names_in(directory)
        for name in random.sample(names, min(4, len(names))):
            opened = opens.look(self.tree.opens, f"{CONTEXTS}/{name}")
            if opened is None or not (opened.alive or self._pinned(opened)):
                (directory / name).unlink(missing_ok=True)

    def _pinned(self, opened: Opened) -> bool:
        if isinstance(opened.record, Container):
            return bool(self.container_groups(opened.name, opened.record))
        if isinstance(opened.record, Iommufd):
            return bool(self.iommufd_devices(opened.name, opened.record))
        return False
