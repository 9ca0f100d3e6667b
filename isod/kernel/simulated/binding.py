"""Drivers of a simulated host: matching, probing, binding, and what vfio adds to sysfs and /dev.

``settle`` makes a device look like one on the given driver, from any state in between, so that
a change whose maker was killed can simply be made again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import uuid
from pathlib import Path

from . import journal
from .failure import failure
from .host import Host
from .ownership import owned_by_user
from .tree import link, names_in, replace

NOIOMMU = "vfio-noiommu"


def probe_error(host: Host, name: str, driver: str) -> int | None:
    """The errno with which a driver's probe of a device would fail; None if it would not."""
    kind, machine = host.machine.kind(driver), host.machine
    if kind in ("kernel", "port"):
        fits = machine.drivers[driver].fits_alias(host.tree.attribute(name, "modalias"))
        return None if fits else errno.ENODEV
    if kind == "stub":
        return None
    if host.tree.attribute(name, "class").startswith("0x0604"):
        return errno.EINVAL
    if host.tree.attribute(name, "sriov_numvfs") not in ("", "0"):
        return errno.EBUSY
    if host.tree.group(name) is None:
        return None if machine.noiommu else errno.EINVAL
    return None if machine.coherent else errno.EINVAL


def drivers_probe(host: Host, name: str) -> None:
    """What writing a name to ``drivers_probe`` does. Succeeds silently where no driver fits.

    Raises ENODEV without such a device, EINVAL for a kernel driver on an owned group, ETIMEDOUT
    where the real write would wait for a pending unbind.
    """
    if host.tree.directory(name) is None:
        raise failure(errno.ENODEV, "no such device")
    refuse_pending(host, name)
    if host.tree.driver(name) is not None:
        return
    modalias = host.tree.attribute(name, "modalias")
    for driver in host.machine.candidates(modalias, host.tree.override(name)):
        if host.machine.kind(driver) == "kernel" and owned_by_user(host, host.tree.group(name)):
            raise failure(errno.EINVAL, "the group is owned by user space")
        if probe_error(host, name, driver) is None:
            change_driver(host, name, driver)
            return


def bind(host: Host, name: str, driver: str) -> None:
    """What writing a name to a driver's ``bind`` does.

    Raises ENODEV where the driver does not match, EBUSY where the device has a driver or a
    user owns the group, the probe's error, ETIMEDOUT as ``drivers_probe``.
    """
    modalias = host.tree.attribute(name, "modalias")
    if driver not in host.machine.candidates(modalias, host.tree.override(name)):
        raise failure(errno.ENODEV, "the driver does not match the device")
    refuse_pending(host, name)
    if host.tree.driver(name) is not None:
        raise failure(errno.EBUSY, "the device has a driver")
    if host.machine.kind(driver) == "kernel" and owned_by_user(host, host.tree.group(name)):
        raise failure(errno.EBUSY, "the group is owned by user space")
    error = probe_error(host, name, driver)
    if error is not None:
        raise failure(error, "the probe failed")
    change_driver(host, name, driver)


def refuse_pending(host: Host, name: str) -> None:
    """Raise ETIMEDOUT where a real writer would wait for an unbind under way."""
    if host.pending(name):
        raise failure(errno.ETIMEDOUT, "an unbind of the device is under way")


def change_driver(host: Host, name: str, driver: str | None) -> None:
    """Bind a device without a driver, or take it from its driver.

    The change is noted first: whoever enters the kernel after a crash makes it whole.
    """
    _note(host, json.dumps({"device": name, "driver": driver}).encode())
    settle(host, name, driver)
    _note(host, b"")


def repair(host: Host) -> None:
    """Make a change again whose maker was killed in the middle of it."""
    note = host.tree.lock.read_bytes()
    if note:
        with contextlib.suppress(json.JSONDecodeError):  # killed while noting: nothing done yet
            intent = json.loads(note)
            settle(host, intent["device"], intent["driver"])
        _note(host, b"")


