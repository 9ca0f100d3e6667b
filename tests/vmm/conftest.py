"""A folder that nobody can enter, too: pytest's own are closed to everyone but root."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="isod-vmm-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
