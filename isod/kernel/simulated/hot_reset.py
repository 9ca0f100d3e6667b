"""The step HotReset: what isod's port does with the calls that a client has, too."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping

from isod.kernel.refusal import gone
from isod.kernel.whole_reset import (
    cannot_ask,
    cannot_bind,
    check_strangers,
    group_of,
    judged,
)
from isod.model.address import Address
from isod.model.step import GroupName, HotReset, OpenGroup, OpenIommufd, StepResult

from .cdev_calls import bind_iommufd
from .entry import entered
from .host import Host
from .opening import open_group_file, run_open_group, run_open_iommufd
from .reset_calls import hot_reset, hot_reset_info


def run_hot_reset(host: Host, step: HotReset) -> StepResult:
    """Run a HotReset: see there for what it refuses. Everything is closed again."""
    with entered(host):
        if host.tree.generation(step.address.name) != step.generation:
            raise gone(step.address)
        groups = _groups(host, step)
    with contextlib.ExitStack() as stack:
        if host.machine.container:
            device, hit, fds = _open_by_group(host, step, groups, stack)
        else:
            device, hit, fds = _open_by_cdev(host, step, groups, stack)
        try:
            hot_reset(device, fds)
        except OSError as error:
            number = error.errno or errno.EIO
        else:
            number = 0
    return judged(host.tree.root, step, hit, number)


def _open_by_group(
    host: Host, step: HotReset, groups: Mapping[Address, GroupName], stack: contextlib.ExitStack
) -> tuple[int, tuple[Address, ...], list[int]]:
    own = group_of(groups, step.address)
    files = run_open_group(host, OpenGroup((own,), (step.address,))).files
    for file in files:
        stack.callback(os.close, file.descriptor)
    opened = {own: files[1].descriptor}
    device = files[2].descriptor
    hit = _hit(host, step, device)
    for address in hit:
        group = group_of(groups, address)
        if group not in opened:
            opened[group] = open_group_file(host, group)
            stack.callback(os.close, opened[group])
    return device, hit, list(opened.values())


def _open_by_cdev(
    host: Host, step: HotReset, groups: Mapping[Address, GroupName], stack: contextlib.ExitStack
) -> tuple[int, tuple[Address, ...], list[int]]:
    (iommufd,) = run_open_iommufd(host, OpenIommufd(())).files
    stack.callback(os.close, iommufd.descriptor)
    bound: set[GroupName] = set()

    def bind(address: Address) -> int:
        (cdev,) = run_open_iommufd(host, OpenIommufd((address,), iommufd=False)).files
        stack.callback(os.close, cdev.descriptor)
        try:
            bind_iommufd(cdev.descriptor, iommufd.descriptor)
        except OSError as error:
            raise cannot_bind(address, error) from error
        bound.add(group_of(groups, address))
        return cdev.descriptor

    device = bind(step.address)
    hit = _hit(host, step, device)
    for address in hit:
        if group_of(groups, address) not in bound:
            bind(address)
    return device, hit, []


def _hit(host: Host, step: HotReset, device: int) -> tuple[Address, ...]:
    try:
        info = hot_reset_info(device)
    except OSError as error:
        raise cannot_ask(step, error) from error
    hit = tuple(Address.pci(dependent.device) for dependent in info.dependents)
    ours = {a for a, generation in step.members if host.tree.generation(a.name) == generation}
    check_strangers(step, hit, ours)
    return hit


def _groups(host: Host, step: HotReset) -> dict[Address, GroupName]:
    found: dict[Address, GroupName] = {}
    for group in step.groups:
        if host.tree.group_generation(group.number) == group.generation:
            found |= {Address.pci(name): group for name in host.tree.members(group.number)}
    return found
