"""Leases taken back on a real kernel: a process ended by its pidfd, a cgroup emptied and killed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from isod.client.errors import Refused
from isod.model.reason import Reason
from tests.walk import policy
from tests.walk.administrator import admins, look, revoke
from tests.walk.borrowers import Borrower
from tests.walk.conftest import Start
from tests.walk.stage import Stage

from .conftest import rules
from .outside import being_unbound

_CGROUPS = Path("/sys/fs/cgroup")
_SCOPE = "isod-walk.slice/vm.scope"

pytestmark = pytest.mark.lab(kernels=("7.2",), topology="standard", limit=400)


@contextmanager
def under(stage: Stage, terms: str) -> Iterator[None]:
    """Leases are granted with these terms meanwhile."""
    _use(stage, policy.NOTHING + policy.rule(terms=terms))
    try:
        yield
    finally:
        _use(stage, rules())


def _use(stage: Stage, text: str) -> None:
    stage.write_policy(text)
    with admins(stage) as admin:
        admin.call("admin.reload")


@pytest.fixture
def scope() -> Iterator[Path]:
    """A cgroup that a client can be put into."""
    if not (_CGROUPS / "cgroup.controllers").exists():
        subprocess.run(["mount", "-t", "cgroup2", "none", str(_CGROUPS)], check=True)
    place = _CGROUPS / _SCOPE
    place.mkdir(parents=True)
    yield place
    (place / "cgroup.kill").write_text("1")
    deadline = monotonic() + 30
    while "populated 1" in (place / "cgroup.events").read_text():
        assert monotonic() < deadline, "it does not become empty"
        sleep(0.05)
    place.rmdir()
    place.parent.rmdir()


def put_into(place: Path, client: Borrower) -> None:
    (place / "cgroup.procs").write_text(str(client.pid))


def test_a_process_is_ended_while_it_has_a_device_open(stage: Stage, borrower: Start) -> None:
    with under(stage, 'revoke = { ask = "200ms", then = "kill" }'):
        client = borrower()
        client.connect(stage)
        single = stage.machine.device("single")
        lease = client.do("acquire", devices=[single], hand_over="iommufd")["id"]
        client.do("use", what="bind")
        client.do("use", what="attach")
        client.do("ignore_sigterm")
        revoke(stage, lease)
        client.wait()
        line = stage.daemon.wait_for("lease.ended_peer", lease)
        assert f"process {client.pid}, by SIGKILL" in line
        stage.until_restored()


def test_an_unbound_cdev_ends_its_owner_and_the_unbind_returns(
    stage: Stage, borrower: Start
) -> None:
    with under(stage, 'revoke = { ask = "200ms", then = "kill" }'):
        client = borrower()
        client.connect(stage)
        single = stage.machine.device("single")
        lease = client.do("acquire", devices=[single], hand_over="iommufd")["id"]
        client.do("release_only")
        client.wait()
        stage.daemon.wait_for("lease.ended_peer", lease, "by SIGTERM")
        stage.until_restored()


def test_who_keeps_a_device_that_is_taken_away_is_ended(stage: Stage, borrower: Start) -> None:
    with under(stage, 'revoke = { ask = "1s", then = "kill" }'):
        client = borrower()
        client.connect(stage)
        single, pair = stage.machine.device("single"), stage.machine.device("pair")
        lease = client.do("acquire", devices=[single, pair], hand_over="iommufd")["id"]
        client.do("use", what="bind")
        with being_unbound(single):
            stage.daemon.wait_for("lease.held_outside", lease, "close it within 1 s, or be ended")
            stage.daemon.wait_for("lease.draining", lease, "was not closed in time")
            client.wait()
        stage.daemon.wait_for("lease.ended_peer", lease)
        stage.until_restored()


def test_who_has_closed_a_device_that_is_taken_away_keeps_the_others(
    stage: Stage, borrower: Start
) -> None:
    with under(stage, 'revoke = { ask = "1s", then = "kill" }'):
        client = borrower()
        client.connect(stage)
        single, pair = stage.machine.device("single"), stage.machine.device("pair")
        lease = client.do("acquire", devices=[single, pair], hand_over="iommufd")["id"]
        client.do("take", role="device", which=single)
        client.do("close_taken")
        with being_unbound(single):
            stage.daemon.wait_for("lease.held_outside", lease, "close it within 1 s, or be ended")

        def known() -> dict[str, Any]:
            seen = look(stage, lease)
            assert seen is not None
            return seen

        stage.daemon.until(lambda: known().get("leaving") is None, "not proven closed")
        assert known()["state"] == "leased"
        client.do("close")
        stage.until_restored()


def test_a_lease_ends_when_its_cgroup_is_empty(stage: Stage, borrower: Start, scope: Path) -> None:
    with under(stage, 'anchor = ["cgroup"]'):
        client = borrower()
        client.connect(stage)
        put_into(scope, client)
        single = stage.machine.device("single")
        lease = client.do("acquire", devices=[single], hand_over="nodes")
        assert (lease["anchor"], lease["roles"]) == ("cgroup", [])
        client.do("disconnect")
        child = client.do("leave_a_child")
        client.kill()
        assert stage.group_state(single) == "leased"
        os.kill(child, signal.SIGKILL)
        stage.daemon.wait_for("lease.draining", lease["id"], f"its cgroup /{_SCOPE} is empty")
        stage.until_restored()


def test_revoking_writes_cgroup_kill_and_a_forked_child_ends_too(
    stage: Stage, borrower: Start, scope: Path
) -> None:
    terms = 'anchor = ["cgroup"]\nrevoke = { ask = "200ms", then = "kill" }'
    with under(stage, terms):
        client, neighbour = borrower(), borrower()
        neighbour.connect(stage)
        client.connect(stage)
        put_into(scope, client)
        single = stage.machine.device("single")
        lease = client.do("acquire", devices=[single], hand_over="iommufd")["id"]
        client.do("use", what="bind")
        client.do("disconnect")
        client.do("ignore_sigterm")
        client.do("leave_a_child")
        client.kill()
        revoke(stage, lease)
        stage.daemon.wait_for("lease.ended_peer", lease, f"all of /{_SCOPE}")
        stage.until_restored()
        assert neighbour.alive


def test_the_root_cgroup_is_no_anchor(stage: Stage, borrower: Start, scope: Path) -> None:
    with under(stage, 'anchor = ["hold", "cgroup"]'):
        client = borrower()
        client.connect(stage)
        with pytest.raises(Refused) as refused:
            client.do("acquire", devices=[stage.machine.device("single")], anchor="cgroup")
        assert refused.value.reason is Reason.unsupported
        assert "root cgroup" in refused.value.message


def test_a_cgroup_lease_lives_through_a_restart(
    raised: Callable[[], Stage], borrower: Start, scope: Path
) -> None:
    stage = raised()
    with under(stage, 'anchor = ["cgroup"]'):
        client = borrower()
        client.connect(stage)
        put_into(scope, client)
        single = stage.machine.device("single")
        lease = client.do("acquire", devices=[single], hand_over="iommufd")["id"]
        client.do("use", what="bind")
        stage.stop()
        stage.start()
    seen = look(stage, lease)
    assert seen is not None
    assert seen["state"] == "leased"
    client.kill()
    stage.daemon.wait_for("lease.draining", lease, "is empty")
    stage.until_restored()
