"""A policy tried out: cases against what isod would say."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from isod.kernel.capture import capture_host
from isod.kernel.capture_file import write_tar
from isod.kernel.simulated.build import build
from isod.kernel.simulated.kernel import SimulatedKernel
from isod.kernel.simulated.servers import FORWARDER
from isod.model.critical import CriticalFacts, CriticalUse
from isod.model.policy import Policy
from isod.policy.cases import read_cases
from isod.policy.host import NoHostError, see_host
from isod.policy.trial import Trial, Tried
from tests.unit.core.build import allow, at, device, exactly, host, policy

HOST = host(device("01:00.0", 1), device("01:00.1", 1), device("02:00.0", 2))


def tried(
    tmp_path: Path,
    expected: str,
    rules: Policy,
    facts: CriticalFacts | None = None,
    devices: str = '"01:00.0"',
) -> Tried:
    path = tmp_path / "cases.toml"
    path.write_text(
        f'version = 1\n[[case]]\nname = "x"\npeer = {{ uid = 1000 }}\n'
        f"ask = {{ devices = [{devices}] }}\n{expected}\n"
    )
    trial = Trial(rules, HOST, facts or CriticalFacts())
    [one] = trial.run(read_cases(path).cases)
    return one


ONE = policy(allow(exactly("01:00.0"), name="one"))
BOTH = policy(allow(exactly("01:00.0"), name="one"), allow(exactly("02:00.0"), name="two"))


@pytest.mark.parametrize(
    ("expected", "differences"),
    [
        ('allowed = "one"', ()),
        ('allowed = "one"\nhand_over = "iommufd"\nalong = ["01:00.1"]', ()),
        ('allowed = "two"', ("expected allowed by two",)),
        ('refused = "denied"', ("expected refused: denied",)),
        ('allowed = "one"\nhand_over = "group"', ("expected hand-over group, not iommufd",)),
        ('allowed = "one"\nalong = []', ("expected nothing along, not 01:00.1",)),
        ('allowed = "one"\nalong = ["x"]', ("expected x along, not 01:00.1",)),
    ],
)
def test_what_differs_is_told(tmp_path: Path, expected: str, differences: tuple[str, ...]) -> None:
    assert tried(tmp_path, expected, ONE).differences == differences


def test_devices_of_several_rules_name_them_all(tmp_path: Path) -> None:
    devices = '"01:00.0", "02:00.0"'
    assert not tried(tmp_path, 'allowed = ["one", "two"]', BOTH, devices=devices).differences
    assert tried(tmp_path, 'allowed = "one"', BOTH, devices=devices).differences


def test_the_guard_is_asked_as_well(tmp_path: Path) -> None:
    facts = CriticalFacts({at("01:00.1"): (CriticalUse("swap", "holds swap (sda)"),)})
    one = tried(tmp_path, 'refused = "host_critical"', ONE, facts)
    assert not one.differences
    assert "holds swap" in one.verdict.message


def test_hosts_are_looked_at_and_left_as_they_are(tmp_path: Path) -> None:
    seen = see_host("simulated:forwarder")
    assert at("03:00.0") in seen.snapshot.devices
    assert seen.facts.uses_of(at("01:00.0"))[0].kind == "default route"
    with pytest.raises(NoHostError, match="simulated:demo"):
        see_host("simulated:none")
    with pytest.raises(NoHostError):
        see_host(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_captured_host_is_looked_at_as_well(tmp_path: Path) -> None:
    build(tmp_path / "host", FORWARDER)
    with closing(SimulatedKernel(tmp_path / "host")) as kernel:
        write_tar(tmp_path / "far.tar", capture_host(kernel, tmp_path / "host"))
    seen, far = see_host("host", tmp_path), see_host("far.tar", tmp_path)
    assert seen.snapshot.devices.keys() == far.snapshot.devices.keys()
    assert seen.facts.uses.keys() == far.facts.uses.keys()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["far.tar", "host"]
