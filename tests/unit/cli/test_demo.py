"""The demo tells the truth, and nothing stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from isod.cli.demo.stage import Stage
from isod.cli.demo.story import Story


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's own: the demo's programs are not root and must get through to the socket."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_the_demo_shows_what_it_says(folder: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "isod.cli.demo"],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    assert "NOT TRUE" not in ran.stdout
    assert "claims were checked and true" in ran.stdout
    assert "Refused: group_busy." in ran.stdout
    assert list(folder.iterdir()) == []
    assert max(len(line) for line in ran.stdout.splitlines()) <= 110


def test_a_claim_that_is_not_true_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    story = Story(Stage(Path("/"), Path("/"), 0, 0), print)
    story._check("water is wet", true=True)
    story._check("the moon is near", true=False)
    assert story.wrong == ["the moon is near"]
    assert "NOT TRUE:  the moon is near" in capsys.readouterr().out
