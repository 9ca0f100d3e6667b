"""Which disks the host needs, on a directory that looks like a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from isod.kernel.linux.critical_mounts import parse_mount

from .fake_host import FakeHost

DISK = "01:00.0"
OTHER = "02:00.0"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Two NVMe disks; the first has two partitions."""
    host = FakeHost(tmp_path)
    host.disk(DISK, "nvme0n1", "nvme0n1p1", "nvme0n1p2")
    host.disk(OTHER, "nvme1n1")
    return host


def test_nobody_needs_a_disk_that_is_not_used(host: FakeHost) -> None:
    host.mount("tmpfs", "/tmp", "tmpfs")
    assert host.facts().uses == {}


def test_a_mounted_partition(host: FakeHost) -> None:
    host.mount("nvme0n1p2", "/boot")
    assert host.uses(DISK) == ["holds /boot (nvme0n1p2)"]
    assert host.uses(OTHER) == []


def test_a_whole_disk_at_a_strange_place(host: FakeHost) -> None:
    host.mount("nvme1n1", r"/with\040blank\012and\033[31m")
    assert host.uses(OTHER) == ["holds /with blank?and?[31m (nvme1n1)"]


def test_what_only_process_1_has_mounted(host: FakeHost) -> None:
    """A unit with ProtectHome= does not see what is mounted below /home."""
    numbers = (host.root / "sys/class/block/nvme0n1p1/dev").read_text().strip()
    host.write("proc/1/mountinfo", f"9 1 {numbers} / /home rw - ext4 /dev/nvme0n1p1 rw\n")
    assert host.uses(DISK) == ["holds /home (nvme0n1p1)"]


def test_what_only_a_container_has_mounted(host: FakeHost) -> None:
    (host.root / "sys/fs/xfs/nvme1n1").mkdir(parents=True)
    (host.root / "sys/fs/ext4/features").mkdir(parents=True)
    assert host.uses(OTHER) == ["holds xfs that is mounted in another namespace (nvme1n1)"]


def test_a_logical_volume_on_an_encrypted_partition(host: FakeHost) -> None:
    host.built("dm-0", "nvme0n1p2", uuid="CRYPT-LUKS2-77", called="luks")
    host.built("dm-1", "dm-0", uuid="LVM-abc", called="vg-root")
    host.mount("dm-1", "/")
    assert host.uses(DISK) == [
        "holds / (LVM volume vg-root on nvme0n1p2)",
        "holds dm-crypt luks (nvme0n1p2)",
        "holds LVM volume vg-root (nvme0n1p2)",
    ]
    assert host.uses(OTHER) == []


def test_an_array_needs_all_its_disks_mounted_or_not(host: FakeHost) -> None:
    host.built("md0", "nvme0n1p1", "nvme1n1")
    assert host.uses(DISK) == ["holds MD array md0 (nvme0n1p1)"]
    assert host.uses(OTHER) == ["holds MD array md0 (nvme1n1)"]


def test_swap(host: FakeHost) -> None:
    head = "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n"
    host.write("proc/swaps", f"{head}/dev/nvme0n1p1  partition\t1\t0\t-2\n/file\tfile\t1\t0\t-3\n")
    assert host.uses(DISK) == ["holds swap (nvme0n1p1)"]
    assert host.uses(OTHER) == []


def test_swap_that_is_not_found_makes_every_disk_suspect(host: FakeHost) -> None:
    host.write("proc/swaps", "Filename Type\n/dev/gone partition 1 0 -2\n")
    assert host.uses(DISK) == host.uses(OTHER) == ["may hold swap (/dev/gone was not found)"]


def test_btrfs_needs_all_its_disks(host: FakeHost) -> None:
    host.mount("nvme0n1p1", "/data", "btrfs")
    (host.root / "proc/self/mountinfo").write_text(
        "36 35 0:44 / /data rw - btrfs /dev/nvme0n1p1 rw\n"
    )
    for name in ("nvme0n1p1", "nvme1n1"):
        host.write(f"sys/fs/btrfs/8f0c/devices/{name}")
    host.write("sys/fs/btrfs/8f0c/label", "pool\n")
    assert host.uses(DISK) == ["holds /data (nvme0n1p1)"]
    assert host.uses(OTHER) == ["holds btrfs pool (nvme1n1)"]


