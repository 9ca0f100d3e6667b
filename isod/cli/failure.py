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


EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 wrong command line, 3 refused by isod, 4 isod not reachable."
)


class Ended(click.exceptions.Exit):
    """Everything has been said; leave with a code."""

    def __init__(self, code: ExitCode) -> None:
        super().__init__(int(code))
