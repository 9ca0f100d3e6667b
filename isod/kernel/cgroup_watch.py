"""Following cgroups by inotify, on whatever file or folder tells of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress

from isod.model.peer import Cgroup

from .inotify import Inotify


class InotifyCgroupWatch(ABC):
    """The port's CgroupWatch, but for what is watched (``_begin``)."""

    def __init__(self) -> None:
        self._inotify = Inotify()
        self._watches: dict[Cgroup, int] = {}

    def fileno(self) -> int:
        return self._inotify.descriptor

    def add(self, cgroup: Cgroup) -> None:
        with suppress(OSError):
            number = self._begin(cgroup)
            if number is not None:
                self._watches[cgroup] = number

    def remove(self, cgroup: Cgroup) -> None:
        number = self._watches.pop(cgroup, None)
        if number is not None:
            with suppress(OSError):  # it went with the cgroup
                self._inotify.remove(number)

    def read(self) -> None:
        for _ in self._inotify.read():
            pass

    def close(self) -> None:
        self._inotify.close()

    @abstractmethod
    def _begin(self, cgroup: Cgroup) -> int | None:
        """Watch it; the watch's number, None when the cgroup is gone. Raises OSError."""
