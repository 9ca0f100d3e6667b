"""What acquire would do: the rule, each step with what undoes it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.text import Text

from isod.model.reply import ExplainResult, LeasedDevice, PlannedStep

from .reset import lease_reset_words
from .terminal import escape
from .words import comma_list

_UNDO_COLUMN = 62


def explain_screen(result: ExplainResult) -> RenderableType:
    """An allowance. A refusal has its own screen."""
    assert result.decision is not None
    decision = result.decision
    groups = len({device.group for device in result.devices})
    parked = [device.address for device in result.devices if device.why != "requested"]
    along = f"goes along: {comma_list(parked)}" if parked else "nothing else touched"
    head = Text(
        f"Allowed by rule {escape(decision.rule)} ({escape(decision.file)}).  "
        f"{_count(len(result.devices), 'device')}, {_count(groups, 'group')}, {along}."
    )
    warnings = [Text(f"Warning: {escape(text)}", style="yellow") for text in result.warnings]
    reset = []
    if result.reset is not None:
        reset = [Text(f"Hot reset: {lease_reset_words(result.reset)}")]
    chosen = [Text(f"Out of pool {line}.") for line in _chosen(result.devices)]
    return Stack(head, *chosen, *_steps(result.plan), *reset, *warnings)


def _chosen(devices: Sequence[LeasedDevice]) -> list[str]:
    """``gpus: 05:00.0, 06:00.0``, a line for each pool."""
    pools = dict.fromkeys(device.pool for device in devices if device.pool is not None)
    return [
        f"{escape(pool)}: {comma_list(d.address for d in devices if d.pool == pool)}"
        for pool in pools
    ]


def _steps(plan: Sequence[PlannedStep]) -> list[Text]:
    lines = []
    for number, step in enumerate(plan, 1):
        line = f"  {number:>2} {step.step:<8} {escape(step.text)}"
        if step.undo is not None:
            line = f"{line:<{_UNDO_COLUMN}} undone by: {escape(step.undo)}"
        elif step.step == "reset":
            line = f"{line:<{_UNDO_COLUMN}} scrub is required"  # before a hand-over only then
        lines.append(Text(line))
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
