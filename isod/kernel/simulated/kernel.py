"""isod's port to a simulated host."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from pathlib import Path

from isod.kernel.port import CgroupWatch, Pending, Watch
from isod.kernel.process import end_process
from isod.kernel.refusal import refused_by_kernel
from isod.kernel.scan import scan_device, scan_group, scan_host
from isod.model.address import Address
from isod.model.critical import CriticalFacts
from isod.model.host import Device, Features, Group, HostSnapshot
from isod.model.lease import LeaseDevice
from isod.model.peer import Cgroup
from isod.model.reason import Reason, RefusedError
from isod.model.step import (
    Bind,
    Fence,
    GrantNodes,
    GroupName,
    HotReset,
    Limit,
    OpenGroup,
    OpenIommufd,
    Probe,
    Reset,
    Restore,
    RevokeNodes,
    Step,
    StepResult,
    Unbind,
    Use,
)

from . import faults, fence
from .cgroups import SimulatedCgroupWatch, end_cgroup, is_populated, read_cgroup
from .closing import in_use, show_enabled
from .critical import read_critical
from .entry import entered
from .host import Host
from .hot_reset import run_hot_reset
from .nodes import why_busy
from .opening import run_open_group, run_open_iommufd, run_probe
from .pending import FinishedFence, WaitingFence
from .steps import (
    run_bind,
    run_grant_nodes,
    run_limit,
    run_reset,
    run_restore,
    run_revoke_nodes,
    run_unbind,
)
from .tree import names_in
from .watch import SimulatedWatch


class SimulatedKernel:
    """Implements ``isod.kernel.port.Kernel``. Safe to use from several threads and processes."""

    def __init__(self, directory: Path) -> None:
        """Raises NotAHostError."""
        self._host = Host(directory)
        self._left: list[int] = []

    def features(self) -> Features:
        """What the simulated kernel offers now."""
        machine = self._host.machine
        return Features(
            iommufd=machine.iommufd,
            cdev=machine.iommufd and machine.cdev,
            container=machine.container,
            noiommu=machine.noiommu,
            kernel=machine.kernel,
        )

    def snapshot(self, sequence: int) -> HostSnapshot:
        with entered(self._host):
            fence.finish_pending(self._host, None)
            for place in names_in(self._host.tree.opens):
                if place.isdecimal():
                    show_enabled(self._host, int(place))
        # Not under the lock: a long scan holds nobody up, as with a real kernel, and what
        # changes meanwhile is in the journal.
        return scan_host(self._host.tree.root, sequence, self.features())

    def look(self, address: Address) -> Device | None:
        with entered(self._host):
            group = self._host.tree.group(address.name)
            if group is not None:
                fence.finish_pending(self._host, group)
                show_enabled(self._host, group)
            return scan_device(self._host.tree.root, address)

    def look_group(self, number: int) -> Group | None:
        with entered(self._host):
            fence.finish_pending(self._host, number)
            return scan_group(self._host.tree.root, number)

    def watch(self) -> Watch:
        return SimulatedWatch(self._host)

    def critical(self, devices: Collection[Device]) -> CriticalFacts:
        return read_critical(self._host.tree.root, devices)

    def run(self, step: Step) -> StepResult:
        try:
            faults.check(self._host.tree, step.step, _devices(step))
            return self._run(step)
        except OSError as error:
            raise refused_by_kernel(f"step {step.step}", error.errno or errno.EIO) from error

    def _run(self, step: Step) -> StepResult:  # noqa: PLR0911 - one line a step
        match step:
            case Unbind():
                return run_unbind(self._host, step)
            case Bind():
                return run_bind(self._host, step)
            case Restore():
                return run_restore(self._host, step)
            case Reset():
                return run_reset(self._host, step)
            case HotReset():
                return run_hot_reset(self._host, step)
            case Probe():
                return run_probe(self._host, step)
            case Limit():
                return run_limit(self._host, step)
            case GrantNodes():
                return run_grant_nodes(self._host, step)
            case RevokeNodes():
                return run_revoke_nodes(self._host, step)
            case OpenIommufd():
                return run_open_iommufd(self._host, step)
            case OpenGroup():
                return run_open_group(self._host, step)
            case Fence():
                raise ValueError("a fence may wait for ever: start it")

    def start(self, step: Step) -> Pending:
        if not isinstance(step, Fence):
            raise TypeError(f"{step.step} does not wait for a client: run it")
        if step.address.bus != "pci":
            raise RefusedError(Reason.unsupported, f"{step.address} is no PCI device")
        self._reap()
        try:
            faults.check(self._host.tree, step.step, _devices(step))
            if self._begin(step):
                return FinishedFence()
            return WaitingFence(self._host, step.address.name, self._left.append)
        except OSError as error:
            what = f"the fence of {step.address}"
            raise refused_by_kernel(what, error.errno or errno.EIO) from error

    def _begin(self, step: Fence) -> bool:
        """Unbind at once where nothing is open, which most fences find; else begin to."""
        host, name = self._host, step.address.name
        with entered(host):
            if host.tree.generation(name) != step.generation or not host.on_vfio(name):
                return True
            return fence.begin(host, name)

    def use(self, devices: Collection[LeaseDevice], groups: Collection[GroupName]) -> Use:
        """Nothing is opened for it, so no watcher sees a close that was ours."""
        host = self._host
        with entered(host):
            numbers = {device.group for device in devices} | {group.number for group in groups}
            for number in numbers:
                fence.finish_pending(host, number)
            found = tuple(
                device.address
                for device in devices
                if host.tree.generation(device.address.name) == device.generation
                # Without its link while an unbind waits: then only the group tells.
                and host.machine.kind(host.tree.driver(device.address.name)) == "vfio"
                and in_use(host, device.address.name, device.group)
            )
            busy = tuple(
                group.number
                for group in groups
                if host.tree.group_generation(group.number) == group.generation
                and why_busy(host, group.number) is not None
            )
        return Use(open=found, busy_groups=busy)

    def cgroup_of(self, pid: int) -> Cgroup:
        return read_cgroup(self._host, pid)

    def is_populated(self, cgroup: Cgroup) -> bool:
        return is_populated(self._host, cgroup)

    def watch_cgroups(self) -> CgroupWatch:
        return SimulatedCgroupWatch(self._host)

    def end_peer(self, peer: int | Cgroup, *, gently: bool) -> None:
        """The clients of a simulated host are real processes."""
        try:
            faults.check(self._host.tree, "end_peer", ())
            if isinstance(peer, Cgroup):
                end_cgroup(self._host, peer)
            else:
                end_process(peer, gently=gently)
        except OSError as error:
            raise refused_by_kernel("cannot end the peer", error.errno or errno.EIO) from error

    def close(self) -> None:
        self._reap()

    def _reap(self) -> None:
        """Collect abandoned fences that have ended, so that no zombie is left of them."""
        waiting = []
        while self._left:
            process = self._left.pop()
            if os.waitpid(process, os.WNOHANG)[0] == 0:
                waiting.append(process)
        self._left += waiting


def _devices(step: Step) -> tuple[str, ...]:
    """The devices that a step is about."""
    match step:
        case OpenIommufd() | OpenGroup():
            return tuple(address.name for address in step.devices)
        case Probe():
            return (step.device.name,)
        case Limit() | GrantNodes() | RevokeNodes():
            return ()
    return (step.address.name,)
