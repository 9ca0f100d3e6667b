"""What was found in policy files, and what came of trying them out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.text import Text

from isod.policy.check import Finding, Report
from isod.policy.trial import Tried

from .terminal import escape

_NAME_COLUMN = 50


def check_screen(report: Report) -> RenderableType:
    """Faults, warnings, and a sentence about the whole."""
    return Stack(
        *_findings(report.faults, "fault", "bold red"),
        *_findings(report.warnings, "warning", "yellow"),
        Text(_summary(report)),
    )


def faults_screen(report: Report) -> RenderableType:
    """The faults alone."""
    return Stack(*_findings(report.faults, "fault", "bold red"))


def _findings(findings: Iterable[Finding], word: str, style: str) -> list[Text]:
    lines = []
    for one in findings:
        place = f"{escape(one.place)}: " if one.place else ""
        line = Text(f"{word:<8} {escape(one.file)}: {place}{escape(one.what)}")
        line.stylize(style, 0, len(word))
        lines.append(line)
    return lines


def _summary(report: Report) -> str:
    files = _count(len(report.files), "file")
    if not report.files:
        return "There is no policy file here: nothing is allowed."
    if report.policy is None:
        return f"{files}, {_count(len(report.faults), 'fault')}: not to be used."
    warned = _count(len(report.warnings), "warning") if report.warnings else "no warnings"
    return f"{files}, {_count(len(report.policy.rules), 'rule')}: no faults, {warned}."


def trial_screen(files: Sequence[tuple[str, Sequence[Tried]]]) -> RenderableType:
    """A line for each case; below one that differs, what was expected and why it is otherwise."""
    lines: list[Text] = []
    for name, tried in files:
        if len(files) > 1:
            lines.append(Text(escape(name), style="bold"))
        for one in tried:
            lines += _case(one)
    every = [one for _, tried in files for one in tried]
    differing = sum(bool(one.differences) for one in every)
    verb = "differs" if differing == 1 else "differ"
    end = f"{differing} {verb}" if differing else "all as expected"
    return Stack(*lines, Text(f"{_count(len(every), 'case')}: {end}."))


def _case(one: Tried) -> list[Text]:
    word, style = ("FAIL", "bold red") if one.differences else ("ok", "green")
    line = Text(f"{word:<5}{escape(one.case.name):<{_NAME_COLUMN}} {escape(one.verdict.words)}")
    line.stylize(style, 0, len(word))
    if not one.differences:
        return [line]
    said = [f"     {escape(text)}" for text in (*one.differences, one.verdict.message) if text]
    return [line, *map(Text, said)]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
