"""How much of the machine the units leave open, as systemd-analyze counts it (0 is nothing).

Each drop-in is counted, whether a walk of the lab has it (``test_ending.py``) or not yet: nothing
uses no-iommu.conf so far.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .init import REPOSITORY

# systemd-analyze comes with the lab's packages.
pytestmark = pytest.mark.slow

UNITS = REPOSITORY / "systemd"
DROP_INS = sorted((UNITS / "drop-ins").glob("*.conf"))


def exposure(root: Path, unit: str, *drop_ins: Path) -> float:
    folder = root / "etc/systemd/system"
    (folder / f"{unit}.d").mkdir(parents=True)
    for path in UNITS.glob("*.*t"):  # .socket
        shutil.copy(path, folder)
    shutil.copy(UNITS / unit, folder)
    for path in drop_ins:
        shutil.copy(path, folder / f"{unit}.d")
    command = ["systemd-analyze", "security", "--offline=yes", f"--root={root}", unit]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    return float(found[1])


def test_the_daemon(tmp_path: Path) -> None:
    assert exposure(tmp_path, "isod.service") <= 1.7


def test_the_survey(tmp_path: Path) -> None:
    assert exposure(tmp_path, "isod-survey.service") <= 1.7


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_each_drop_in(tmp_path: Path, drop_in: Path) -> None:
    assert exposure(tmp_path, "isod.service", drop_in) <= 2.0


def test_all_drop_ins_together(tmp_path: Path) -> None:
    assert exposure(tmp_path, "isod.service", *DROP_INS) <= 2.2


def test_the_measure_measures(tmp_path: Path) -> None:
    """A drop-in that opens much is seen."""
    open_wide = tmp_path / "open.conf"
    open_wide.write_text("[Service]\nCapabilityBoundingSet=~\nProtectSystem=no\n")
    assert exposure(tmp_path / "root", "isod.service", open_wide) > 3.0
