"""Virtual functions that come and go, as by writing to ``sriov_numvfs``."""

from __future__ import annotations

import errno

from . import journal
from .binding import change_driver
from .failure import failure
from .host import Host
from .hotplug import bring_back, take_away
from .tree import names_in, replace


def set_virtual_functions(host: Host, physical: str, count: int) -> None:
    """Have the first ``count`` of the virtual functions that the host was built with.

    As in the kernel all have to go before there can be another number of them (EBUSY). Raises
    EBUSY while files of one are open: the real write would wait for them.
    """
    directory = host.tree.directory(physical)
    if directory is None:
        raise failure(errno.ENODEV, f"no device {physical}")
    made = sorted(name for name in names_in(directory) if name.startswith("virtfn"))
    if made and count:
        raise failure(errno.EBUSY, "there are virtual functions already")
    kept = host.tree.gone / f"{physical}-functions"
    if not count:
        names = [(directory / link).readlink().name for link in made]
        for name in names:
            group = host.tree.group(name)
            if group is not None and host.device_files(name, group):
                raise failure(errno.EBUSY, f"{name} is open")
        for link, name in zip(made, names, strict=True):
            change_driver(host, name, None)
            take_away(host, name)
            (directory / link).unlink()
        if names:
            kept.write_text("\n".join(names))
    else:
        for index, name in enumerate(kept.read_text().split()[:count]):
            bring_back(host, name)
            (directory / f"virtfn{index}").symlink_to(f"../{name}")
    replace(directory / "sriov_numvfs", f"{count}\n")
    journal.write(host.tree.journal, physical)
