"""What /proc says of a peer is read as the kernel writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from isod.daemon import identify


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"1:cpu:/x\n0::/machine.slice/vm.scope\n", "/machine.slice/vm.scope"),
        (b"0::/machine.slice/vm.scope\x0cmine\n", "/machine.slice/vm.scope\x0cmine"),
        ("0::/a.scope\u2028b\n".encode(), "/a.scope\u2028b"),
        (b"0::/\xff\n", None),
        (b"1:name=systemd:/a\n", None),
    ],
)
def test_a_cgroup_is_the_whole_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bytes, read: str | None
) -> None:
    """A name that goes on after a form feed is not the name before it."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_bytes(written)
    monkeypatch.setattr(identify, "_PROC", tmp_path)
    assert identify._cgroup(7) == read
