"""Unbinding from vfio, which waits for open files, and the process that does the waiting.

``vfio_unregister_group_dev`` (drivers/vfio/vfio_main.c): the ``driver`` link and the cdev go at
once, then the writer waits until no file of the device is open, unbound cdevs included. A killed
writer goes on; so here a mark in ``pending`` stays, and whoever enters the kernel after the last
close finishes the unbind if the waiting process did not live to do it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Literal

from . import journal, opens
from .binding import change_driver, unlink_driver, vfio_unregister
from .closing import let_close
from .entry import entered
from .host import Host
from .hotplug import take_away
from .tree import names_in, replace

Then = Literal["unbind", "remove"]


def begin(host: Host, name: str, then: Then = "unbind") -> bool:
    """Start to unbind a device on a vfio driver (or to remove it); True if that is all done.

    Call with the kernel entered.
    """
    tree, directory, group = host.tree, host.tree.directory(name), host.tree.group(name)
    if directory is None:
        return True
    mark = tree.pending / f"{group}@{name}"
    if not mark.exists():
        registered = directory / "vfio-dev"
        cdevs = names_in(registered) if registered.is_dir() else []
        replace(mark, json.dumps({"cdevs": cdevs, "then": then}))
        unlink_driver(host, directory)
        vfio_unregister(host, directory)
        journal.write(tree.journal, name)
    return _finish(host, mark)


def finish_pending(host: Host, group: int | None) -> None:
    """Finish the unbinds of a group's devices that wait for nothing any more (None: of all)."""
    for name in sorted(names_in(host.tree.pending)):
        if group is None or name.startswith(f"{group}@"):
            _finish(host, host.tree.pending / name)


def _finish(host: Host, mark: Path) -> bool:
    group, _, name = mark.name.partition("@")
    if host.device_files(name, int(group)):
        return False
    # While the mark is there: a close during the wait resets nothing.
    let_close(host)
    then = json.loads(mark.read_text())["then"]
    if host.tree.directory(name) is not None:
        change_driver(host, name, None)
        if then == "remove":
            take_away(host, name)
    mark.unlink()
    return True


def wait(host: Host, name: str) -> None:
    """Block until a pending unbind of a device is done, and finish it."""
    while True:
        with entered(host):
            marks = [mark for mark in names_in(host.tree.pending) if mark.endswith(f"@{name}")]
            finished = [_finish(host, host.tree.pending / mark) for mark in marks]
            waiting = [
                file
                for mark in marks
                for file, _ in host.device_files(name, int(mark.partition("@")[0]))
            ]
        if all(finished):
            return
        for file in waiting:
            opens.wait_closed(host.tree.opens, file)


def main() -> None:
    """Wait for one device: ``python -m isod.kernel.simulated.fence DIRECTORY NAME``."""
    os.closerange(3, 65536)
    directory, name = sys.argv[1:]
    wait(Host(Path(directory)), name)
    os.write(1, b".")


if __name__ == "__main__":
    main()
