"""What an administrator sees of a lease that is taken back."""

from __future__ import annotations

import json
import threading

import pytest

from isod.cli.screen.revoke import progress_words, revoked_screen
from isod.cli.screen.terminal import WIDTH, render
from isod.client.blocking import Client
from isod.model.reply import RevokeResult

from .conftest import Cards
from .replies import lease

pytestmark = pytest.mark.slow  # starts and ends many daemons

NOW = 1000.0
ASKED = {"deadline": NOW + 30, "then": "kill", "why": "revoked by an administrator"}


def test_who_is_asked_and_until_when() -> None:
    asked = lease(revocation=ASKED)
    result = RevokeResult.model_validate(
        {"lease": asked, "asked": True, "held": ("pci:0000:01:00.0",)}
    )
    assert render(revoked_screen(result, NOW), width=WIDTH, colour=False).splitlines() == [
        "Lease L7: alice (4121) is asked to let go within 30s; then its owner is ended.",
        "  Still held: 01:00.0.",
    ]


def test_a_patient_rule_waits() -> None:
    words = progress_words(lease(revocation={**ASKED, "then": "wait"}), NOW)
    assert words.endswith("then it is waited for.")


@pytest.mark.parametrize(
    ("revocation", "words"),
    [
        (None, "Lease L7 is draining."),
        (ASKED, "Lease L7 is draining. alice (4121) is ended in 30s if something is open."),
        ({**ASKED, "overdue": True, "peer": "ending"}, "Its owner is being ended."),
        ({**ASKED, "overdue": True, "peer": "ended"}, "what is open still has been passed on."),
        ({**ASKED, "overdue": True, "peer": "failed"}, "Its owner could not be ended;"),
    ],
)
def test_a_draining_lease_says_what_becomes_of_its_owner(
    revocation: dict[str, object] | None, words: str
) -> None:
    told = progress_words(lease(state="draining", revocation=revocation), NOW)
    assert words in told
    assert len(told) <= WIDTH


def test_revoke_asks_and_waits_until_the_lease_is_over(cards: Cards) -> None:
    with Client.connect(cards.stage.socket) as client:
        held = client.acquire([f"{cards.next_card()}.0"])

        def let_go() -> None:
            with Client.connect(cards.stage.socket) as owner:
                while owner.lease(held.id).revocation is None:
                    pass
            held.close()

        owner = threading.Thread(target=let_go)
        owner.start()
        ran = cards.run("admin", "revoke", held.id, "--wait")
        owner.join()
    assert ran.returncode == 0
    assert "is asked to let go within" in ran.stdout
    assert ran.stdout.splitlines()[-1] == f"Lease {held.id} is over."


def test_what_was_asked_in_json(cards: Cards) -> None:
    with Client.connect(cards.stage.socket) as client:
        held = client.acquire([f"{cards.next_card()}.0"])
        told = json.loads(cards.run("admin", "revoke", held.id, "--json").stdout)
        assert (told["asked"], told["over"]) == (True, False)
        assert told["lease"]["revocation"]["then"] == "wait"
        held.close()


def test_now_asks_nobody(cards: Cards) -> None:
    with Client.connect(cards.stage.socket) as client:
        held = client.acquire([f"{cards.next_card()}.0"])
        ran = cards.run("admin", "revoke", held.id, "--now")
        assert ran.stdout.startswith(f"Lease {held.id} is draining.")
        held.close()


def test_a_lease_that_is_not_there_is_refused(cards: Cards) -> None:
    ran = cards.run("admin", "revoke", "L999", "--wait")
    assert ran.returncode == 3
    assert "there is no lease L999" in ran.stderr
