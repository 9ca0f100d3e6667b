"""Leases are taken back as their rules say: asked for, waited for, or their owners ended."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from isod.kernel.simulated import faults

from . import policy
from .administrator import look, revoke, until_over
from .borrowers import Borrower, where
from .conftest import Raise, Start
from .stage import Stage

pytestmark = pytest.mark.slow  # starts and ends many daemons

LONG = 'revoke = { ask = "1h", then = "kill" }'
SHORT = 'revoke = { ask = "300ms", then = "kill" }'
PATIENT = 'revoke = { ask = "300ms", then = "wait" }'


def leased(stage: Stage, client: Borrower, device: str = "single") -> str:
    """A client's lease, with its device in use."""
    client.connect(stage)
    address = stage.machine.device(device)  # type: ignore[arg-type]
    lease: str = client.do("acquire", devices=[address], hand_over="iommufd")["id"]
    client.do("use", what="bind")
    return lease


def rules(terms: str) -> str:
    return policy.NOTHING + policy.rule(terms=terms)


def test_asked_and_let_go_in_time(raised: Raise, borrower: Start) -> None:
    stage = raised(rules=rules(LONG))
    client = borrower()
    lease = leased(stage, client)
    answer = revoke(stage, lease)
    assert answer["asked"]
    assert answer["held"] == [f"pci:{stage.machine.device('single')}"]
    assert answer["lease"]["state"] == "leased"
    told = answer["lease"]["revocation"]
    assert told["why"] == "revoked by an administrator"
    assert (told["then"], told["overdue"], told["peer"]) == ("kill", False, None)
    stage.daemon.wait_for("lease.revoking", lease)
    assert revoke(stage, lease)["lease"]["revocation"]["deadline"] == told["deadline"]
    client.do("close")
    until_over(stage, lease)
    assert client.alive
    stage.until_restored()


def test_asked_and_stubborn_is_waited_for(raised: Raise, borrower: Start) -> None:
    stage = raised(rules=rules(PATIENT))
    client = borrower()
    lease = leased(stage, client)
    revoke(stage, lease)
    stage.daemon.wait_for("lease.draining", lease)
    stage.daemon.wait_for("lease.in_use", lease)
    seen = look(stage, lease)
    assert seen is not None
    assert seen["state"] == "draining"
    assert seen["ending"] == "revoked by an administrator"
    assert client.alive
    client.do("close")
    stage.until_restored()


def test_asked_and_stubborn_is_ended(raised: Raise, borrower: Start) -> None:
    """With SIGTERM first: whoever listens to that closes what it has properly."""
    stage = raised(rules=rules(SHORT))
    client = borrower()
    lease = leased(stage, client)
    closed = stage.folder / "said"
    closed.touch()
    closed.chmod(0o666)
    client.do("note_sigterm", path=str(closed))
    revoke(stage, lease)
    client.wait()
    assert closed.read_text() == "closed"
    line = stage.daemon.wait_for("lease.ended_peer", lease)
    assert f"process {client.pid}, by SIGTERM" in line
    stage.until_restored()


def test_whoever_ignores_sigterm_ends_nevertheless(raised: Raise, borrower: Start) -> None:
    stage = raised(rules=rules(SHORT))
    client = borrower()
    lease = leased(stage, client)
    client.do("ignore_sigterm")
    revoke(stage, lease, now=True)
    stage.daemon.wait_for("lease.in_use", lease)
    stage.daemon.until(lambda: not client.alive, "it lives", seconds=20)
    stage.daemon.wait_for("lease.ended_peer", lease, "by SIGKILL")
    stage.until_restored()


def test_now_asks_nobody(raised: Raise, borrower: Start) -> None:
    stage = raised(rules=rules(LONG))
    client = borrower()
    lease = leased(stage, client)
    answer = revoke(stage, lease, now=True)
    assert not answer["asked"]
    assert answer["lease"]["state"] == "draining"
    client.wait()
    stage.until_restored()
    assert not any("lease.revoking" in line for line in stage.daemon.log)


def test_now_cuts_the_time_of_whoever_was_asked(raised: Raise, borrower: Start) -> None:
    stage = raised(rules=rules(LONG))
    client = borrower()
    lease = leased(stage, client)
    revoke(stage, lease)
    revoke(stage, lease, now=True)
    client.wait()
    stage.until_restored()


