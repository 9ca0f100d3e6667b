"""Fifty leases leave nothing behind in the daemon."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.walk.stage import Stage
from tests.walk.test_cycles import TOLERANCE, run_cycles

CYCLES = 50

pytestmark = pytest.mark.lab(kernels=("7.2",), topology="standard", limit=400)


def test_fifty_cycles(stage: Stage, record_property: Callable[[str, object], None]) -> None:
    after_ten, in_the_end = run_cycles(stage, CYCLES)
    print(f"after the tenth {after_ten}")
    print(f"after all of them {in_the_end}")
    grown = in_the_end.resident - after_ten.resident
    record_property("resident_growth", grown)
    assert in_the_end.fds == after_ten.fds
    assert in_the_end.threads <= after_ten.threads
    assert in_the_end.children == after_ten.children
    assert grown <= TOLERANCE
