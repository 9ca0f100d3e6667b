"""Where answers go: screens for people, JSON for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TextIO

import click
from rich.console import RenderableType

from .screen.terminal import WIDTH, render, speakable, wants_colour

# Below this a table is unreadable; a narrower terminal may as well wrap it.
_NARROWEST = 80


def show(screen: RenderableType, *, on_stderr: bool = False) -> None:
    """Print a screen, at most as wide as the terminal."""
    stream = sys.stderr if on_stderr else sys.stdout
    colour = wants_colour(stream, os.environ)
    text = render(screen, width=_width(stream), colour=colour)
    # click strips colours where it sees no terminal; whether there is one was decided above.
    click.echo(speakable(text, stream), nl=False, err=on_stderr, color=colour)


def show_json(value: object, *, lines: int | None = 2) -> None:
    """Print a value as JSON on stdout; on one line with ``lines`` None."""
    # Escaped down to ASCII, so that nothing in it can drive a terminal; DEL is ASCII, too.
    click.echo(json.dumps(value, indent=lines).replace("\x7f", "\\u007f"))


def _width(stream: TextIO) -> int:
    if not stream.isatty():
        return WIDTH
    return max(_NARROWEST, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns))
