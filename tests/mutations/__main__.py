"""``make mutations``: apply each patch here to a copy of the tree and see a test turn red.

A patch breaks one promise on purpose. Its first lines say which, and which tests must notice:

    # breaks: invariant 1, one owner per group
    # noticed by: tests/unit/core/test_consider.py
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATCHES = Path(__file__).parent
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info"
)
SECONDS = 600


@dataclass(frozen=True)
class Mutation:
    """A patch, what it breaks, and the tests that must fail with it."""

    path: Path
    breaks: str
    noticed_by: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Mutation:
        text = path.read_text()
        breaks = re.search(r"^# breaks: (.+)$", text, re.MULTILINE)
        noticed = re.search(r"^# noticed by: (.+)$", text, re.MULTILINE)
        if breaks is None or noticed is None:
            raise ValueError(f"{path.name}: the head must say what it breaks and who notices")
        return cls(path, breaks[1], tuple(noticed[1].split()))


def mutations(names: Sequence[str]) -> list[Mutation]:
    """All of them, or those whose names contain one of ``names``."""
    paths = sorted(PATCHES.glob("*.patch"))
    return [
        Mutation.read(path)
        for path in paths
        if not names or any(name in path.name for name in names)
    ]


def pytest(tree: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run tests in a copy of the tree, with the copy's own code."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    return subprocess.run(
        command,
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def is_noticed(mutation: Mutation, folder: Path) -> tuple[bool, str]:
    """Whether a test fails with the mutation, and the last lines of the run."""
    tree = folder / mutation.path.stem
    shutil.copytree(ROOT, tree, ignore=_LEFT_OUT)
    applied = subprocess.run(
        ["patch", "--strip=1", "--quiet", "--forward", f"--input={mutation.path}"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    if applied.returncode != 0:
        return False, f"does not apply: {applied.stdout}{applied.stderr}"
    ended = pytest(tree, mutation.noticed_by)
    shutil.rmtree(tree)
    # 1 is "tests failed"; a run that could not even collect proves nothing.
    return ended.returncode == 1, "\n".join(ended.stdout.splitlines()[-4:])


def main(names: Sequence[str]) -> int:
    """Print a line for each mutation; 0 if every one was noticed."""
    chosen = mutations(names)
    missed = 0
    with tempfile.TemporaryDirectory(prefix="isod-mutations-") as name:
        for mutation in chosen:
            noticed, tail = is_noticed(mutation, Path(name))
            missed += not noticed
            word = "red  " if noticed else "MISSED"
            print(f"{word} {mutation.path.stem:32} {mutation.breaks}", flush=True)
            if not noticed:
                print(tail, flush=True)
    print(f"{len(chosen) - missed} passed, {missed} failed")
    return 1 if missed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
