"""``isod survey``: look at config space once, leave the file, say how it went, end.

No part of the daemon, which never runs with the capability that this needs: a unit of its own
starts it, at boot and when devices come.
"""

from __future__ import annotations

import sys
from pathlib import Path

from isod.kernel.survey import survey_host
from isod.kernel.tree import UnreadableError
from isod.model.survey import Survey

from .survey_file import write_survey

WRITTEN, FAILED, USAGE, HEADERS_ONLY = 0, 1, 2, 3


def run_survey(simulate: Path | None, folder: Path, *, as_json: bool) -> int:
    """Survey this machine, or a simulated host; returns the exit code. With ``as_json`` it goes
    to standard output instead of the file."""
    if simulate is not None and not (simulate / "sys").is_dir():
        print(f"isod: {simulate}: no simulated host", file=sys.stderr)
        return USAGE
    try:
        survey = survey_host(simulate or Path("/"))
    except UnreadableError as error:
        print(f"isod: {error}", file=sys.stderr)
        return FAILED
    if as_json:
        print(survey.model_dump_json(exclude_defaults=True, indent=2))
    else:
        try:
            path = write_survey(folder, survey)
        except OSError as error:
            print(f"isod: {folder}: {error.strerror}", file=sys.stderr)
            return FAILED
        print(f"isod: {len(survey.functions)} functions in {path}", file=sys.stderr)
    if _only_headers(survey):
        print(
            "isod: config space ends after 64 bytes here: run this as root with CAP_SYS_ADMIN",
            file=sys.stderr,
        )
        return HEADERS_ONLY
    return WRITTEN


def _only_headers(survey: Survey) -> bool:
    """Whether no function that answers showed a capability, and one has a list of them."""
    answering = [one for one in survey.functions if one.header_type is not None]
    lists = [one for one in answering if not one.capabilities]
    return bool(lists) and not any(one.express or one.acs for one in answering)
