"""News of devices and of closed files, together."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from isod.kernel.scan_device import read_cdev
from isod.kernel.scan_group import groups_directory
from isod.kernel.tree import Directory, UnreadableError, names_in
from isod.model.host import HostChange

from .closing import CloseWatch
from .node import cdev_node, group_node
from .uevent import UeventSocket


class LinuxWatch:
    """The port's Watch. Raises OSError when socket or inotify cannot be had."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._events = UeventSocket()
        try:
            self._closes = CloseWatch(root / "dev")
        except OSError:
            self._events.close()
            raise

    def filenos(self) -> tuple[int, ...]:
        return (self._events.fileno(), self._closes.fileno())

    def read(self) -> HostChange:
        change = self._events.read()
        return HostChange(change.addresses, change.rescan, self._closes.read())

    def watch_groups(self, groups: Collection[int]) -> None:
        """The groups' nodes and their members' cdevs, as they are now: call it again after a
        bind, which makes new nodes."""
        self._closes.watch([node for group in groups for node in self._nodes(group)])

    def close(self) -> None:
        self._events.close()
        self._closes.close()

    def _nodes(self, group: int) -> list[str]:
        nodes = [group_node(self._root, group)]
        members = groups_directory(self._root) / str(group) / "devices"
        try:
            names = names_in(members)
        except UnreadableError:
            names = []  # closes only hasten the next probe
        for name in names:
            try:
                with Directory(members / name) as directory:
                    cdev = read_cdev(directory)
            except (FileNotFoundError, UnreadableError):
                continue
            if cdev is not None:
                nodes.append(cdev_node(cdev))
        return nodes
