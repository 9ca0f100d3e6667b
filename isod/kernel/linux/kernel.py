"""The port to the kernel that this process runs on."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from isod.kernel.helper import Helpers
from isod.kernel.overrides import Override, parse_override
from isod.kernel.port import CgroupWatch, Pending, Watch
from isod.kernel.process import end_process
from isod.kernel.refusal import refused_by_kernel
from isod.kernel.scan import scan_device, scan_group, scan_host
from isod.kernel.tree import UnreadableError
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

from .acts import Acts
from .cdev import run_open_iommufd
from .cgroup import LinuxCgroupWatch, end_cgroup, is_populated, read_cgroup
from .critical import read_critical
from .drivers import bind, reset, restore, unbind
from .features import detect_features
from .fence import PendingFence, fence_writes
from .group import run_open_group
from .hot_reset import hot_reset
from .limits import set_limit
from .nodes import grant_nodes, revoke_nodes
from .probe import probe
from .use import look_at_use
from .watch import LinuxWatch

_OVERRIDE_SECONDS = 1.0
_DEVICES = "bus/pci/devices"


class LinuxKernel:
    """Implements ``isod.kernel.port.Kernel``. Safe to use from several threads.

    ``root`` is the directory that stands for ``/``: everything but /proc is below it.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._helpers = Helpers(root / "sys")
        self._acts = Acts(root, self._helpers)

    def features(self) -> Features:
        """What the kernel offers now: modules may have come since."""
        return detect_features(self._root)

    def snapshot(self, sequence: int) -> HostSnapshot:
        # One may be in a fence while another reads. One that cannot be started now may be later.
        with suppress(OSError):
            self._helpers.prepare(2)
        return scan_host(self._root, sequence, self.features(), self._read_overrides)

    def look(self, address: Address) -> Device | None:
        return scan_device(self._root, address, self._read_overrides)

    def look_group(self, number: int) -> Group | None:
        return scan_group(self._root, number)

    def watch(self) -> Watch:
        return LinuxWatch(self._root)

    def critical(self, devices: Collection[Device]) -> CriticalFacts:
        return read_critical(self._root, devices)

    def run(self, step: Step) -> StepResult:
        try:
            return self._run(step)
        except UnreadableError as error:
            raise refused_by_kernel(f"step {step.step}", error.errno) from error
        except OSError as error:
            raise refused_by_kernel(f"step {step.step}", error.errno or errno.EIO) from error

    def _run(self, step: Step) -> StepResult:  # noqa: PLR0911 (one line a step)
        match step:
            case Unbind():
                return unbind(self._acts, step)
            case Bind():
                return bind(self._root, self._acts, step)
            case Restore():
                return restore(self._acts, step)
            case Reset():
                return reset(self._root, self._acts, step)
            case HotReset():
                return hot_reset(self._root, self.features(), step)
            case Probe():
                return probe(self._root, self.features(), step)
            case Limit():
                return set_limit(step)
            case GrantNodes():
                self._check_container()
                return grant_nodes(self._root, step)
            case RevokeNodes():
                return revoke_nodes(self._root, step)
            case OpenIommufd():
                return run_open_iommufd(self._root, step)
            case OpenGroup():
                self._check_container()
                return run_open_group(self._root, step)
            case Fence():
                raise ValueError("a fence may wait for ever: start it")

    def start(self, step: Step) -> Pending:
        if not isinstance(step, Fence):
            raise TypeError(f"{step.step} does not wait for a client: run it")
        return PendingFence(self._helpers, step, fence_writes(self._root, step))

    def use(self, devices: Collection[LeaseDevice], groups: Collection[GroupName]) -> Use:
        return look_at_use(self._root, devices, groups)

    def cgroup_of(self, pid: int) -> Cgroup:
        return read_cgroup(self._root, pid)

    def is_populated(self, cgroup: Cgroup) -> bool:
        return is_populated(self._root, cgroup)

    def watch_cgroups(self) -> CgroupWatch:
        return LinuxCgroupWatch(self._root)

    def end_peer(self, peer: int | Cgroup, *, gently: bool) -> None:
        if isinstance(peer, Cgroup):
            end_cgroup(self._root, peer)
        else:
            end_process(peer, gently=gently)

    def close(self) -> None:
        self._helpers.close()

    def _check_container(self) -> None:
        if not self.features().container:
            raise RefusedError(
                Reason.unsupported,
                "this kernel has no container of its own: its groups are not exclusive",
                hint="ask for hand_over iommufd",
            )

    def _read_overrides(self, names: Iterable[str]) -> dict[str, Override]:
        """Read in a helper process, since an unbind that waits may hold a device's lock."""
        paths = {f"{_DEVICES}/{name}/driver_override": name for name in names}
        found: dict[str, Override] = {}
        for path, answer in self._helpers.read(paths, _OVERRIDE_SECONDS).items():
            if answer is None:
                found[paths[path]] = Override(unsettled=True)
            elif answer[0] == 0:
                found[paths[path]] = Override(parse_override(answer[1]))
            elif answer[0] == errno.ENOENT and (self._root / "sys" / path).parent.exists():
                # A bus without the attribute: nothing to restore.
                found[paths[path]] = Override()
        return found
