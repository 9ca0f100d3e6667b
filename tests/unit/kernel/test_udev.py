"""Waiting for udev, by the traces that it leaves in /run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isod.kernel.linux.udev import wait_for_udev


def test_without_udev_nobody_waits(tmp_path: Path) -> None:
    assert wait_for_udev(tmp_path, ["vfio/1"], 0)


def test_a_queue_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "run/udev").mkdir(parents=True)
    (tmp_path / "run/udev/control").touch()
    assert wait_for_udev(tmp_path, [], 0)
    (tmp_path / "run/udev/queue").touch()
    assert not wait_for_udev(tmp_path, [], 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
def test_a_node_waits_for_its_record(tmp_path: Path) -> None:
    (tmp_path / "run/udev/data").mkdir(parents=True)
    (tmp_path / "run/udev/control").touch()
    (tmp_path / "dev").mkdir()
    try:
        os.mknod(tmp_path / "dev/null", 0o20600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("no device nodes here")
    assert not wait_for_udev(tmp_path, ["null"], 0)
    record = tmp_path / "run/udev/data/c1:3"
    record.touch()
    assert wait_for_udev(tmp_path, ["null"], 0)
    # A record of the number's former owner is older than the node.
    os.utime(record, (1, 1))
    assert not wait_for_udev(tmp_path, ["null"], 0)
    assert wait_for_udev(tmp_path, ["gone"], 0)
