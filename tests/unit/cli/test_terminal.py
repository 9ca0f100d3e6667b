"""Text for terminals: nothing that a device or a peer is called may move the cursor."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from isod.cli.screen.terminal import escape, render, speakable, wants_colour


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("e1000e", "e1000e"),
        ("über-nic", "über-nic"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202eevil", "\\u202eevil"),
        ("\udc80", "\\udc80"),
        ("line\u2028", "line\\u2028"),
        ("\U000e0041", "\\U000e0041"),
        ("[bold]", "[bold]"),
    ],
)
def test_escape_spells_out_what_a_terminal_would_obey(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(st.text())
def test_escaped_text_is_one_harmless_line(text: str) -> None:
    shown = escape(text)
    assert "\x1b" not in shown
    assert len(shown.splitlines()) <= 1
    assert shown.encode("utf-8").decode() == shown


def test_without_colour_a_screen_is_plain_text_without_trailing_blanks() -> None:
    assert render(Text("free   ", style="green")) == "free\n"


def test_with_colour_a_screen_has_escape_sequences() -> None:
    assert "\x1b[32m" in render(Text("free", style="green"), colour=True)


def test_markup_in_data_is_data() -> None:
    assert render(Text("[red]:smile:[/red]")) == "[red]:smile:[/red]\n"


def test_colour_needs_a_terminal_that_wants_it() -> None:
    assert wants_colour(Screen(), {})
    assert wants_colour(Screen(), {"NO_COLOR": ""})
    assert not wants_colour(Screen(), {"NO_COLOR": "1"})
    assert not wants_colour(Screen(), {"TERM": "dumb"})
    assert not wants_colour(io.StringIO(), {})


def test_what_the_encoding_cannot_say_becomes_a_question_mark() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert speakable("└ x", stream) == "? x"
