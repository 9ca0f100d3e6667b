"""The port to a kernel when this process is short of something: nothing is taken for done or gone
that could not be looked at."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from isod.kernel import helper
from isod.kernel.linux import LinuxKernel
from isod.kernel.linux.fence import fence_writes
from isod.kernel.linux.hot_reset import hot_reset
from isod.kernel.linux.use import look_at_use
from isod.model.address import Address
from isod.model.host import Features
from isod.model.reason import Reason, RefusedError
from isod.model.step import Fence, GroupName, HotReset, Unbind
from tests.unit.shortage import open_descriptors, room_for

from .fake_sysfs import add_device, add_group

_NIC = Address.pci("0000:01:00.0")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    add_device(tmp_path, _NIC.name, group=add_group(tmp_path, 3), driver="vfio-pci")
    return tmp_path


@pytest.fixture
def kernel(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LinuxKernel]:
    """One that cannot start a helper process."""

    def cannot_start(sysfs: Path) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(helper, "HelperPipe", cannot_start)
    with closing(LinuxKernel(root)) as found:
        yield found


def generation(root: Path, place: str) -> int:
    return (root / "sys" / place).stat().st_ino


def test_without_helpers_there_is_a_picture_all_the_same(kernel: LinuxKernel) -> None:
    """So isod starts, and gives nothing out: nothing is planned on an unsettled device."""
    snapshot = kernel.snapshot(0)
    assert snapshot.devices[_NIC].driver == "vfio-pci"
    assert snapshot.devices[_NIC].unsettled
    assert set(snapshot.groups) == {3}
    assert set(snapshot.unread) == {_NIC}


def test_without_helpers_a_look_tells_nothing(kernel: LinuxKernel) -> None:
    with pytest.raises(OSError, match="unavailable"):
        kernel.look(_NIC)


def test_without_helpers_steps_and_fences_are_refused(kernel: LinuxKernel, root: Path) -> None:
    other = Address.pci("0000:02:00.0")
    place = add_device(root, other.name, driver="e1000e")
    with pytest.raises(RefusedError) as refused:
        kernel.run(Unbind(other, place.stat().st_ino, "e1000e", "vfio-pci"))
    assert refused.value.refusal.reason is Reason.kernel
    with pytest.raises(RefusedError) as refused:
        kernel.start(Fence(_NIC, generation(root, f"bus/pci/devices/{_NIC.name}")))
    assert refused.value.refusal.reason is Reason.kernel


@pytest.mark.parametrize("room", range(3))
def test_a_fence_is_never_empty_for_want_of_descriptors(root: Path, room: int) -> None:
    """One with nothing to write would prove at once that nothing is open."""
    step = Fence(_NIC, generation(root, f"bus/pci/devices/{_NIC.name}"))
    whole = fence_writes(root, step)
    assert whole
    before = open_descriptors()
    with room_for(room):
        try:
            found = fence_writes(root, step)
        except RefusedError as error:
            assert error.refusal.details["errno"] == errno.EMFILE
            found = whole
    assert found == whole
    assert open_descriptors() == before


def test_a_group_that_cannot_be_looked_at_is_busy(root: Path) -> None:
    group = GroupName(3, generation(root, "kernel/iommu_groups/3"))
    with room_for(0):
        assert look_at_use(root, (), (group,)).busy_groups == (3,)


def test_a_device_that_cannot_be_looked_at_is_not_gone_for_its_reset(root: Path) -> None:
    own = generation(root, f"bus/pci/devices/{_NIC.name}")
    step = HotReset(_NIC, own, ((_NIC, own),), (), required=True)
    with room_for(0), pytest.raises(RefusedError) as refused:
        hot_reset(root, Features(kernel="7.2"), step)
    assert refused.value.refusal.reason is Reason.kernel
