"""Quarantine, and the policy that was read anew."""

from __future__ import annotations

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.text import Text

from isod.model.reply import Quarantines, Reloaded

from .terminal import escape


def quarantine_screen(found: Quarantines) -> RenderableType:
    """A line for each group."""
    if not found.groups:
        return Text("No group is in quarantine.")
    return Stack(*(Text(f"{one.group:>5}  {escape(one.why)}") for one in found.groups))


def reloaded_screen(result: Reloaded) -> RenderableType:
    """How many rules hold now, and what is odd about them."""
    head = Text(f"Policy {result.policy} is in use: {result.rules} rules.")
    warnings = [Text(f"Warning: {escape(text)}", style="yellow") for text in result.warnings]
    return Stack(head, *warnings)
