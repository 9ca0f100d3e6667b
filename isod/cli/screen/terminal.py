"""What every screen needs: safe text, and a width and colours that fit where it goes."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from io import StringIO
from typing import TextIO

from rich.console import Console, RenderableType

WIDTH = 100

# Control and format characters, surrogates, private and unassigned ones, line separators:
# a device or a peer may be called anything, and a terminal obeys some of these.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def escape(text: object) -> str:
    """Spell out every character that a terminal would obey rather than show."""
    plain = str(text)
    if plain.isascii() and plain.isprintable():
        return plain
    return "".join(_spell(letter) for letter in plain)


def _spell(letter: str) -> str:
    if unicodedata.category(letter) not in _UNSAFE:
        return letter
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


def render(screen: RenderableType, *, width: int = WIDTH, colour: bool = False) -> str:
    """Lay a screen out as text that ends in a newline."""
    console = Console(
        file=StringIO(),
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,
        markup=False,
        emoji=False,
        highlight=False,
    )
    with console.capture() as captured:
        console.print(screen)
    lines = captured.get().rstrip("\n").split("\n")
    return "".join(line.rstrip() + "\n" for line in lines)


def wants_colour(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Only a terminal gets colours, and none that asked for silence (https://no-color.org)."""
    if environment.get("NO_COLOR") or environment.get("TERM") == "dumb":
        return False
    return stream.isatty()


def speakable(text: str, stream: TextIO) -> str:
    """Replace what the stream's encoding cannot say, rather than fail on it."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
