"""Captures: what they hold, what they never hold, and those that are not to be trusted."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import json
import lzma
import random
import tarfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from isod.kernel.capture import capture_host
from isod.kernel.capture_file import (
    Capture,
    CaptureError,
    Entry,
    read_capture,
    unpack,
    write_tar,
)
from isod.kernel.simulated.build import build, is_host
from isod.kernel.simulated.captured import load_capture
from isod.kernel.simulated.critical import need
from isod.kernel.simulated.hosts import HOSTS
from isod.kernel.simulated.kernel import SimulatedKernel
from isod.kernel.simulated.machine import Machine
from isod.kernel.simulated.outside import (
    bind_driver,
    change_machine,
    unbind_driver,
    unplug,
    write,
)
from isod.kernel.simulated.servers import SERVERS
from tests.contract.cases.capturing import comparable

ALL = {**HOSTS, **SERVERS}
MANIFEST: dict[str, Any] = {
    "format": "isod capture",
    "version": 1,
    "features": {
        "iommufd": True,
        "cdev": False,
        "container": True,
        "noiommu": False,
        "kernel": "6.12",
    },
}


def captured(host: Path, **options: bool) -> Capture:
    with closing(SimulatedKernel(host)) as kernel:
        return capture_host(kernel, host, **options)


def looks(host: Path) -> object:
    with closing(SimulatedKernel(host)) as kernel:
        return comparable(kernel.snapshot(1))


def loaded(tmp_path: Path, capture: Capture) -> Path:
    write_tar(tmp_path / "host.tar", capture)
    load_capture(tmp_path / "host.tar", tmp_path / "loaded")
    return tmp_path / "loaded"


@pytest.mark.parametrize("name", ALL)
def test_every_named_host_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    build(tmp_path / "host", ALL[name])
    assert looks(loaded(tmp_path, captured(tmp_path / "host"))) == looks(tmp_path / "host")


def test_so_does_one_that_people_have_worked_on(tmp_path: Path) -> None:
    host = tmp_path / "host"
    build(host, HOSTS["demo"])
    change_machine(host, noiommu=True, iommufd=False)
    write(host, "0000:02:00.0", "driver_override", "vfio-pci")
    unplug(host, "0000:04:02.0")
    assert looks(loaded(tmp_path, captured(host))) == looks(host)


def test_distances_of_nodes_come_along(tmp_path: Path) -> None:
    host = tmp_path / "host"
    build(host, SERVERS["gpu-server"])
    for node, line in (("node0", "10 21"), ("node1", "21 10")):
        (host / "sys/devices/system/node" / node).mkdir(parents=True)
        (host / "sys/devices/system/node" / node / "distance").write_text(f"{line}\n")
    with closing(SimulatedKernel(host)) as kernel:
        assert kernel.snapshot(0).distances[1] == {0: 21, 1: 10}
    assert looks(loaded(tmp_path, captured(host))) == looks(host)


def test_a_capture_of_a_capture_is_the_same(tmp_path: Path) -> None:
    build(tmp_path / "host", HOSTS["standard"])
    first = captured(tmp_path / "host")
    assert captured(loaded(tmp_path, first)) == first


def test_one_without_iommu_on_vfio_has_its_fake_group(tmp_path: Path) -> None:
    host = tmp_path / "host"
    build(host, HOSTS["demo"])
    change_machine(host, noiommu=True)
    write(host, "0000:41:00.0", "driver_override", "vfio-pci")
    unbind_driver(host, "0000:41:00.0")
    bind_driver(host, "0000:41:00.0", "vfio-pci")
    place = loaded(tmp_path, captured(host))
    assert looks(place) == looks(host)
    assert [path.name for path in (place / "dev/vfio").glob("noiommu-*")]


def test_a_card_with_virtual_functions_stays_one(tmp_path: Path) -> None:
    """vfio-pci takes no card that has some."""
    build(tmp_path / "host", HOSTS["sriov"])
    place = loaded(tmp_path, captured(tmp_path / "host"))
    unbind_driver(place, "0000:01:00.0")
    write(place, "0000:01:00.0", "driver_override", "vfio-pci")
    with pytest.raises(OSError) as refused:
        bind_driver(place, "0000:01:00.0", "vfio-pci")
    assert refused.value.errno == errno.EBUSY


def test_nothing_of_whom_it_comes_from_is_in_it(tmp_path: Path) -> None:
    host = tmp_path / "host"
    build(host, HOSTS["demo"])
    need(host, "0000:02:00.0", "mounted disk", "holds /home/alice (nvme0n1)")
    need(host, "0000:01:00.0", "default route", "carries the default route (enx525400123456)")
    write_tar(tmp_path / "host.tar", captured(host))
    data = (tmp_path / "host.tar").read_bytes()
    for secret in (b"alice", b"enx", b"S4EV1", b"root", str(tmp_path).encode()):
        assert secret not in data
    with tarfile.open(tmp_path / "host.tar") as archive:
        assert {(m.uid, m.gid, m.uname, m.mtime) for m in archive} == {(0, 0, "", 0)}
        names = {Path(m.name).name for m in archive if m.isfile()}
    held = " ".join(captured(host).manifest["holds"])
    assert "driver_override" in held
    assert {n for n in names if n not in held} <= {"capture.json", "dev", "config"} | {
        n for n in names if n.endswith(":pcie004")
    }


def test_config_space_is_blank_but_for_what_is_read(tmp_path: Path) -> None:
    host = tmp_path / "host"
    build(host, HOSTS["standard"])
    devices = host / "sys/bus/pci/devices"
    for place in devices.iterdir():
        config = place / "config"
        data = bytearray(config.read_bytes())
        data[0x20:0x30] = b"SECRET-OF-A-BAR!"
        config.unlink()
        config.write_bytes(data + b"SECRET" if len(data) < 64 else data)
    for survey in (False, True):
        for entry in captured(host, survey=survey).entries:
            assert b"SECRET" not in (entry.content or b"")


def test_a_capture_may_be_looked_into_and_packed_again(tmp_path: Path) -> None:
    """An unpacked one is one as well."""
    build(tmp_path / "host", HOSTS["demo"])
    write_tar(tmp_path / "host.tar", captured(tmp_path / "host"))
    with tarfile.open(tmp_path / "host.tar") as archive:
        archive.extractall(tmp_path / "folder", filter=None)
    load_capture(tmp_path / "folder", tmp_path / "loaded")
    assert looks(tmp_path / "loaded") == looks(tmp_path / "host")


def test_features_come_from_the_manifest(tmp_path: Path) -> None:
    machine = Machine.load(loaded(tmp_path, Capture(MANIFEST, ())) / "machine.json")
    assert (machine.iommufd, machine.cdev, machine.kernel) == (True, False, "6.12")


@pytest.mark.parametrize(
    "entry",
    [
        Entry("etc/passwd", b"x"),
        Entry("/sys/x", b"x"),
        Entry("sys/../x", b"x"),
        Entry("sys//x", b"x"),
        Entry("sys/link", target="/etc"),
        Entry("sys/link", target="../../etc"),
        Entry("sys/a/link", target="../../../etc"),
        Entry("sys/a/link", target="b/../../sys"),
        Entry("sys/big", b"x" * 70000),
    ],
    ids=lambda entry: f"{entry.path} {entry.target or ''}",
)
def test_what_would_lie_elsewhere_is_refused(tmp_path: Path, entry: Entry) -> None:
    write_tar(tmp_path / "bad.tar", Capture(MANIFEST, (entry,)))
    with pytest.raises(CaptureError):
        load_capture(tmp_path / "bad.tar", tmp_path / "loaded")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.tar"], "nothing is left"


def test_nothing_is_written_below_a_link(tmp_path: Path) -> None:
    entries = (Entry("sys/devices"), Entry("sys/link", target="devices"), Entry("sys/link/x", b"x"))
    write_tar(tmp_path / "bad.tar", Capture(MANIFEST, entries))
    with pytest.raises(CaptureError, match="below a link"):
        read_capture(tmp_path / "bad.tar")


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        {**MANIFEST, "version": 2},
        {**MANIFEST, "features": None},
        {**MANIFEST, "features": {}},
    ],
    ids=["none", "version", "features", "no features"],
)
def test_a_manifest_that_makes_no_sense(tmp_path: Path, manifest: dict[str, Any]) -> None:
    write_tar(tmp_path / "bad.tar", Capture(manifest, ()))
    with pytest.raises(CaptureError):
        load_capture(tmp_path / "bad.tar", tmp_path / "loaded")
    assert not is_host(tmp_path / "loaded")


def test_what_is_no_tar_at_all(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_text("hello")
    with pytest.raises(CaptureError):
        read_capture(tmp_path / "x.tar")
    with tarfile.open(tmp_path / "y.tar", "w") as archive:
        member = tarfile.TarInfo("other")
        archive.addfile(member, io.BytesIO())
    with pytest.raises(CaptureError, match="begin"):
        read_capture(tmp_path / "y.tar")


def test_a_device_file_in_a_tar_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        text = json.dumps(MANIFEST).encode()
        first = tarfile.TarInfo("capture.json")
        first.size = len(text)
        archive.addfile(first, io.BytesIO(text))
        node = tarfile.TarInfo("sys/null")
        node.type = tarfile.CHRTYPE
        archive.addfile(node)
    with pytest.raises(CaptureError, match="kind"):
        read_capture(tmp_path / "bad.tar")


def test_a_manifest_that_is_a_link_is_none(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        first = tarfile.TarInfo("capture.json")
        first.type, first.linkname = tarfile.SYMTYPE, "elsewhere"
        archive.addfile(first)
    with pytest.raises(CaptureError, match="begin"):
        read_capture(tmp_path / "bad.tar")


def test_a_file_of_a_size_that_no_file_has(tmp_path: Path) -> None:
    file = tmp_path / "bad.tar"
    write_tar(file, Capture(MANIFEST, (Entry("capture.json", b"x"),)))
    blocks = bytearray(file.read_bytes())
    at = blocks.rindex(b"capture.json")
    blocks[at + 124 : at + 136] = b"\x80" + (1 << 70).to_bytes(11)
    blocks[at + 148 : at + 156] = b" " * 8
    blocks[at + 148 : at + 156] = b"%06o\0 " % sum(blocks[at : at + 512])
    file.write_bytes(blocks)
    with pytest.raises(CaptureError):
        read_capture(file)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_one_that_is_damaged(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """Wherever it is: the first bytes say that it is one."""
    contents = [Entry(f"sys/{one}", random.Random(one).randbytes(4000)) for one in range(10)]
    write_tar(tmp_path / "x.tar", Capture(MANIFEST, tuple(contents)))
    whole = pack((tmp_path / "x.tar").read_bytes())
    for at in range(12, len(whole), len(whole) // 50):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        (tmp_path / "x.tar").write_bytes(damaged)
        with suppress(CaptureError):
            read_capture(tmp_path / "x.tar")


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_text("mine")
    with pytest.raises(FileExistsError):
        write_tar(tmp_path / "x.tar", Capture(MANIFEST, ()))
    assert (tmp_path / "x.tar").read_text() == "mine"


def test_unpacking_writes_files_links_and_folders(tmp_path: Path) -> None:
    unpack((Entry("sys/a"), Entry("sys/b/c", b"x"), Entry("sys/d", target="b")), tmp_path)
    assert (tmp_path / "sys/a").is_dir()
    assert (tmp_path / "sys/d/c").read_bytes() == b"x"
