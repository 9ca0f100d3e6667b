"""Errors as the kernel gives them, with the simulated kernel's own reason added."""

from __future__ import annotations

import os


def failure(number: int, why: str) -> OSError:
    """The error of that errno, ready to be raised."""
    return OSError(number, f"{os.strerror(number)} ({why})")
