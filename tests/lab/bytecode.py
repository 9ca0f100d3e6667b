"""Compiles the checkout's Python once, here, so that no guest has to: each of their starts would.

There it takes seconds, since nothing that a guest writes outlives it. Where Python is told to write
no bytecode (PYTHONDONTWRITEBYTECODE) the checkout has none otherwise.
"""

import compileall
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FOLDERS = ("isod", "tests")


def compile_checkout() -> None:
    """Bring ``__pycache__`` up to date. What does not compile is its importer's to report."""
    for folder in FOLDERS:
        compileall.compile_dir(REPOSITORY / folder, quiet=2)
