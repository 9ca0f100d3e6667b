"""``isoctl policy``: check policy files, and try them out, without a daemon."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click
from rich.text import Text

from isod.cli.failure import EXIT_CODES, Ended, ExitCode
from isod.cli.link import fail
from isod.cli.output import show, show_json
from isod.cli.screen.policy import check_screen, faults_screen, trial_screen
from isod.policy.cases import Cases, CasesError, read_cases
from isod.policy.check import Finding, Report, check
from isod.policy.folder import FOLDERS
from isod.policy.trial import Trial, Tried

from .options import json_option

_PLACE = click.Path(exists=True, path_type=Path)


@click.group("policy", epilog=EXIT_CODES)
def policy() -> None:
    """Check policy files and try them out. Neither a daemon nor root is needed."""


@policy.command("check", epilog=EXIT_CODES)
@click.argument("places", metavar="[FOLDER|FILE]...", nargs=-1, type=_PLACE)
@click.option("--strict", is_flag=True, help="Fail on warnings, too.")
@json_option
def check_policy(*, places: tuple[Path, ...], strict: bool, as_json: bool) -> None:
    """Read policy files as the daemon does, and list every fault by file and place.

    Without an argument: the folders that the daemon reads. A file in a later place hides one of the
    same name in an earlier. Warned of are names that this machine does not know, and rules that can
    never decide because an earlier one matches all that they would.

    \b
    Examples:
      isoctl policy check
      isoctl policy check 50-vm.toml
      isoctl policy check /usr/lib/isod/policy.d ./policy.d --strict
    """
    report = check(places or FOLDERS)
    if as_json:
        show_json(_report(report))
    else:
        show(check_screen(report))
    if report.faults or (strict and report.warnings):
        raise Ended(ExitCode.error)


@policy.command("test", epilog=EXIT_CODES)
@click.argument("files", metavar="CASES.toml...", nargs=-1, required=True, type=_PLACE)
@click.option(
    "--host",
    metavar="HOST",
    help="Where: live, a capture or the folder of a simulated host, or simulated:NAME.  "
    "[default: as the file says, else live]",
)
@click.option(
    "--policy",
    "places",
    metavar="FOLDER|FILE",
    type=_PLACE,
    multiple=True,
    help="The policy; may be given again.  [default: as the file says, else the daemon's]",
)
@json_option
def try_policy(
    *, files: tuple[Path, ...], host: str | None, places: tuple[Path, ...], as_json: bool
) -> None:
    """Ask what a policy says of the cases in a file, and compare it with what they expect.

    The answers are those of acquire on a host on which nothing is leased. Exit code 1 if any of
    them is not as expected. How cases are written: policy/README.md.

    \b
    Examples:
      isoctl policy test cases.toml
      isoctl policy test cases.toml --policy ./policy.d --host far-away.tar
      isoctl policy test policy/examples/cases/*.toml --json
    """
    tried: list[tuple[Cases, tuple[Tried, ...]]] = []
    for file in files:
        try:
            cases = read_cases(file)
        except CasesError as error:
            fail(str(error), as_json=as_json)
        tried.append((cases, _try(cases, host, places, as_json=as_json)))
    if as_json:
        show_json({"files": [_tried(cases, found) for cases, found in tried]})
    else:
        show(trial_screen([(str(cases.file), found) for cases, found in tried]))
    if any(one.differences for _, found in tried for one in found):
        raise Ended(ExitCode.error)


def _try(
    cases: Cases, host: str | None, places: Sequence[Path], *, as_json: bool
) -> tuple[Tried, ...]:
    # Imported late: the kernel's side is of use to no other command.
    from isod.policy.host import LIVE, NoHostError, see_host  # noqa: PLC0415

    report = check(places or cases.policy or FOLDERS, cases.look_up)
    if report.policy is None:
        if as_json:
            show_json(_report(report))
        else:
            show(faults_screen(report), on_stderr=True)
        raise Ended(ExitCode.error)
    name = host or cases.host or LIVE
    if name == LIVE and os.geteuid() != 0:
        text = "Not root: what this kernel offers is not known, so every hand-over is unsupported."
        show(Text(f"Warning: {text}"), on_stderr=True)
    try:
        seen = see_host(name, cases.file.parent if host is None else Path())
    except NoHostError as error:
        fail(str(error), as_json=as_json)
    return Trial(report.policy, seen.snapshot, seen.facts).run(cases.cases)


def _report(report: Report) -> dict[str, object]:
    return {
        "files": [str(path) for path in report.files],
        "rules": 0 if report.policy is None else len(report.policy.rules),
        "faults": [_finding(one) for one in report.faults],
        "warnings": [_finding(one) for one in report.warnings],
    }


def _finding(finding: Finding) -> dict[str, str]:
    return {"file": finding.file, "place": finding.place, "what": finding.what}


def _tried(cases: Cases, found: Sequence[Tried]) -> dict[str, object]:
    return {
        "file": str(cases.file),
        "cases": [
            {
                "name": one.case.name,
                "as_expected": not one.differences,
                "differences": list(one.differences),
                "allowed": list(one.verdict.rules) if one.verdict.reason is None else None,
                "refused": one.verdict.reason,
                "message": one.verdict.message,
                "hand_over": one.verdict.hand_over,
                "along": [str(address) for address in one.verdict.along],
                "warnings": list(one.verdict.warnings),
            }
            for one in found
        ],
    }
