"""No rule, no device: with an empty policy nothing that touches a device is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from isod.model.method import METHODS
from tests.walk import policy
from tests.walk.borrowers import OTHER_UID, UID
from tests.walk.conftest import Raise, Start
from tests.walk.stage import Stage

RULES = policy.NOTHING
LOOKING = {
    "hello",
    "host.info",
    "host.devices",
    "host.groups",
    "host.isolation",
    "host.reset_set",
    "lease.list",
    "events.subscribe",
    "rpc.discover",
}
ADMIN = ("admin.", "quarantine.")
OWN: dict[str, Any] = {"lease": "L1", "secret": "guessed"}
ACTING: dict[str, tuple[dict[str, Any], str]] = {
    "lease.acquire": ({}, "denied"),
    "lease.open": (OWN, "not_found"),
    "lease.release": (OWN, "not_found"),
    "lease.get": ({"lease": "L1"}, "not_found"),
    "events.unsubscribe": ({"subscription": "S1"}, "not_found"),
}


def test_path_that_skips_the_policy_would_be_a_method_that_is_missing_here() -> None:
    ours = {name for name in METHODS if not name.startswith(ADMIN)}
    assert ours == LOOKING | {"lease.explain"} | ACTING.keys()


@pytest.mark.parametrize("method", [name for name in METHODS if name.startswith(ADMIN)])
def test_path_that_skips_the_policy_to_the_admins_methods(stage: Stage, method: str) -> None:
    """Not even for root: a container's root reaches this socket."""
    with stage.line() as line:
        assert "error" in line.ask(method)
        error = line.ask(method, group=5, lease="L1", why="x")["error"]
    assert error["data"].get("reason") != "not_found", "it was looked for"


def test_path_that_skips_the_policy_in_explain(stage: Stage) -> None:
    wanted = [{"address": f"pci:{stage.machine.device('single')}"}]
    with stage.line() as line:
        result = line.ask("lease.explain", devices=wanted)["result"]
    assert result["allowed"] is False
    assert result["refusal"]["data"]["reason"] == "denied"
    assert result["plan"] in ([], None)


@pytest.mark.parametrize("method", ACTING)
@pytest.mark.parametrize("hand_over", ["iommufd", "group", "nodes", None])
def test_path_that_skips_the_policy(stage: Stage, method: str, hand_over: str | None) -> None:
    params, reason = ACTING[method]
    if method == "lease.acquire":
        device = f"pci:{stage.machine.device('single')}"
        params = {"devices": [{"address": device}], "hand_over": hand_over}
    with stage.line() as line:
        error = line.ask(method, **params)["error"]
    assert error["data"]["reason"] == reason
    assert stage.lease_count() == 0


def test_path_that_skips_the_policy_by_asking_for_what_is_leased(
    raised: Raise, borrower: Start
) -> None:
    """Denied before busy: whoever may not have it does not learn who has it."""
    if UID == OTHER_UID:
        pytest.skip("two users need root")
    stage = raised(rules=policy.NOTHING + policy.rule(uids=[UID]))
    one, other = borrower(), borrower(uid=OTHER_UID)
    one.connect(stage)
    other.connect(stage)
    single = stage.machine.device("single")
    one.do("acquire", devices=[single])
    with stage.line() as line:  # not even root's own programs
        wanted = [{"address": f"pci:{single}"}]
        assert line.ask("lease.acquire", devices=wanted)["error"]["data"]["reason"] == "denied"


def test_path_that_skips_the_policy_by_a_fault_in_it(raised: Raise) -> None:
    stage = raised(rules=policy.EVERYTHING.replace('effect = "allow"', 'effect = "alow"'))
    assert any("walk.toml" in line and "effect" in line for line in stage.daemon.log)
    with stage.line() as line:
        wanted = [{"address": f"pci:{stage.machine.device('single')}"}]
        assert line.ask("lease.acquire", devices=wanted)["error"]["data"]["reason"] == "denied"