def _note(host: Host, content: bytes) -> None:
    descriptor = os.open(host.tree.lock, os.O_WRONLY | os.O_CLOEXEC)
    try:
        if content:
            os.pwrite(descriptor, content, 0)
        else:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def settle(host: Host, name: str, driver: str | None) -> None:
    """Make everything about a device agree with its being on ``driver``."""
    tree, directory = host.tree, host.tree.directory(name)
    if directory is not None:
        former = tree.driver(name)
        if former is not None and former != driver:
            unlink_driver(host, directory)
        if driver is None or host.machine.kind(driver) != "vfio":
            vfio_unregister(host, directory)
            withdraw_group(host, directory)
        else:
            vfio_register(host, directory)
        if driver is not None:
            (tree.drivers / driver).mkdir(exist_ok=True)
            link(tree.drivers / driver / name, directory)
            link(directory / "driver", tree.drivers / driver)
        tree.set_enabled(name, int(host.machine.kind(driver) in ("kernel", "port")))
        journal.write(tree.journal, name)


def unlink_driver(host: Host, directory: Path) -> None:
    """Take away the links between a device and its driver, as an unbind does first of all."""
    driver = host.tree.driver(directory.name)
    if driver is not None:
        (host.tree.drivers / driver / directory.name).unlink(missing_ok=True)
        (directory / "driver").unlink()


def vfio_register(host: Host, directory: Path) -> None:
    """Give a device its vfio-dev directory, its cdev node and its group's node."""
    tree, name = host.tree, directory.name
    group = tree.group(name)
    if group is None:
        group = _add_noiommu_group(host, directory)
    noiommu = (tree.groups / str(group) / "name").exists()
    node = tree.vfio / (f"noiommu-{group}" if noiommu else str(group))
    if not node.exists():
        replace(node, uuid.uuid4().hex + "\n")
    registered = directory / "vfio-dev"
    if registered.is_dir() and names_in(registered):
        cdev = names_in(registered)[0]
    else:
        cdev = f"vfio{_free_index(host)}"
        (registered / cdev).mkdir(parents=True)
    if host.machine.iommufd and host.machine.cdev and not noiommu:
        replace(registered / cdev / "dev", f"511:{cdev.removeprefix('vfio')}\n")
        replace(tree.cdevs / cdev, json.dumps({"device": name, "group": group}) + "\n")


def vfio_unregister(host: Host, directory: Path) -> None:
    """Take the vfio-dev directory and the cdev node away, as an unbind does at once."""
    registered = directory / "vfio-dev"
    if registered.is_dir():
        for cdev in names_in(registered):
            (host.tree.cdevs / cdev).unlink(missing_ok=True)
        shutil.rmtree(registered)


def withdraw_group(host: Host, directory: Path) -> None:
    """Take the group's node away when its last device has left vfio, as an unbind does last."""
    tree = host.tree
    group = tree.group(directory.name)
    if group is None:
        return
    others = (member for member in tree.members(group) if member != directory.name)
    if not any(host.on_vfio(member) for member in others):
        (tree.vfio / str(group)).unlink(missing_ok=True)
        (tree.vfio / f"noiommu-{group}").unlink(missing_ok=True)
    if (tree.groups / str(group) / "name").exists():
        # The fake group ends with its device. Its directory is kept aside for its inode's sake.
        (directory / "iommu_group").unlink()
        (tree.groups / str(group)).rename(tree.gone / f"group-{group}-{uuid.uuid4().hex[:8]}")


def _add_noiommu_group(host: Host, directory: Path) -> int:
    tree = host.tree
    taken = {int(number) for number in names_in(tree.groups)}
    number = next(candidate for candidate in range(len(taken) + 1) if candidate not in taken)
    group = tree.groups / str(number)
    (group / "devices").mkdir(parents=True)
    (group / "type").write_text("unknown\n")
    (group / "reserved_regions").write_text("")
    (group / "name").write_text(NOIOMMU + "\n")
    link(group / "devices" / directory.name, directory)
    link(directory / "iommu_group", group)
    return number


def _free_index(host: Host) -> int:
    """The lowest free index of a vfio device; one whose unbind is pending still has its own."""
    taken = set(names_in(host.tree.cdevs))
    for mark in names_in(host.tree.pending):
        taken |= set(json.loads((host.tree.pending / mark).read_text())["cdevs"])
    return next(index for index in range(len(taken) + 1) if f"vfio{index}" not in taken)
