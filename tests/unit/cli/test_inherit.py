"""What an executed command finds open."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from isod.cli.inherit import is_executable


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def test_files_of_a_lease_never_become_stdin() -> None:
    code = (
        "from isod.cli.inherit import occupy_standard_files as occupy\n"
        "import os\n"
        "occupy(); print(os.open('/dev/zero', os.O_RDONLY), os.readlink('/proc/self/fd/0'))"
    )
    shell = ["sh", "-c", 'exec "$0" -c "$1" <&-', sys.executable, code]
    said = subprocess.run(shell, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    assert int(said[0]) > 2
    assert said[1] == "/dev/null"


def test_a_command_dies_of_sigpipe_again() -> None:
    code = (
        "from isod.cli.inherit import restore_signals\n"
        "import os, signal\n"
        "restore_signals(); os.kill(os.getpid(), signal.SIGPIPE)"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == -signal.SIGPIPE


def test_commands_are_looked_up_as_exec_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    assert not is_executable("tool", str(tmp_path))
    (tmp_path / "tool").chmod(0o755)
    assert is_executable("tool", f"/nowhere{os.pathsep}{tmp_path}")
    assert is_executable("tool", "")
    assert is_executable("./tool", None)
    assert not is_executable("tool", "/nowhere")
    assert not is_executable(str(tmp_path), None)
    assert is_executable("sh", None)
