"""Which tests compare in which guests, as their marks say, whatever a run selects of them."""

from __future__ import annotations

from collections.abc import Iterator

from tests.lab.selection import GuestName, LabMark
from tests.prediction import test_prediction


def guests() -> Iterator[tuple[str, GuestName]]:
    """Pairs of a test's name and a guest that it runs in."""
    for name, function in vars(test_prediction).items():
        for mark in getattr(function, "pytestmark", []):
            if mark.name == "lab" and mark.kwargs.get("guest", True):
                yield from ((name, guest) for guest in LabMark(**mark.kwargs).guests())
