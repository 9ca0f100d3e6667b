"""The contract on the simulated kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from isod.kernel.simulated.machine import Machine

from .cases.binding import BindingCases
from .cases.capturing import CapturingCases
from .cases.fencing import FencingCases
from .cases.granting import LimitCases, NodesCases
from .cases.handing import HandingCases
from .cases.opening import OpeningCases, UseCases
from .cases.probing import ProbingCases, WithoutIsolatedMsiCases
from .cases.resetting import ResettingCases
from .cases.scanning import ScanningCases
from .cases.watching import HotplugCases, WatchingCases
from .simulated_host import SimulatedHostUnderTest


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SimulatedHostUnderTest]:
    found = SimulatedHostUnderTest(tmp_path / "host")
    yield found
    found.close()


class TestScanning(ScanningCases):
    pass


class TestCapturing(CapturingCases):
    pass


class TestBinding(BindingCases):
    pass


class TestProbing(ProbingCases):
    pass


class TestWithoutIsolatedMsi(WithoutIsolatedMsiCases):
    @pytest.fixture(autouse=True)
    def _without_isolated_msi(self, host: SimulatedHostUnderTest) -> None:
        path = host.root / "machine.json"
        replace(Machine.load(path), isolated_msi=False).save(path)


class TestOpening(OpeningCases):
    pass


class TestUse(UseCases):
    pass


class TestResetting(ResettingCases):
    pass


class TestFencing(FencingCases):
    pass


class TestWatching(WatchingCases):
    pass


class TestHotplug(HotplugCases):
    pass


class TestNodes(NodesCases):
    pass


class TestLimits(LimitCases):
    pass


class TestHanding(HandingCases):
    pass
