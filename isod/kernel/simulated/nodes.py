"""Opening the nodes below /dev, and the rights on them."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

from .called import CAP_SYS_RAWIO, capable
from .entry import entered
from .failure import failure
from .host import Host
from .opens import CONTEXTS
from .records import Container, DeviceFile, GroupFile, Iommufd
from .tree import replace, text

_ANYBODY = "vfio/vfio"


def open_container(directory: Path) -> int:
    """Open ``/dev/vfio/vfio``. Raises ENOENT where the kernel has none."""
    host = Host(directory)
    with entered(host):
        _check(host, _ANYBODY)
        return host.open(CONTEXTS, "container", Container())


def open_iommufd(directory: Path, *, per_process: bool = False) -> int:
    """Open ``/dev/iommu``. ``per_process`` sets the option RLIMIT_MODE while it is empty.

    Raises ENOENT where the kernel has none, EACCES.
    """
    host = Host(directory)
    with entered(host):
        return take_iommufd(host, per_process=per_process)


def take_iommufd(host: Host, *, per_process: bool = False) -> int:
    """``open_iommufd`` for a caller who has entered the kernel."""
    _check(host, "iommu")
    return host.open(CONTEXTS, "iommufd", Iommufd(per_process=per_process))


def open_group(directory: Path, number: int) -> int:
    """Open ``/dev/vfio/N``, or ``noiommu-N`` where the group is a fake one.

    Raises EBUSY while it is open or a cdev of it is bound, ENOENT without a member on vfio,
    EACCES, EPERM for no-IOMMU without CAP_SYS_RAWIO.
    """
    host = Host(directory)
    with entered(host):
        return take_group(host, number)


def take_group(host: Host, number: int) -> int:
    """``open_group`` for a caller who has entered the kernel."""
    noiommu = (host.tree.vfio / f"noiommu-{number}").exists()
    node = f"noiommu-{number}" if noiommu else str(number)
    _check(host, f"vfio/{node}")
    if noiommu and not capable(CAP_SYS_RAWIO):
        raise failure(errno.EPERM, "no-IOMMU needs CAP_SYS_RAWIO")
    busy = why_busy(host, number)
    if busy is not None:
        raise failure(errno.EBUSY, busy)
    record = GroupFile(number, host.incarnation(number) or "", noiommu)
    return host.open(str(number), f"group-{node}", record)


def why_busy(host: Host, number: int) -> str | None:
    """Why a group cannot be opened now (EBUSY), as one phrase; None if it can."""
    incarnation = host.incarnation(number)
    for opened in host.files(number):
        if isinstance(opened.record, GroupFile) and opened.record.incarnation == incarnation:
            return f"group {number} is open"
        if isinstance(opened.record, DeviceFile) and opened.record.iommufd is not None:
            return f"a device of group {number} is bound to an iommufd"
    return None


def open_cdev(directory: Path, name: str) -> int:
    """Open ``/dev/vfio/devices/NAME``. Many may; none can use it before BIND.

    Raises ENOENT when it is not there, EACCES.
    """
    host = Host(directory)
    with entered(host):
        return take_cdev(host, name)


def take_cdev(host: Host, name: str) -> int:
    """``open_cdev`` for a caller who has entered the kernel."""
    _check(host, f"vfio/devices/{name}")
    node = json.loads((host.tree.cdevs / name).read_text())
    record = DeviceFile(device=node["device"], group=node["group"])
    return host.open(str(record.group), f"cdev-{name}", record)


def _check(host: Host, node: str) -> None:
    """Raise ENOENT or EACCES as an open of the node would.

    The host's directory belongs to the one who plays root. Others have the rights of the ACL;
    only the container's node is for anybody.
    """
    if not (host.tree.dev / node).exists():
        raise failure(errno.ENOENT, f"no /dev/{node}")
    caller = os.geteuid()
    if node == _ANYBODY or caller in (0, host.tree.root.stat().st_uid):
        return
    if caller not in rights(host, node):
        raise failure(errno.EACCES, f"no right to /dev/{node}")


def rights(host: Host, node: str) -> frozenset[int]:
    """The uids that the node's ACL names. A node that was made anew has no ACL."""
    content = text(_acl_path(host, node))
    if content is None:
        return frozenset()
    made = json.loads(content)
    return frozenset(made["uids"]) if made["node"] == _identity(host, node) else frozenset()


def set_rights(host: Host, node: str, uids: frozenset[int]) -> None:
    """Replace the node's ACL. Raises ENOENT."""
    if not (host.tree.dev / node).exists():
        raise failure(errno.ENOENT, f"no /dev/{node}")
    path = _acl_path(host, node)
    if uids:
        replace(path, json.dumps({"node": _identity(host, node), "uids": sorted(uids)}))
    else:
        path.unlink(missing_ok=True)


def _acl_path(host: Host, node: str) -> Path:
    return host.tree.acl / node.replace("/", "_")


def _identity(host: Host, node: str) -> str | None:
    return text(host.tree.dev / node)
