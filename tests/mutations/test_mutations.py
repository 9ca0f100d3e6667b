"""The patches still apply to the code as it is; ``make mutations`` shows that each is noticed."""

from __future__ import annotations

import subprocess

import pytest

from .__main__ import ROOT, Mutation, mutations


@pytest.mark.parametrize("mutation", mutations(()), ids=lambda mutation: mutation.path.stem)
def test_the_patch_applies(mutation: Mutation) -> None:
    tried = subprocess.run(
        ["patch", "--strip=1", "--dry-run", "--forward", f"--input={mutation.path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, tried.stdout + tried.stderr
    for test in mutation.noticed_by:
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text() if name else (ROOT / path).exists()
