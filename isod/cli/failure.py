"""How commands fail: exit codes, and what is said on which stream."""

from __future__ import annotations

from enum import IntEnum

import click


class ExitCode(IntEnum):
    """The exit codes of ``isoctl``."""

    ok = 0
    error = 1
    usage = 2
    refused = 3
    unreachable = 4


EXIT_CODES = """\b
Exit codes:
  0  done
  1  it failed
  2  the command line is wrong
  3  isod refused, and said why
  4  isod could not be reached
"""


class Ended(click.exceptions.Exit):
    """Everything has been said; leave with a code."""

    def __init__(self, code: ExitCode) -> None:
        super().__init__(int(code))
