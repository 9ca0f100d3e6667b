"""The survey's file: written by ``isod survey``, read by the daemon, on the same tmpfs.

The daemon runs without the capability that the survey needs, so the file is all that passes
between them. It is believed only as far as it can be checked.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from isod.model.survey import SURVEY_FILE, Survey

MAX_BYTES = 32 * 1024 * 1024
"""65,536 functions take 20 MB."""

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class SurveyError(ValueError):
    """The file is there and is not to be believed; the message says why."""


@dataclass(frozen=True, slots=True)
class Edition:
    """Which file it is: every write makes another."""

    inode: int
    changed: int
    size: int


def write_survey(folder: Path, survey: Survey) -> Path:
    """Replace the file in one step, so that a reader sees the former or the new one, whole.

    Makes the folder, root's own. Raises OSError.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".survey-", dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(survey.model_dump_json(exclude_defaults=True) + "\n")
            os.fchmod(file.fileno(), 0o644)
        Path(name).replace(folder / SURVEY_FILE)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    return folder / SURVEY_FILE


def edition(folder: Path) -> Edition | None:
    """What to compare to learn whether the file has changed; None: there is none."""
    try:
        found = os.stat(folder / SURVEY_FILE, follow_symlinks=False)  # noqa: PTH116
    except OSError:
        return None
    return _edition(found)


def read_survey(folder: Path) -> tuple[Edition, Survey] | None:
    """The survey that is there (blocking), and which edition it is; None: there is none.

    Raises SurveyError for a file of somebody else's, too long, or that makes no sense.
    """
    try:
        descriptor = os.open(folder / SURVEY_FILE, _FLAGS)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SurveyError(f"cannot be opened: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        _check_origin(found)
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SurveyError(f"cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(data) > MAX_BYTES:
        raise SurveyError(f"longer than {MAX_BYTES} bytes")
    try:
        survey = Survey.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SurveyError(f"makes no sense: {place}: {first['msg']}") from error
    if len({function.address for function in survey.functions}) != len(survey.functions):
        raise SurveyError("makes no sense: an address stands there twice")
    return _edition(found), survey


def _check_origin(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SurveyError("not a file")
    if found.st_uid not in (0, os.geteuid()):
        raise SurveyError(f"belongs to uid {found.st_uid}")
    if found.st_mode & _WRITABLE_BY_OTHERS:
        raise SurveyError("others may write it")


def _edition(found: os.stat_result) -> Edition:
    return Edition(found.st_ino, found.st_mtime_ns, found.st_size)
