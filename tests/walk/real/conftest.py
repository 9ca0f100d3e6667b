"""One daemon for all walks of a guest: starting one takes seconds there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.hardware import Hardware
from tests.walk import policy
from tests.walk.machine import LinuxMachine
from tests.walk.stage import Stage

# Whoever comes with it gets nothing that cannot be scrubbed.
SCRUBBED_UID = 65532


def rules() -> str:
    """Everything to anyone; only whoever asks for the second NIC behind the PCI bridge cannot have
    the bridge's own driver taken away. One uid's devices have to be scrubbed."""
    hardware = Hardware()
    bridged = [nic.address for nic in hardware.functions() if nic.identity == "8086:100e"]
    careful = [
        policy.rule("careful", what=f'[{{ address = "pci:{name}" }}]', take_from=["e1000"])
        for name in bridged[1:]
    ]
    scrubbed = policy.rule("scrubbed", uids=[SCRUBBED_UID], scrub="require")
    return policy.NOTHING + scrubbed + "".join(careful) + policy.rule()


@pytest.fixture(scope="package")
def _shared() -> Iterator[Stage]:
    stage = Stage(_machine, rules())
    stage.start()
    yield stage
    stage.close()


def _machine(_: Path) -> LinuxMachine:
    return LinuxMachine()


@pytest.fixture
def raised(stage: Stage) -> Callable[[], Stage]:
    """The shared stage, for tests that stop its daemon and start it again."""
    return lambda: stage
