"""The patches still apply to the code as it is; ``make mutations`` shows that each is noticed, and
here, on a tree of two files, that it would say so if one was not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .__main__ import ROOT, Mutation, Trials, mutations


@pytest.mark.parametrize("mutation", mutations(()), ids=lambda mutation: mutation.path.stem)
def test_the_patch_applies(mutation: Mutation) -> None:
    tried = subprocess.run(
        ["patch", "--strip=1", "--dry-run", "--forward", "--fuzz=0", f"--input={mutation.path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, tried.stdout + tried.stderr
    for test in mutation.noticed_by:
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text() if name else (ROOT / path).exists()


PATCH = """\
--- a/answer.py
+++ b/answer.py
@@ -1,2 +1,2 @@
 # what is asked for most
-ANSWER = 42
+ANSWER = 41
"""
TESTS = {
    "test_exact.py": "from answer import ANSWER\n\ndef test(): assert ANSWER == 42\n",
    "test_near.py": "from answer import ANSWER\n\ndef test(): assert ANSWER > 40\n",
    "test_red.py": "def test(): assert False\n",
    "test_broken.py": "import nothing_of_this_name\n",
}


@pytest.fixture
def trials(tmp_path: Path) -> Trials:
    root = tmp_path / "root"
    root.mkdir()
    (root / "answer.py").write_text("# what is asked for most\nANSWER = 42\n")
    for name, text in TESTS.items():
        (root / name).write_text(text)
    return Trials(root, tmp_path)


def mutation(tmp_path: Path, *noticed_by: str, patch: str = PATCH) -> Mutation:
    path = tmp_path / "wrong.patch"
    path.write_text(f"# breaks: the answer\n# noticed by: {' '.join(noticed_by)}\n{patch}")
    return Mutation.read(path)


def test_a_mutation_is_noticed_by_a_test_that_turns_red(trials: Trials, tmp_path: Path) -> None:
    assert trials.complaint(mutation(tmp_path, "test_exact.py")) == ""


def test_each_test_that_is_named_must_turn_red(trials: Trials, tmp_path: Path) -> None:
    complaint = trials.complaint(mutation(tmp_path, "test_exact.py", "test_near.py"))
    assert complaint.startswith("test_near.py does not notice it")


@pytest.mark.parametrize("test", ["test_red.py", "test_broken.py", "test_missing.py"])
def test_what_fails_without_the_patch_has_noticed_nothing(
    trials: Trials, tmp_path: Path, test: str
) -> None:
    complaint = trials.complaint(mutation(tmp_path, test))
    assert complaint.startswith(f"{test} fails without the patch")


def test_a_patch_whose_context_has_changed_is_not_guessed_at(
    trials: Trials, tmp_path: Path
) -> None:
    patch = PATCH.replace("asked for most", "asked for least")
    complaint = trials.complaint(mutation(tmp_path, "test_exact.py", patch=patch))
    assert complaint.startswith("does not apply")
