"""Quarantine, and the policy that was read anew."""

from __future__ import annotations

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from isod.model.reply import Quarantines, Reloaded

from .terminal import escape

_THERE = {"same": "", "another": " (another device is there now)", "none": " (not there now)"}


def quarantine_screen(found: Quarantines) -> RenderableType:
    """A line for each device: where, what it was, why, and whether it is there still."""
    unknown = [] if found.unknown is None else [Text(unknown_words(found.unknown))]
    if not found.devices:
        return Stack(*unknown) if unknown else Text("No device is in quarantine.")
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in found.devices:
        ids = f"{one.vendor}:{one.product}" if one.vendor else "-"
        words = escape(one.why) + _THERE[one.there]
        table.add_row(Text(escape(one.address)), Text(escape(ids)), Text(words))
    return Stack(table, *unknown)


def unknown_words(why: str) -> str:
    """Why every device is in quarantine, and who can end that."""
    return (
        f"Every device is in quarantine: {escape(why)}. An administrator puts back what is known "
        "to be sick (isoctl quarantine set), then: isoctl quarantine clear --unknown"
    )


def reloaded_screen(result: Reloaded) -> RenderableType:
    """How many rules hold now, and what is odd about them."""
    head = Text(f"Policy {result.policy} is in use: {result.rules} rules.")
    warnings = [Text(f"Warning: {escape(text)}", style="yellow") for text in result.warnings]
    return Stack(head, *warnings)
