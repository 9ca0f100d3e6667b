"""A policy read anew: a broken one is not used, and that is said; leases keep their terms."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from isod.daemon.admin import Admin
from isod.daemon.admin_rights import AdminRights
from isod.daemon.store import Store
from isod.daemon.world import World
from isod.model.event import Granted
from isod.model.policy import Policy
from isod.model.reason import Reason, Refusal
from isod.model.reply import Reloaded
from tests.unit.core.build import at, device, host, lease_for

from .test_connections import Log

RULE = 'version = 1\n[[rule]]\nname = "NAME"\neffect = "allow"\nwho = "anyone"\nwhat = "anything"\n'
HOST = host(device("01:00.0", 1))


class Daemon:
    """A world, its log, and the administrator's hand on it."""

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        self.folder = folder / "policy"
        self.folder.mkdir()
        (folder / "admin").mkdir(mode=0o700)
        (folder / "admin" / "admin.sock").touch(mode=0o600)
        self.log = Log()
        self.store = Store(folder / "state")
        self.world = World(self.store, self.log, HOST)
        self.world.policy = Policy(number=1)
        rights = AdminRights(folder / "admin" / "admin.sock")
        self.admin = Admin(self.world, [self.folder], rights, nursery)

    def write(self, text: str, name: str = "50-x.toml") -> None:
        (self.folder / name).write_text(text)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with trio.open_nursery() as nursery:
        found = Daemon(tmp_path, nursery)
        yield found
        found.store.close()


async def test_a_good_policy_is_used_from_then_on(daemon: Daemon) -> None:
    daemon.write(RULE.replace("NAME", "one"))
    assert await daemon.admin.reload_policy() == Reloaded(policy=2, rules=1, warnings=())
    assert [rule.name for rule in daemon.world.policy.rules] == ["one"]
    assert "policy: policy 2: 1 rules" in daemon.log.lines


async def test_a_broken_file_leaves_the_old_policy_in_use_and_says_so(daemon: Daemon) -> None:
    daemon.write(RULE.replace("NAME", "one"))
    await daemon.admin.reload_policy()
    old = daemon.world.policy
    daemon.write(RULE.replace("NAME", "two"))
    daemon.write("version = 1\nrules = 1\nlimit = 2\n", "60-y.toml")
    refusal = await daemon.admin.reload_policy()
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.policy_invalid
    assert refusal.message == "the policy has 2 faults; the old one stays"
    assert refusal.details["problems"] == [
        "60-y.toml: rules: unknown key",
        "60-y.toml: limit: unknown key",
    ]
    assert daemon.world.policy is old
    assert "policy: not used, the old one stays: 60-y.toml: rules: unknown key" in daemon.log.lines


async def test_after_the_fault_is_gone_the_new_policy_counts(daemon: Daemon) -> None:
    daemon.write("nonsense")
    assert isinstance(await daemon.admin.reload_policy(), Refusal)
    daemon.write(RULE.replace("NAME", "two"))
    result = await daemon.admin.reload_policy()
    assert isinstance(result, Reloaded)
    assert result.policy == 2, "a policy that was never in use has no number"


async def test_an_unknown_name_is_used_and_warned_of(daemon: Daemon) -> None:
    daemon.write(RULE.replace('"anyone"', '[{ user = ["carol-of-nowhere"] }]'))
    result = await daemon.admin.reload_policy()
    assert isinstance(result, Reloaded)
    assert result.warnings == ("50-x.toml: no user is called carol-of-nowhere",)
    assert "policy: 50-x.toml: no user is called carol-of-nowhere" in daemon.log.lines


async def test_a_lease_keeps_the_terms_that_it_was_granted_with(daemon: Daemon) -> None:
    lease = lease_for(HOST, "L1", [at("01:00.0")], None, 0, scrub="require")
    daemon.world.carry_out = lambda effect: None
    daemon.world.apply(Granted(lease))
    daemon.write(RULE.replace("NAME", "one") + '[rule.terms]\nscrub = "off"\n')
    await daemon.admin.reload_policy()
    assert daemon.world.ledger.leases["L1"].terms.scrub == "require"
    [kept], _ = daemon.store.leases()
    assert kept.terms == lease.terms
