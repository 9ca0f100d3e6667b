"""The world outside isod: hot-plug, other programs, no-IOMMU, limits, clients of other users."""

from __future__ import annotations

import errno
import os
import resource
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from isod.kernel.simulated import calls, outside
from isod.kernel.simulated.limits import started
from isod.model.address import Address
from isod.model.host import VFIO_PCI
from isod.model.step import GrantNodes, Limit, OpenGroup, Probe

from .played import Child, Played, errno_of

NOBODY = 65534
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")


@pytest.fixture
def within_reach() -> Iterator[Played]:
    """A host that other users can reach: the folders of tests are closed to them."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        played = Played(Path(directory) / "demo", "demo")
        yield played
        played.kernel.close()


def test_a_device_that_comes_back_is_another(demo: Played) -> None:
    before = demo.device("02:00.0")
    seen = {before.generation}
    for _ in range(5):
        assert outside.unplug(demo.directory, "0000:02:00.0")
        assert demo.kernel.look(before.address) is None
        assert demo.kernel.look_group(13) is None, "its last device took the group along"
        outside.replug(demo.directory, "0000:02:00.0")
        now = demo.device("02:00.0")
        assert now.generation not in seen
        seen.add(now.generation)
        assert (now.driver, now.group, now.serial) == ("nvme", 13, before.serial)
    assert demo.group(13).generation not in seen


def test_a_group_outlives_one_of_its_members(demo: Played) -> None:
    before = demo.group(12)
    outside.unplug(demo.directory, "0000:01:00.1")
    assert demo.group(12) == before
    outside.replug(demo.directory, "0000:01:00.1")
    assert demo.kernel.look_group(12) == demo.kernel.snapshot(0).groups[12]
    assert demo.device("01:00.1").driver == "e1000e"


def test_removal_waits_for_open_files(demo: Played) -> None:
    demo.give("02:00.0")
    opened = demo.open_cdev("02:00.0")
    address = demo.device("02:00.0").address
    assert not outside.unplug(demo.directory, address.name)
    assert demo.device("02:00.0").cdev is None
    os.close(opened)
    outside.wait_unbound(demo.directory, address.name)
    assert demo.kernel.look(address) is None


def test_a_bridge_takes_what_is_below_along(standard: Played) -> None:
    outside.unplug(standard.directory, "0000:03:00.0")
    found = standard.kernel.snapshot(0)
    assert not {"03:00.0", "04:01.0", "04:02.0"} & {one.short for one in found.devices}
    assert 7 not in found.groups


def test_what_is_not_there_cannot_be_played_with(demo: Played) -> None:
    for call in (
        lambda: outside.unplug(demo.directory, "0000:99:00.0"),
        lambda: outside.replug(demo.directory, "0000:02:00.0"),
        lambda: outside.probe_drivers(demo.directory, "0000:99:00.0"),
        lambda: outside.unbind_driver(demo.directory, "0000:04:00.0"),
    ):
        assert errno_of(call) == errno.ENODEV
    busy = errno_of(lambda: outside.bind_driver(demo.directory, "0000:02:00.0", "nvme"))
    assert busy == errno.EBUSY
    other = errno_of(lambda: outside.bind_driver(demo.directory, "0000:02:00.0", "e1000e"))
    assert other == errno.ENODEV


# --- no-IOMMU -----------------------------------------------------------------------------------


@ROOT
def test_no_iommu(demo: Played, stack: ExitStack) -> None:
    outside.change_machine(demo.directory, noiommu=True)
    demo.give("41:00.0")
    device = demo.device("41:00.0")
    assert device.driver == VFIO_PCI
    assert device.group is not None
    assert device.noiommu_node == f"noiommu-{device.group}"
    group = demo.kernel.look_group(device.group)
    assert group is not None
    assert (group.name, group.kind) == ("vfio-noiommu", "unknown")
    container, file = demo.container(), calls.open_group(demo.directory, device.group)
    for descriptor in (container, file):
        stack.callback(os.close, descriptor)
    calls.set_container(file, container)
    assert errno_of(lambda: calls.set_iommu(container)) == errno.ENODEV
    calls.set_iommu(container, calls.NOIOMMU)
    assert errno_of(lambda: calls.map_dma(container, 0, 4096)) == errno.ENOTTY
    os.close(calls.get_device_fd(file, "0000:41:00.0"))


@ROOT
def test_no_iommu_groups_come_and_go_with_their_device(demo: Played) -> None:
    outside.change_machine(demo.directory, noiommu=True)
    before, generations = demo.device("41:00.0"), set()
    for _ in range(3):
        demo.give("41:00.0")
        number = demo.device("41:00.0").group
        assert number is not None
        name = demo.group(number)
        generations.add(name.generation)
        demo.run(Probe(name, "group", before.address, full=True))
        for file in demo.run(OpenGroup((name,), (before.address,))).files:
            os.close(file.descriptor)
        demo.fence("41:00.0")
        assert demo.kernel.look_group(number) is None
        demo.restore("41:00.0", "e1000e")
        assert demo.device("41:00.0") == before
    assert len(generations) == 3


# --- clients of other users ---------------------------------------------------------------------


def become(uid: int) -> None:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


@ROOT
def test_an_unprivileged_client_uses_what_it_was_given(within_reach: Played) -> None:
    played = within_reach
    played.give("01:00.0", "01:00.1", "02:00.0")
    fds = [played.iommufd(), played.open_cdev("01:00.0")]
    opening = OpenGroup((played.group(13),), (Address.parse("02:00.0"),), ready=False)
    fds += [file.descriptor for file in played.run(opening).files]

    def play(theirs: socket.socket) -> None:
        become(NOBODY)
        iommufd, device, container, group = fds
        calls.bind_iommufd(device, iommufd)
        calls.hot_reset(device)
        calls.set_container(group, container)
        calls.set_iommu(container)
        by_group = calls.get_device_fd(group, "0000:02:00.0")
        calls.device_reset(by_group)
        refused = errno_of(lambda: calls.open_cdev(played.directory, "vfio0"))
        theirs.send(b"EACCES" if refused == errno.EACCES else b"opened")
        theirs.recv(1)

    child = Child(play)
    for descriptor in fds:
        os.close(descriptor)
    assert child.hear() == b"EACCES"
    assert played.device("01:00.0").enabled == 1
    assert not played.use("02:00.0").idle
    child.tell(b"x")
    assert child.end() == 0
    assert played.use("01:00.0").idle
    assert played.device("01:00.0").enabled == 0


@ROOT
def test_rights_open_nodes(within_reach: Played) -> None:
    played = within_reach
    played.give("02:00.0")
    played.run(GrantNodes((played.group(13),), NOBODY))

    def play(theirs: socket.socket) -> None:
        become(NOBODY)
        container = calls.open_container(played.directory)
        group = calls.open_group(played.directory, 13)
        calls.set_container(group, container)
        calls.set_iommu(container)
        calls.get_device_fd(group, "0000:02:00.0")
        theirs.send(b"open")
        theirs.recv(1)

    child = Child(play)
    assert child.hear() == b"open"
    assert played.use("02:00.0").busy_groups == (13,)
    child.kill()
    assert played.use("02:00.0").idle


# --- memory -------------------------------------------------------------------------------------


@ROOT
def test_memory_counts_against_the_recorded_limit(within_reach: Played) -> None:
    played = within_reach
    played.give("02:00.0")
    container, group = played.in_container(13)

    def play(theirs: socket.socket) -> None:
        os.close(group)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (8192, 8192))
        become(NOBODY)
        theirs.recv(16)
        calls.map_dma(container, 0, 8192)
        first = errno_of(lambda: calls.map_dma(container, 1 << 20, 4096))
        theirs.send(str(first).encode())
        theirs.recv(16)
        second = errno_of(lambda: calls.map_dma(container, 1 << 20, 4096))
        theirs.send(str(second).encode())

    child = Child(play)
    child.tell(b"go")
    assert child.hear() == str(errno.ENOMEM).encode()
    begun = started(child.pid)
    assert begun is not None
    result = played.run(Limit(child.pid, begun, 16384, 16384))
    assert result.former_limit == (8192, 8192)
    assert played.run(Limit(child.pid, begun, 4096, -1)).former_limit == (16384, 16384)
    child.tell(b"go")
    assert child.hear() == b"None"
    assert child.end() == 0
    assert played.run(Limit(child.pid, begun, 1, 1)).former_limit is None, "gone is no failure"
    for descriptor in (container, group):
        os.close(descriptor)


def test_another_process_of_that_number_keeps_its_limit(demo: Played) -> None:
    begun = started(os.getpid())
    assert begun is not None
    assert demo.run(Limit(os.getpid(), begun + 1, 4096, 4096)).former_limit is None
    real = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    assert demo.run(Limit(os.getpid(), begun, 4096, 4096, raise_only=False)).former_limit == real
    again = demo.run(Limit(os.getpid(), begun, 4096, 4096))
    assert again.former_limit == (4096, 4096)
    assert resource.getrlimit(resource.RLIMIT_MEMLOCK) == real, "recorded, never applied"


def test_mappings(demo: Played, stack: ExitStack) -> None:
    demo.give("02:00.0")
    container, group = demo.in_container(13)
    for descriptor in (container, group):
        stack.callback(os.close, descriptor)
    calls.map_dma(container, 0x1000, 0x2000)
    assert errno_of(lambda: calls.map_dma(container, 0x2000, 0x1000)) == errno.EEXIST
    assert errno_of(lambda: calls.map_dma(container, 0x10, 0x1000)) == errno.EINVAL
    assert calls.unmap_dma(container, 0, 1 << 20) == 0x2000
    calls.map_dma(container, 0x2000, 0x1000)
