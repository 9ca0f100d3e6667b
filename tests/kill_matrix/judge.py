"""What has to be true after a kill, whichever walk it was in and however far that had come."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from .scene import Party, Scene

_GIVEN = frozenset({"group_busy", "held_outside"})
# Of a killed daemon none of this may come: nothing is broken, unknown or out of place.
_BAD_NEWS = ("device.stranded", "device.quarantined", "cannot be read", "which nobody knows")


def rows(scene: Scene) -> Mapping[str, str]:
    """The states of the leases in the store, by id, while no daemon runs. A copy is looked at: to
    open a database changes it."""
    with tempfile.TemporaryDirectory(prefix="isod-store-") as name:
        for path in (scene.stage.folder / "state").glob("ledger.sqlite*"):
            shutil.copy(path, name)
        with closing(sqlite3.connect(Path(name) / "ledger.sqlite")) as database:
            [[check]] = database.execute("PRAGMA integrity_check").fetchall()
            assert check == "ok", f"the store is damaged: {check}"
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'lease'").fetchall():
                return {}
            found = "SELECT id, json_extract(body, '$.state') FROM lease"
            return dict(database.execute(found).fetchall())


def after_restart(scene: Scene, leases: Iterable[str], said: list[str]) -> None:
    """Judge a daemon that has recovered. ``leases`` had a row of the store in the daemons before,
    ``said`` are the logs of these. Raises AssertionError."""
    holders = [party for party in scene.parties if party.holds]
    listed = scene.leases()
    for party in holders:
        _keeps_its_lease(scene, party, listed)
        granted = _lines([*said, *scene.stage.daemon.log], "lease.granted", party.lease)
        assert granted, f"nothing is on record of {party.lease}, which was granted"
    log = [*said, *scene.stage.daemon.log]
    for lease in set(leases) - listed.keys():
        assert _lines(log, "lease.ended", lease), f"that {lease} ended is not on record"
        assert _lines(log, "lease.draining", lease), f"nothing says why {lease} ended"
    states = {scene.stage.group_state(party.device) for party in holders}
    assert states <= {"leased", "draining"}, states


def _lines(log: Iterable[str], kind: str, lease: str) -> list[str]:
    return [line for line in log if f" {kind}: " in line and f" {lease} " in line]


def _keeps_its_lease(scene: Scene, party: Party, leases: Mapping[str, object]) -> None:
    assert party.told is not None, "it has files of a lease that it was never told of"
    assert party.lease in leases, f"{party.lease} is forgotten, and its client has {party.files()}"
    reason = scene.is_refused(party)
    assert reason in _GIVEN, f"a thief of {party.device} was told {reason}"


def at_the_end(scene: Scene, said: list[str]) -> None:
    """All clients have let go: nothing may be left of that. Raises AssertionError."""
    stage = scene.stage
    stage.until_restored()
    for party in scene.parties:
        if party.borrower.alive:
            limit = party.borrower.do("memlock")
            assert limit == party.limit, f"{limit} now, {party.limit} before"
    if stage.manager is not None:
        stage.daemon.until(lambda: _forgotten(scene), f"a hold is kept: {stage.manager.kept}")
    bad = [line for line in (*said, *stage.daemon.log) if any(word in line for word in _BAD_NEWS)]
    assert not bad, "\n".join(bad)
    states = {group.state for group in stage.control.groups()}
    assert states <= {"free", "host"}, states


def _forgotten(scene: Scene) -> bool:
    manager = scene.stage.manager
    assert manager is not None
    manager.drop_what_hung_up()
    return not manager.kept
