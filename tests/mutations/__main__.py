"""``make mutations``: apply each patch here to a copy of the tree and see its tests turn red.

A patch breaks one promise on purpose. Its first lines say which, and which tests must notice, each
of them by itself:

    # breaks: invariant 1, one owner per group
    # noticed by: tests/unit/core/test_consider.py

A test that fails without the patch, too, has noticed nothing: it is run unpatched first.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATCHES = Path(__file__).parent
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info"
)
SECONDS = 600
TESTS_FAILED = 1  # pytest's exit code
TOO_LONG = -1


@dataclass(frozen=True)
class Mutation:
    """A patch, what it breaks, and the tests of which each must fail with it."""

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


def pytest(tree: Path, test: str) -> tuple[int, str]:
    """Run a test file, or one test of it, in a copy of the tree, with the copy's own code. Returns
    pytest's exit code and the last lines of the run; it has one of its own if it takes too long."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
    try:
        ended = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return TOO_LONG, f"took more than {SECONDS} s"
    return ended.returncode, "\n".join(ended.stdout.splitlines()[-4:])


def apply(mutation: Mutation, tree: Path) -> str:
    """Patch a tree; every line of context has to be there. Returns what is wrong, or nothing."""
    applied = subprocess.run(
        ["patch", "--strip=1", "--quiet", "--forward", "--fuzz=0", f"--input={mutation.path}"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if applied.returncode == 0 else f"{applied.stdout}{applied.stderr}"


class Trials:
    """Tries mutations out on copies of ``root`` in ``folder``; each test runs unpatched once."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._folder = folder
        self._unpatched: dict[str, str] = {}

    def complaint(self, mutation: Mutation) -> str:
        """Why the mutation does not count as noticed, by whom; empty if all that must notice it
        do."""
        with self._copy(mutation.path.stem) as tree:
            wrong = apply(mutation, tree)
            if wrong:
                return f"does not apply: {wrong}"
            for test in mutation.noticed_by:
                failing = self._failing(test)
                if failing:
                    return f"{test} fails without the patch:\n{failing}"
                code, tail = pytest(tree, test)
                # A run that could not even collect proves nothing.
                if code != TESTS_FAILED:
                    return f"{test} does not notice it:\n{tail}"
        return ""

    def _failing(self, test: str) -> str:
        """What a test says that fails in the tree as it is; empty if it passes."""
        if test not in self._unpatched:
            with self._copy("unpatched") as tree:
                code, tail = pytest(tree, test)
            self._unpatched[test] = "" if code == 0 else tail or f"exit code {code}"
        return self._unpatched[test]

    @contextmanager
    def _copy(self, name: str) -> Iterator[Path]:
        tree = self._folder / name
        shutil.copytree(self._root, tree, ignore=_LEFT_OUT)
        try:
            yield tree
        finally:
            shutil.rmtree(tree)


def main(names: Sequence[str]) -> int:
    """Print a line for each mutation; 0 if every one was noticed."""
    chosen = mutations(names)
    missed = 0
    with tempfile.TemporaryDirectory(prefix="isod-mutations-") as name:
        trials = Trials(ROOT, Path(name))
        for mutation in chosen:
            complaint = trials.complaint(mutation)
            missed += bool(complaint)
            word = "MISSED" if complaint else "red  "
            print(f"{word} {mutation.path.stem:32} {mutation.breaks}", flush=True)
            if complaint:
                print(complaint, flush=True)
    print(f"{len(chosen) - missed} passed, {missed} failed")
    return 1 if missed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
