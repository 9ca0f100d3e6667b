"""Clients that die at lines of their own program."""

from __future__ import annotations

from .borrowers import Borrowers
from .moments import drawn
from .scripts import scripts
from .stage import Stage


def killed_at_lines(stage: Stage, borrowers: Borrowers, name: str, count: int) -> int:
    """Let clients perform the script ``name``: one to its end, and ``count`` until they kill
    themselves, each at another line. After each of them all is freed and restored.

    Returns how many lines the whole script has.
    """
    script = scripts(stage)[name]
    with borrowers.start() as whole:
        lines = whole.perform(script)
    assert lines is not None
    stage.until_quiet()
    for moment in drawn(name, count, lines):
        print(f"{name}: killed at line {moment} of {lines}")
        with borrowers.start() as client:
            assert client.perform(script, moment) is None
        stage.until_quiet()
    return lines
