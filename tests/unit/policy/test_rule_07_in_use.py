"""Rule 7: a device bound to a kernel driver is in use. A rule takes it that names its exact
address, or that matches it and lists the driver in take_from. The guard's exceptions are
critical_ok."""

from __future__ import annotations

import pytest

from isod.model.critical import CriticalFacts, CriticalUse
from tests.unit.core.build import at

from .asking import ALICE, ask, faults, rule, says, trial

EXACT = '[{ address = "pci:0000:02:00.0" }]'
NEEDED = CriticalFacts({at("02:00.0"): (CriticalUse("mounted disk", "holds a disk (/)"),)})


@pytest.mark.parametrize(
    ("what", "terms", "said"),
    [
        (EXACT, "", "allowed by x"),
        ('[{ address = "pci:0000:02:00.*" }]', "", "refused: in_use_by_driver"),
        ('[{ class = "0108" }]', "", "refused: in_use_by_driver"),
        ('[{ class = "0108" }]', 'take_from = ["nvme"]', "allowed by x"),
        ('[{ class = "0108" }]', 'take_from = ["ahci"]', "refused: in_use_by_driver"),
        ('"anything"', 'take_from = ["nvme"]', "allowed by x"),
    ],
)
def test_who_may_take_a_device_from_its_driver(what: str, terms: str, said: str) -> None:
    assert says(trial(rule("x", what=what, terms=terms)), ALICE, "02:00.0") == said


def test_a_bridge_with_a_driver_of_its_own_keeps_the_group() -> None:
    nics = '[{ class = "02" }]'
    rules = trial(rule("x", what=nics, terms='take_from = ["e1000"]'))
    assert says(rules, ALICE, "04:02.0") == "refused: not_viable"
    rules = trial(rule("x", what=nics, terms='take_from = ["e1000", "shpchp"]'))
    assert says(rules, ALICE, "04:02.0") == "allowed by x"


def test_what_the_host_needs_is_refused_even_by_exact_address() -> None:
    verdict = ask(trial(rule("x", what=EXACT), facts=NEEDED), ALICE, "02:00.0")
    assert verdict.reason == "host_critical"
    assert "holds a disk (/)" in verdict.message


def test_critical_ok_lets_exact_addresses_pass_with_a_warning() -> None:
    terms = 'critical_ok = ["pci:0000:02:00.0"]'
    verdict = ask(trial(rule("x", what=EXACT, terms=terms), facts=NEEDED), ALICE, "02:00.0")
    assert verdict.words == "allowed by x"
    assert any("critical_ok lets it pass" in warning for warning in verdict.warnings)
    assert "no wildcards" in faults(rule("x", terms='critical_ok = ["pci:0000:02:*"]'))[0]


def test_critical_ok_alone_takes_nothing_from_a_driver() -> None:
    terms = 'critical_ok = ["pci:0000:02:00.0"]'
    rules = trial(rule("x", what='[{ class = "0108" }]', terms=terms), facts=NEEDED)
    assert says(rules, ALICE, "02:00.0") == "refused: in_use_by_driver"
