"""News of a simulated host: changes from its journal, closes of its open files."""

from __future__ import annotations

from collections.abc import Collection

from isod.kernel.inotify import (
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_MODIFY,
    IN_ONLYDIR,
    IN_Q_OVERFLOW,
    Inotify,
)
from isod.model.address import Address
from isod.model.host import HostChange

from .host import Host
from .journal import JournalReader
from .opens import make_place, node_of


class SimulatedWatch:
    """The port's ``Watch``."""

    def __init__(self, host: Host) -> None:
        self._tree = host.tree
        self._inotify = Inotify()
        # Watched before it is read: what is written in between is seen at the next read.
        self._changes = self._inotify.add(self._tree.journal, IN_MODIFY | IN_CREATE | IN_ONLYDIR)
        self._journal = JournalReader(self._tree.journal)
        self._groups: dict[int, int] = {}
        """The groups that are watched, by their watch."""

    def filenos(self) -> tuple[int, ...]:
        return (self._inotify.descriptor,)

    def watch_groups(self, groups: Collection[int]) -> None:
        for watch, group in list(self._groups.items()):
            if group not in groups:
                self._inotify.remove(watch)
                del self._groups[watch]
        for group in set(groups) - set(self._groups.values()):
            place = self._tree.opens / str(group)
            make_place(place)
            self._groups[self._inotify.add(place, IN_CLOSE_WRITE | IN_ONLYDIR)] = group

    def read(self) -> HostChange:
        nodes = set()
        overflow = False
        for happened in self._inotify.read():
            if happened.mask & IN_Q_OVERFLOW:
                overflow = True
            elif happened.watch in self._groups and happened.name:
                nodes.add(node_of(happened.name))
        names, missed = self._journal.read()
        if overflow:
            nodes |= {f"vfio/{group}" for group in self._groups.values()}
        return HostChange(
            addresses=frozenset(Address.pci(name) for name in names),
            rescan=overflow or missed,
            nodes=frozenset(nodes),
        )

    def close(self) -> None:
        self._inotify.close()
        self._journal.close()
