"""Links and races in sysfs, and names that are paths."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from isod.kernel import helper_process
from isod.kernel.helper import Helpers, Write
from tests.unit.daemon.door import Door, ask, said

_PATIENCE = 30.0


@pytest.mark.parametrize(
    "path",
    [
        "devices/one/vendor",
        "devices/one/../../../outside/unbind",
        "/etc/unbind",
        "out/unbind",
        "devices/one/link/unbind",
    ],
)
def test_sysfs_races_and_symlinks(helpers: Helpers, sysfs: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/unbind").write_text("untouched")
    (sysfs / "out").symlink_to(tmp_path / "outside")
    (sysfs / "devices/one/link").symlink_to(tmp_path / "outside")
    assert helpers.write([Write(path, "x")], _PATIENCE) == [errno.EPERM]
    assert (tmp_path / "outside/unbind").read_text() == "untouched"
    assert (sysfs / "devices/one/vendor").read_text() == "0x8086\n"


def test_sysfs_races_and_symlinks_in_the_attribute_itself(
    helpers: Helpers, sysfs: Path, tmp_path: Path
) -> None:
    (tmp_path / "target").write_text("untouched")
    (sysfs / "devices/reset").symlink_to(tmp_path / "target")
    assert helpers.write([Write("devices/reset", "1")], _PATIENCE) == [errno.ELOOP]
    assert (tmp_path / "target").read_text() == "untouched"


@pytest.mark.parametrize("swapped", ["devices", "devices/one"])
def test_sysfs_races_and_symlinks_between_check_and_write(
    sysfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    """The path was looked at and found good; then a folder of it becomes a link to elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "one").mkdir(parents=True)
    for place in (elsewhere, elsewhere / "one"):
        (place / "driver_override").write_text("untouched")
    looked = os.path.realpath

    def look_and_swap(path: Any, **options: Any) -> str:
        found: str = looked(path, **options)
        (sysfs / swapped).rename(tmp_path / "aside")
        (sysfs / swapped).symlink_to(elsewhere)
        return found

    monkeypatch.setattr(os.path, "realpath", look_and_swap)
    number = helper_process.write(str(sysfs), "devices/one/driver_override", b"x", 0)
    monkeypatch.undo()
    assert number in {errno.ELOOP, errno.ENOTDIR}
    for place in (elsewhere, elsewhere / "one"):
        assert (place / "driver_override").read_text() == "untouched"


def test_sysfs_races_and_symlinks_with_another_device_at_the_place(
    helpers: Helpers, sysfs: Path
) -> None:
    one = sysfs / "devices/one"
    inode = one.stat().st_ino
    one.rename(sysfs / "devices/former")
    one.mkdir()
    (one / "driver_override").write_text("untouched")
    writes = [Write("devices/one/driver_override", "x", inode)]
    assert helpers.write(writes, _PATIENCE) == [errno.ESTALE]
    assert (one / "driver_override").read_text() == "untouched"


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd",
        "pci:../../../../etc",
        "pci:0000:01:00.0/../0000:02:00.0",
        "pci:0000:01:00.0\n",
        "pci:0000:01:00.0\0",
        "/sys/bus/pci/devices/0000:01:00.0",
        "mdev:../../x",
        "vdpa:../x",
        "vdpa:.",
    ],
)
@pytest.mark.parametrize("method", ["lease.acquire", "lease.explain", "host.reset_set"])
async def test_sysfs_races_and_symlinks_are_no_names_of_devices(
    door: Door, method: str, name: str
) -> None:
    """Clients name addresses, never paths."""
    params: dict[str, Any] = {"address": name}
    if method != "host.reset_set":
        params = {"devices": [params]}
    with await door.connect() as client:
        await ask(client, 1, method, **params)
        assert (await said(client))["error"]["code"] == -32602
