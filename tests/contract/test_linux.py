"""The contract on real kernels, inside the lab's guests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
from .linux_host import Guest, LinuxHostUnderTest

pytestmark = pytest.mark.lab(kernels=("6.1", "6.12", "7.2"), topology="standard")


@pytest.fixture(scope="session")
def guest() -> Iterator[Guest]:
    found = Guest()
    yield found
    found.close()


@pytest.fixture
def host(guest: Guest) -> Iterator[LinuxHostUnderTest]:
    found = LinuxHostUnderTest(guest)
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


@pytest.mark.lab(kernels=("6.12", "7.2"), topology="no-isolated-msi")
class TestWithoutIsolatedMsi(WithoutIsolatedMsiCases):
    pass


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
