"""What reaches other processes: exactly the files that were declared, and no privilege."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from isod.kernel.helper_pipe import HelperPipe
from tests.unit.wire.open_files import open_fds
from tests.walk.stage import Stage

_PATIENCE = 30.0
_TELL = """
import json, os
numbers = os.listdir("/proc/self/fd")
print(json.dumps([n for n in numbers if os.path.exists(f"/proc/self/fd/{n}")]))
"""
ROLES = {
    "iommufd": ["hold", "iommufd", "device"],
    "group": ["hold", "container", "group", "device"],
    "nodes": ["hold"],
}


@pytest.mark.slow
@pytest.mark.parametrize("hand_over", ["iommufd", "group", "nodes"])
def test_more_fds_than_declared(
    stage: Stage, hand_over: Literal["iommufd", "group", "nodes"]
) -> None:
    """The client's fd table has grown by what the reply declares; nothing of it reaches a child."""
    before = open_fds()
    with stage.control.acquire([stage.machine.device("single")], hand_over=hand_over) as lease:
        declared = [role.role for role, _ in lease.files]
        assert declared == ROLES[hand_over]
        grown = {int(number) for number, _ in open_fds() - before}
        assert grown == {descriptor for _, descriptor in lease.files}
        ran = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _TELL],
            close_fds=False,  # what is not close-on-exec goes along
            stdout=subprocess.PIPE,
            check=True,
        )
        assert not {int(number) for number in json.loads(ran.stdout)} & grown
    assert open_fds() == before


@pytest.mark.slow
def test_more_fds_than_declared_are_kept_by_the_daemon(stage: Stage) -> None:
    """It keeps no copy of a device, group, container or iommufd; a hold's other end alone."""
    before = stage.daemon.fds()
    with stage.control.acquire([stage.machine.device("single")], hand_over="group"):
        stage.daemon.until(
            lambda: not [one for one in stage.daemon.fds() if "opens" in one], "a copy was kept"
        )
        more = stage.daemon.fds() - before
        assert more.keys() <= {"pipe", "anon_inode:[pidfd]"}, more
        assert more["pipe"] == 1


def test_helper_inherits_privilege(sysfs: Path) -> None:
    leak = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leak, True)
    pipe = HelperPipe(sysfs)
    place = Path(f"/proc/{pipe.pid}")
    descriptors = {path.name: str(path.readlink()) for path in (place / "fd").iterdir()}
    assert set(descriptors) == {"0", "1", "2"}
    assert descriptors["2"] == "/dev/null"
    assert (place / "environ").read_bytes() == b""
    assert os.getsid(pipe.pid) == pipe.pid
    assert (place / "cwd").readlink() == Path("/")
    pipe.let_go()
    assert pipe.ended(_PATIENCE)
    os.close(leak)


def test_helper_inherits_privilege_by_no_shell_and_no_environment(
    sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fixed arguments: a place is an argument, whatever it is called, and variables that make
    Python run other code are not handed on."""
    odd = sysfs.parent / "sys; touch pwned #"
    sysfs.rename(odd)
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere")
    monkeypatch.setenv("LD_PRELOAD", "")
    pipe = HelperPipe(odd)
    place = Path(f"/proc/{pipe.pid}")
    arguments = (place / "cmdline").read_bytes().split(b"\0")[:-1]
    assert arguments[1:3] == [b"-I", b"-S"]
    assert arguments[-1] == os.fsencode(odd)
    assert (place / "environ").read_bytes() == b""
    pipe.let_go()
    assert pipe.ended(_PATIENCE)
    assert not (sysfs.parent / "pwned").exists()
