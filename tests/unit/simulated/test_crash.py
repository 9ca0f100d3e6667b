"""A program killed in the middle of anything leaves a host that the next one finds whole."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from isod.kernel.simulated.kernel import SimulatedKernel
from isod.kernel.simulated.opens import make_place
from isod.model.address import Address
from isod.model.step import Bind, OpenIommufd, Step, Unbind

from .played import Child, Played

pytestmark = pytest.mark.slow  # starts and kills many processes

NVME = Address.parse("02:00.0")
_ACTS = {"open", "os.remove", "os.rename", "os.symlink", "os.mkdir", "os.rmdir", "os.listdir"}
_ACTS |= {"os.scandir", "os.truncate", "os.chmod", "fcntl.flock", "shutil.rmtree"}


def killed_at(count: int, play: Callable[[], object]) -> bool:
    """Run something in a child that is killed before its ``count``-th act on files; False if it
    had fewer."""

    def run(_: socket.socket) -> None:
        left = count

        def hook(event: str, _arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in _ACTS:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        play()

    return Child(run).end() == -signal.SIGKILL


def every_moment(directory: Path, step: Step) -> int:
    """Run a step again and again, killed one act later each time, until it gets through."""
    count = 1
    while killed_at(count, lambda: SimulatedKernel(directory).run(step)):
        count += 1
    return count


def test_a_place_for_open_files_is_for_anybody_or_not_there(tmp_path: Path) -> None:
    place = tmp_path / "5"
    count = 1
    while killed_at(count, lambda: make_place(place)):
        assert not place.exists() or place.stat().st_mode & 0o777 == 0o777
        count += 1
    assert count > 2
    assert place.stat().st_mode & 0o777 == 0o777


def assert_whole(played: Played) -> None:
    """The tree agrees with itself for the NVMe."""
    device = played.device("02:00.0")
    drivers = played.directory / "sys/bus/pci/drivers"
    holders = {path.parent.name for path in drivers.glob(f"*/{NVME.name}")}
    assert holders == ({device.driver} - {None})
    nodes = {path.name for path in (played.directory / "dev/vfio").iterdir()}
    cdevs = {path.name for path in (played.directory / "dev/vfio/devices").iterdir()}
    if device.driver == "vfio-pci":
        assert "13" in nodes
        assert cdevs == {device.cdev}
    else:
        assert "13" not in nodes
        assert not cdevs
        assert device.cdev is None


@pytest.mark.parametrize("half", ["unbind", "bind"])
def test_killed_while_binding(demo: Played, half: str) -> None:
    generation = demo.device("02:00.0").generation
    unbind = Unbind(NVME, generation, "nvme", "vfio-pci")
    step: Step = unbind
    if half == "bind":
        demo.run(unbind)
        step = Bind(NVME, generation, "vfio-pci")
    count = 1
    while killed_at(count, lambda: SimulatedKernel(demo.directory).run(step)):
        count += 1
        assert_whole(demo)
    assert count > 5
    assert_whole(demo)
    demo.give("02:00.0")
    demo.fence("02:00.0")
    demo.restore("02:00.0", "nvme")
    assert_whole(demo)


def test_killed_while_fencing(demo: Played) -> None:
    demo.give("02:00.0")
    count = 1
    while killed_at(count, lambda: demo.fence("02:00.0")):
        count += 1
        demo.kernel.snapshot(0)
        demo.fence("02:00.0")
        assert_whole(demo)
        demo.give("02:00.0")
        assert_whole(demo)
    assert count > 5


def test_killed_while_opening(demo: Played) -> None:
    demo.give("02:00.0")
    assert every_moment(demo.directory, OpenIommufd((NVME,))) > 3
    assert demo.use("02:00.0").idle
    demo.run(OpenIommufd((), iommufd=False))
    demo.fence("02:00.0")


def test_killed_while_bound_shows_no_use(demo: Played) -> None:
    """``enable`` may have been left at 1 by a program killed between two writes."""
    demo.give("02:00.0")

    def play() -> None:
        iommufd = demo.iommufd()
        demo.bound("02:00.0", iommufd)

    count = 1
    while killed_at(count, play):
        count += 1
        assert demo.use("02:00.0").idle
        assert demo.device("02:00.0").enabled == 0
        assert demo.kernel.snapshot(0).devices[NVME].enabled == 0
    assert count > 5