def test_a_released_lease_that_is_kept_open_ends_its_owner(raised: Raise, borrower: Start) -> None:
    """Nobody revoked it: the rule sets a time to let go after the end, too."""
    stage = raised(rules=rules(SHORT))
    client = borrower()
    lease = leased(stage, client)
    assert client.do("release_only") == "draining"
    client.wait()
    stage.daemon.wait_for("lease.ended_peer", lease)
    stage.until_restored()


def test_an_unbound_cdev_that_is_kept_ends_its_owner(raised: Raise, borrower: Start) -> None:
    """No probe sees it, only the unbind that waits for it."""
    stage = raised(rules=rules(SHORT))
    client = borrower()
    client.connect(stage)
    device = stage.machine.device("single")
    lease = client.do("acquire", devices=[device], hand_over="iommufd")["id"]
    client.do("release_only")
    client.wait()
    stage.daemon.wait_for("lease.ended_peer", lease)
    stage.until_restored()


def test_who_lets_go_is_left_alone(raised: Raise, borrower: Start) -> None:
    stage = raised(rules=rules('revoke = { ask = "0s", then = "kill" }'))
    client = borrower()
    lease = leased(stage, client)
    client.do("close")
    until_over(stage, lease)
    assert client.alive
    assert client.do("acquire", devices=[stage.machine.device("single")])["state"] == "leased"
    client.do("close")


def test_what_was_passed_on_stays_and_is_reported(raised: Raise, borrower: Start) -> None:
    """The child is not the peer: it is not ended, and the lease says what is held."""
    stage = raised(rules=rules(SHORT))
    client = borrower()
    lease = leased(stage, client)
    child = client.do("leave_a_child")
    try:
        revoke(stage, lease)
        client.wait()
        stage.daemon.wait_for("lease.ended_peer", lease)
        seen = look(stage, lease)
        assert seen is not None
        assert seen["open"] == [f"pci:{stage.machine.device('single')}"]
        assert seen["revocation"]["peer"] == "ended"
        # Asked again, it says that there is nobody to be ended any more.
        revoke(stage, lease, now=True)
        stage.daemon.wait_for("lease.peer_not_ended", lease, "is gone")
    finally:
        _kill(child)
    stage.until_restored()


def test_without_the_right_to_end_it_drains_on(raised: Raise, borrower: Start) -> None:
    stage = raised(rules=rules(SHORT))
    client = borrower()
    lease = leased(stage, client)
    faults.fail(stage.machine.root, "end_peer", None, errno.EPERM)
    revoke(stage, lease)
    stage.daemon.wait_for("lease.peer_not_ended", lease)
    seen = look(stage, lease)
    assert seen is not None
    assert (seen["state"], seen["revocation"]["peer"]) == ("draining", "failed")
    assert client.alive
    faults.mend(stage.machine.root, "end_peer")
    revoke(stage, lease)
    client.wait()
    stage.until_restored()


def test_a_restart_in_the_middle_of_an_ask(raised: Raise, borrower: Start) -> None:
    """The hold went with the daemon, so the lease drains; the deadline stays what it was, and the
    process is still the one that is meant."""
    stage = raised(rules=rules(LONG))
    client = borrower()
    lease = leased(stage, client)
    deadline = revoke(stage, lease)["lease"]["revocation"]["deadline"]
    stage.kill()
    stage.start()
    seen = look(stage, lease)
    assert seen is not None
    assert seen["state"] == "draining"
    assert abs(seen["revocation"]["deadline"] - deadline) < 0.01
    assert client.alive
    revoke(stage, lease, now=True)
    client.wait()
    stage.daemon.wait_for("lease.ended_peer", lease)
    stage.until_restored()


def test_after_a_restart_a_reused_pid_is_nobody(raised: Raise, borrower: Start) -> None:
    """The store says another start time than the process with that pid has now."""
    stage = raised(rules=rules(SHORT))
    client = borrower()
    lease = leased(stage, client)
    innocent = borrower()  # later, as whoever gets a pid again
    child = client.do("leave_a_child")
    stage.kill()
    client.kill()
    stage.rewrite_row(lease, f'"pid":{client.pid}', f'"pid":{innocent.pid}')
    stage.start()
    try:
        stage.daemon.wait_for("lease.peer_not_ended", lease, "is gone")
        innocent.do("connect", **where(stage))
    finally:
        _kill(child)
    stage.until_restored()


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
