"""Files that people write or send: policies, cases, captures."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import shutil
import tarfile
from contextlib import closing
from pathlib import Path

from isod.kernel.capture_file import FORMAT, MANIFEST, VERSION, CaptureError
from isod.kernel.simulated import open_host
from isod.kernel.simulated.captured import load_capture
from isod.policy.cases import CasesError, read_cases
from isod.policy.folder import PolicyError, load

from .target import Take, Target

_POLICY = Path(__file__).parents[3] / "policy"

# --- policies -----------------------------------------------------------------------------------


def _policies(folder: Path) -> Take:
    file = folder / "50-fuzz.toml"

    def take(data: bytes) -> None:
        file.write_bytes(data)
        try:
            policy = load([folder], 1, lambda kind, name: len(name) or None)
        except PolicyError as error:
            # Every fault names its file.
            assert error.problems
            assert all(problem.startswith(file.name) for problem in error.problems)
        else:
            assert len({rule.name for rule in policy.rules}) == len(policy.rules)

    return take


def _policy_seeds(_: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(_POLICY.rglob("*.toml"))]


# --- cases --------------------------------------------------------------------------------------


def _cases(folder: Path) -> Take:
    file = folder / "cases.toml"

    def take(data: bytes) -> None:
        file.write_bytes(data)
        try:
            cases = read_cases(file)
        except CasesError as error:
            assert str(error).startswith(f"{file}: ")
        else:
            assert all(case.request.devices for case in cases.cases)

    return take


def _case_seeds(_: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((_POLICY / "examples" / "cases").glob("*.toml"))]


# --- captures -----------------------------------------------------------------------------------

_FEATURES = {"iommufd": True, "cdev": True, "container": True, "noiommu": False, "kernel": "7.2"}
_SYS: tuple[tuple[str, str | bytes | None], ...] = (
    ("sys", None),
    ("sys/devices/pci0000:00/0000:00:01.0/vendor", b"0x8086\n"),
    ("sys/devices/pci0000:00/0000:00:01.0/driver_override", b"(null)\n"),
    ("sys/devices/pci0000:00/0000:00:01.0/iommu_group", "../../../kernel/iommu_groups/1"),
    ("sys/kernel/iommu_groups/1/type", b"DMA\n"),
    (
        "sys/kernel/iommu_groups/1/devices/0000:00:01.0",
        "../../../../devices/pci0000:00/0000:00:01.0",
    ),
    ("sys/bus/pci/devices/0000:00:01.0", "../../../devices/pci0000:00/0000:00:01.0"),
)


def _captures(folder: Path) -> Take:
    """A capture that is taken makes a whole host, which can be looked at; another one nothing."""
    file, place = folder / "far.tar", folder / "hosts" / "far"

    def take(data: bytes) -> None:
        file.write_bytes(_checksummed(data[1:]) if data[:1] == _BLOCKS else data)
        try:
            load_capture(file, place)
        except (CaptureError, OSError):
            assert not place.parent.is_dir() or not list(place.parent.iterdir()), "half a host"
        else:
            with closing(open_host(place)) as kernel:
                kernel.critical(tuple(kernel.snapshot(1).devices.values()))
            shutil.rmtree(place)

    return take


# Begins an input that is a tar but for its checksums: no mutation gets past these.
_BLOCKS = b"+"
_BLOCK = 512
_OCTAL = re.compile(rb"[0-7]{11}")
_SUM = slice(148, 156)


def _checksummed(data: bytes) -> bytes:
    """With the right checksum in each header that is where the one before it says."""
    blocks = bytearray(data)
    at = 0
    while at + _BLOCK <= len(blocks):
        header = blocks[at : at + _BLOCK]
        header[_SUM] = b" " * 8
        header[_SUM] = b"%06o\0 " % sum(header)
        blocks[at : at + _BLOCK] = header
        size = header[124:135]
        at += _BLOCK + (-(-int(size, 8) // _BLOCK) * _BLOCK if _OCTAL.fullmatch(size) else 0)
    return bytes(blocks)


def _tar(manifest: object, style: int) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=style) as archive:
        for path, content in ((MANIFEST, json.dumps(manifest).encode()), *_SYS):
            member = tarfile.TarInfo(path)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
            elif content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return written.getvalue()


def _capture_seeds(_: Path) -> list[bytes]:
    manifest = {"format": FORMAT, "version": VERSION, "features": _FEATURES}
    plain = _tar(manifest, tarfile.GNU_FORMAT)
    extended = _tar(manifest | {"critical": {}}, tarfile.PAX_FORMAT)
    packed = [pack(plain) for pack in (gzip.compress, bz2.compress, lzma.compress)]
    return [*packed, b"", plain, *(_BLOCKS + archive for archive in (plain, extended))]


TARGETS = {
    "policies": Target(_policies, _policy_seeds, 16384),
    "cases": Target(_cases, _case_seeds, 16384, runs=20_000),
    "captures": Target(_captures, _capture_seeds, 16384, runs=20_000),
}
