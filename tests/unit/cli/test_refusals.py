"""Every reason for which isod refuses, as people see it: what blocks, who can fix it, and how, in
at most five lines, and nothing of that cut off."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from isod.cli.screen.refusal import refusal_screen
from isod.cli.screen.terminal import render
from isod.model.reason import Reason, RefusedError
from isod.wire import jsonrpc

NOW = 1_000_000.0
DEVICE = ["pci:0000:02:00.0"]

# One for each reason, in the words of where it is raised.
SAID: Mapping[Reason, RefusedError] = {
    error.refusal.reason: error
    for error in (
        RefusedError(
            Reason.group_busy,
            "group 13 is leased",
            devices=DEVICE,
            holder={"yours": False, "user": "bob", "lease": "L7", "since": NOW - 7200},
        ),
        RefusedError(
            Reason.denied, "02:00.0 is not for you: no rule allows it", devices=DEVICE, rule=None
        ),
        RefusedError(Reason.held_outside, "group 13 is open in another program", devices=DEVICE),
        RefusedError(
            Reason.not_viable,
            "bridge 03:00.0 of group 14 is bound to shpchp, which keeps the group from being "
            "handed out",
            hint='list "shpchp" in take_from of the rule',
            devices=["pci:0000:03:00.0"],
            driver="shpchp",
        ),
        RefusedError(Reason.no_isolated_msi, "this machine does not isolate interrupts"),
        RefusedError(Reason.firmware_mapping, "firmware wants memory of group 2 mapped 1:1"),
        RefusedError(
            Reason.host_critical,
            "04:02.0 shares group 14 with 04:01.0, which carries the default route (eth0)",
            hint="Move the route, or list 04:01.0 in critical_ok of your rule.",
            devices=["pci:0000:04:01.0"],
            uses=[
                {
                    "address": "pci:0000:04:01.0",
                    "kind": "default route",
                    "words": "carries the default route (eth0)",
                }
            ],
        ),
        RefusedError(
            Reason.in_use_by_driver,
            "02:00.0 is in use by the driver nvme",
            devices=DEVICE,
            driver="nvme",
        ),
        RefusedError(
            Reason.quarantined,
            "group 13 is quarantined: not scrubbed after lease L7",
            devices=DEVICE,
        ),
        RefusedError(
            Reason.reset_domain_shared,
            "a hot reset of 01:00.0 hits 01:00.1, which lease L7 has",
            devices=["pci:0000:01:00.1"],
        ),
        RefusedError(
            Reason.terms,
            "the rule does not allow the hand-over nodes",
            hint="ask for iommufd or group",
            term="hand_over",
        ),
        RefusedError(
            Reason.terms_conflict,
            "the rules of these devices allow no common hand_over",
            term="hand_over",
        ),
        RefusedError(
            Reason.quota,
            "rule ml-gpus allows 2 devices: you have 2, asked for 1 more",
            rule="ml-gpus",
        ),
        RefusedError(Reason.unsupported, "this kernel does not offer iommufd"),
        RefusedError(Reason.gone, "another device is at 02:00.0 now", devices=DEVICE),
        RefusedError(
            Reason.kernel,
            "vfio-pci did not take 02:00.0: no such device",
            errno=19,
            step={"step": "bind", "address": "pci:0000:02:00.0"},
            undone=["unbind pci:0000:02:00.0"],
            devices=DEVICE,
        ),
        RefusedError(Reason.not_found, "there is no device 02:00.9"),
        RefusedError(Reason.not_yours, "that is not the secret of L7"),
        RefusedError(
            Reason.in_use, "02:00.0 is still open from what was handed over before", devices=DEVICE
        ),
        RefusedError(Reason.expired, "the list has changed since"),
        RefusedError(
            Reason.policy_invalid,
            "the policy has 3 faults; the old one stays",
            problems=["50-vm.toml: rule 1 (alice-vm), what 1, vender: unknown key", "x", "y"],
        ),
        RefusedError(Reason.stopping, "isod is stopping"),
    )
}


def screen(error: RefusedError) -> list[str]:
    """As the command shows it, after its way over the wire."""
    packet = json.loads(jsonrpc.refusal(1, error.refusal))
    return render(
        refusal_screen(packet["error"]["message"], packet["error"]["data"], NOW)
    ).splitlines()


def test_no_reason_is_missing_here() -> None:
    assert set(Reason) - SAID.keys() == set()


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_a_refusal_says_what_blocks_who_can_fix_it_and_how(reason: Reason) -> None:
    error = SAID[reason]
    lines = screen(error)
    assert 2 <= len(lines) <= 5
    assert max(map(len, lines)) <= 100
    text = " ".join(" ".join(lines).split())
    assert text.startswith(f"Refused: {reason.name}. {error.refusal.message}")
    hint = error.refusal.hint or reason.hint
    how = hint if hint.startswith("iso") else hint[:1].upper() + hint[1:]
    assert text.endswith(f"Who can fix it: {reason.fixed_by}. {how}")
    assert "…" not in text, "something was cut off"


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_explain_says_besides_that_nothing_was_changed(reason: Reason) -> None:
    refusal = jsonrpc.refusal_object(SAID[reason].refusal)
    data = refusal["data"]
    assert isinstance(data, dict)
    shown = refusal_screen(str(refusal["message"]), data, NOW, note="Nothing was changed.")
    lines = render(shown).splitlines()
    assert lines[0] == f"Refused: {reason.name}.  Nothing was changed."
    assert 3 <= len(lines) <= 5
    assert "…" not in "".join(lines)
    assert lines[-1].startswith("  ")


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_a_hint_says_how_and_not_once_more_what(reason: Reason) -> None:
    assert reason.hint
    assert len(reason.hint) < 100
    assert not reason.hint.endswith(".")
    assert len(screen(RefusedError(reason, "no"))) <= 3


def test_what_failed_and_what_was_undone_is_told() -> None:
    assert "failed at bind pci:0000:02:00.0; ENODEV; undone: unbind pci:0000:02:00.0" in " ".join(
        line.strip() for line in screen(SAID[Reason.kernel])
    )


def test_a_faulty_policy_shows_its_first_fault_and_how_many_more_there_are() -> None:
    assert screen(SAID[Reason.policy_invalid])[1] == (
        "  50-vm.toml: rule 1 (alice-vm), what 1, vender: unknown key; and 2 more"
    )
