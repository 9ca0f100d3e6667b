"""What stands in the unit files: systemd understands each line, and drop-ins explain themselves."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .init import REPOSITORY

UNITS = REPOSITORY / "systemd"
NAMES = sorted(path.name for path in UNITS.iterdir() if path.suffix in {".service", ".socket"})
DROP_INS = sorted((UNITS / "drop-ins").glob("*.conf"))

# What a line opens, where its value does not say it.
OPENED_BY = {"ProtectControlGroups": ["/sys/fs/cgroup"]}

needs_analyzer = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze comes with the lab's packages"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with the units, and with what they start."""
    folder = tmp_path / "etc/systemd/system"
    folder.mkdir(parents=True)
    for name in NAMES:
        shutil.copy(UNITS / name, folder)
    for program in ("usr/bin/isod", "bin/kill"):
        place = tmp_path / program
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch(mode=0o755)
    return tmp_path


def add(root: Path, unit: str, drop_in: Path) -> None:
    folder = root / f"etc/systemd/system/{unit}.d"
    folder.mkdir(exist_ok=True)
    shutil.copy(drop_in, folder)


def complaints(root: Path, unit: str) -> str:
    """What systemd has to say of a unit and its drop-ins, but not of what it refers to."""
    command = ["systemd-analyze", "verify", f"--root={root}", "--man=no", "--recursive-errors=no"]
    done = subprocess.run([*command, unit], check=False, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert (done.returncode == 0) == (said == ""), said
    return said


@needs_analyzer
@pytest.mark.parametrize("unit", NAMES)
def test_systemd_understands_every_line(root: Path, unit: str) -> None:
    assert complaints(root, unit) == ""


@needs_analyzer
@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_systemd_understands_every_line_of_a_drop_in(root: Path, drop_in: Path) -> None:
    add(root, "isod.service", drop_in)
    assert complaints(root, "isod.service") == ""


@needs_analyzer
@pytest.mark.parametrize(
    "line", ["ProtectEverything=yes", "ProtectSystem=perhaps", "ExecStart=/usr/bin/nothing"]
)
def test_a_line_that_it_does_not_understand_is_seen(root: Path, line: str) -> None:
    strange = root / "strange.conf"
    strange.write_text(f"[Service]\nExecStart=\n{line}\n")
    add(root, "isod.service", strange)
    assert complaints(root, "isod.service")


def test_no_unit_refers_to_a_page_that_is_not_there() -> None:
    """The project has no manual pages."""
    assert not [name for name in NAMES if "man:isod" in (UNITS / name).read_text()]


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_a_drop_in_says_what_it_opens_and_why(drop_in: Path) -> None:
    """Why: the paragraph that says for whom it is. What: one that names what each line opens."""
    words = drop_in.read_text()
    comments = re.sub(r"^# ?", "", words[: words.index("[Service]")], flags=re.MULTILINE)
    why, opens, install = comments.strip().split("\n\n")
    assert re.match(r"For \w+ .*:\s.{40}", why, re.DOTALL), why
    assert re.match(r"Opens: .{40}", opens, re.DOTALL), opens
    assert install == f"Install as /etc/systemd/system/isod.service.d/{drop_in.name}"
    for name, value in re.findall(r"^(\w+)=(.*)$", words, re.MULTILINE):
        for word in OPENED_BY.get(name, ()) or value.split():
            assert word in opens, f"{name}={value} is not explained"
