"""What a capture holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.text import Text

from .terminal import escape


def capture_screen(file: Path, manifest: Mapping[str, Any]) -> RenderableType:
    """Where it is, and a line for each kind of fact in it."""
    holds = [Text(f"  {escape(line)}") for line in manifest["holds"]]
    return Stack(Text(f"Wrote {escape(file)}.  It holds"), *holds, Text("and nothing else."))