class TestZfs:
    """Pools that are imported; their disks by udev's data."""

    @pytest.fixture
    def host(self, host: FakeHost) -> FakeHost:
        (host.root / "proc/spl/kstat/zfs/tank").mkdir(parents=True)
        for name in ("nvme0n1", "nvme0n1p2", "nvme1n1"):
            self.udev(host, name, "ext4", "")
        self.udev(host, "nvme0n1p1", "zfs_member", "tank")
        return host

    @staticmethod
    def udev(host: FakeHost, name: str, kind: str, label: str) -> None:
        numbers = (host.root / f"sys/class/block/{name}/dev").read_text().strip()
        text = f"S:disk/by-id/x\nE:ID_FS_TYPE={kind}\nE:ID_FS_LABEL={label}\n"
        host.write(f"run/udev/data/b{numbers}", text)

    def test_a_member(self, host: FakeHost) -> None:
        assert host.uses(DISK) == ["holds ZFS tank (nvme0n1p1)"]
        assert host.uses(OTHER) == []

    def test_a_member_of_a_pool_that_is_not_imported(self, host: FakeHost) -> None:
        self.udev(host, "nvme0n1p1", "zfs_member", "other")
        assert host.uses(DISK) == []

    def test_a_disk_that_udev_does_not_know_is_suspect(self, host: FakeHost) -> None:
        numbers = (host.root / "sys/class/block/nvme1n1/dev").read_text().strip()
        (host.root / f"run/udev/data/b{numbers}").unlink()
        assert host.uses(OTHER) == ["may belong to ZFS tank (nvme1n1)"]


def test_an_nvme_namespace_with_several_paths_needs_all_controllers(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    classes = host.root / "sys/class/nvme-subsystem"
    subsystem = host.root / "sys/devices/virtual/nvme-subsystem/nvme-subsys0"
    host.block(subsystem / "nvme0n1")
    classes.mkdir(parents=True)
    (classes / "nvme-subsys0").symlink_to(subsystem)
    for number, name in enumerate((DISK, OTHER)):
        controller = host.card(name, driver="nvme", code="0x010802") / f"nvme/nvme{number}"
        controller.mkdir(parents=True)
        (subsystem / f"nvme{number}").symlink_to(controller)
    host.mount("nvme0n1", "/")
    assert host.uses(DISK) == host.uses(OTHER) == ["holds / (nvme0n1)"]


def test_a_usb_disk_needs_its_host_controller(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    controller = host.card("00:14.0", driver="xhci_hcd", code="0x0c0330")
    host.block(controller / "usb1/1-1/1-1:1.0/host3/target3:0:0/3:0:0:0/block/sda")
    host.mount("sda", "/media")
    assert host.uses("00:14.0") == ["holds /media (sda)"]


def test_mounts_that_cannot_be_read_make_every_disk_suspect(host: FakeHost) -> None:
    (host.root / "proc/self/mountinfo").unlink()
    (use,) = host.uses(DISK)
    assert use.startswith("may be mounted (")


def test_a_line_that_makes_no_sense_makes_every_disk_suspect(host: FakeHost) -> None:
    (host.root / "proc/self/mountinfo").write_text("nonsense\n")
    assert len(host.uses(DISK)) == len(host.uses(OTHER)) == 1
    with pytest.raises(ValueError, match="nonsense"):
        parse_mount("nonsense")


def test_a_disk_pulled_out_from_under_its_mount_protects_nothing(host: FakeHost) -> None:
    (host.root / "proc/self/mountinfo").write_text("1 2 8:1 / /mnt rw - ext4 /dev/sda1 rw\n")
    assert host.facts().uses == {}
