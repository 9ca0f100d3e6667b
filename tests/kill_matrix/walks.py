"""The walks. Each has a part before the count begins, the walk from its request to its end, and
what its people do once the daemon is back. While it is counted nobody asks the daemon for more."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from isod.client.errors import ClientError
from tests.walk import policy
from tests.walk.administrator import admins, revoke
from tests.walk.machine import Shape

from .scene import Party, Scene


class Walk(Protocol):
    """``managed``: under a service manager. ``doomed`` are the leases that end by themselves once
    the daemon is back, by the rows that it finds, though their clients live and hold them."""

    rules: str
    managed: bool

    def doomed(self, scene: Scene, rows: Mapping[str, str]) -> frozenset[str]: ...

    def prepare(self, scene: Scene) -> None:
        """What was before."""
        ...

    def go(self, scene: Scene) -> None:
        """From the request to the end. Raises whatever when the daemon dies meanwhile."""
        ...

    def go_on(self, scene: Scene) -> None:
        """The daemon is back: whatever was not done is done, and so the walk comes to its end."""
        ...


def _owner(scene: Scene) -> Party:
    return scene.parties[0]


class _Lending:
    """What walks have in common: somebody has a lease by one hand-over, and uses it."""

    rules = policy.EVERYTHING

    def __init__(
        self, hand_over: str = "iommufd", use: tuple[str, ...] = (), *, managed: bool = True
    ) -> None:
        self._hand_over = hand_over
        self._use = use
        self.managed = managed

    def doomed(self, scene: Scene, rows: Mapping[str, str]) -> frozenset[str]:
        return frozenset()


class Acquire(_Lending):
    """Somebody gets a lease, and uses it."""

    def prepare(self, scene: Scene) -> None:
        scene.enter("pair")

    def go(self, scene: Scene) -> None:
        scene.acquire(_owner(scene), hand_over=self._hand_over)

    def go_on(self, scene: Scene) -> None:
        if (owner := _owner(scene)).told is not None and self.managed:
            assert scene.leases()[owner.lease]["state"] == "leased"
            for what in self._use:
                assert owner.borrower.do("use", what=what) is not False


class Ending(_Lending):
    """What walks have in common at whose beginning somebody has a lease."""

    def prepare(self, scene: Scene) -> None:
        owner = scene.enter("pair")
        scene.acquire(owner, hand_over=self._hand_over)
        for what in self._use:
            owner.borrower.do("use", what=what)


class Release(Ending):
    """The owner releases its lease and closes what it has."""

    def go(self, scene: Scene) -> None:
        owner = _owner(scene)
        owner.borrower.do("release")
        scene.until_said("lease.ended", owner.lease)

    def go_on(self, scene: Scene) -> None:
        owner = _owner(scene)
        if owner.holds:
            if scene.leases()[owner.lease]["state"] == "leased":
                scene.reconnect(owner)
                owner.borrower.do("release_only")
            owner.borrower.do("close")
        scene.stage.until_restored()


class LateClose(Release):
    """The owner has a cdev open past its release, which no probe sees as long as it is not bound:
    so that the fence waits for it in a helper."""

    def go(self, scene: Scene) -> None:
        owner, daemon = _owner(scene), scene.stage.daemon
        owner.borrower.do("release_only")
        daemon.until(lambda: bool(daemon.children()), "no helper waits")
        owner.borrower.do("close")
        scene.until_said("lease.ended", owner.lease)


class ClientDeath(Ending):
    """The owner is killed in the middle of its work."""

    def go(self, scene: Scene) -> None:
        owner = _owner(scene)
        owner.borrower.kill()
        scene.until_said("lease.ended", owner.lease)

    def go_on(self, scene: Scene) -> None:
        scene.stage.until_restored()


class Revoke(Ending):
    """An administrator takes the lease back, at once; its owner does not care and is ended."""

    rules = policy.NOTHING + policy.rule(terms='revoke = { ask = "1h", then = "kill" }')

    def doomed(self, scene: Scene, rows: Mapping[str, str]) -> frozenset[str]:
        """What was begun goes on."""
        return frozenset(lease for lease, state in rows.items() if state != "leased")

    def go(self, scene: Scene) -> None:
        owner = _owner(scene)
        revoke(scene.stage, owner.lease, now=True)
        scene.until_said("lease.ended", owner.lease)
        assert not owner.borrower.alive

    def go_on(self, scene: Scene) -> None:
        owner = _owner(scene)
        if scene.leases().get(owner.lease, {}).get("state") == "leased":
            revoke(scene.stage, owner.lease, now=True)
        scene.stage.until_restored()
        assert not owner.borrower.alive


class Reload:
    """Another policy: it joins what two leases have, so that the younger one is taken back, and has
    a device wait on vfio-pci. Its opposite puts that back."""

    rules = policy.NOTHING + policy.rule(terms='revoke = { ask = "0s", then = "kill" }')
    managed = True

    def _other_rules(self, scene: Scene) -> str:
        pair, single, card = (
            f'{{ address = "pci:{scene.stage.machine.device(shape)}" }}' for shape in self._shapes
        )
        return (
            f'{self.rules}[[quirk]]\nname = "joined"\ndevices = [{pair}, {single}]\n'
            '[[pool]]\nname = "cards"\nbind = "ahead"\ntake_from = ["e1000e"]\n'
            f"devices = [{card}]\n"
        )

    _shapes: tuple[Shape, ...] = ("pair", "single", "below_switch")

    def doomed(self, scene: Scene, rows: Mapping[str, str]) -> frozenset[str]:
        """The policy that the daemon finds is the new one."""
        _, younger = scene.parties
        return frozenset({younger.lease} & rows.keys())

    def prepare(self, scene: Scene) -> None:
        for shape in self._shapes[:2]:
            party = scene.enter(shape)
            scene.acquire(party, hand_over="iommufd")
            party.borrower.do("use", what="bind")

    def go(self, scene: Scene) -> None:
        card = scene.stage.machine.device("below_switch")
        scene.stage.write_policy(self._other_rules(scene))
        with admins(scene.stage) as admin:
            admin.call("admin.reload", {})
        _, younger = scene.parties
        scene.until_said("lease.ended", younger.lease)
        scene.stage.daemon.until(lambda: scene.waits(card), f"{card} does not wait")

    def go_on(self, scene: Scene) -> None:
        older, younger = scene.parties
        stage = scene.stage
        stage.daemon.until(lambda: list(scene.leases()) == [older.lease], "two leases stay")
        assert older.borrower.alive
        assert not younger.borrower.alive
        card = stage.machine.device("below_switch")
        stage.daemon.until(lambda: scene.waits(card), f"{card} does not wait")
        stage.write_policy(self.rules)
        with admins(stage) as admin:
            admin.call("admin.reload", {})
        stage.daemon.until(lambda: card not in stage.changes(), f"{card} was not put back")


WALKS: Mapping[str, Walk] = MappingProxyType(
    {
        "acquire": Acquire("iommufd", ("bind", "attach")),
        "acquire (nodes)": Acquire("nodes", ("open_by_path",)),
        "acquire (no manager)": Acquire("iommufd", ("bind", "attach"), managed=False),
        "release": Release(use=("bind", "attach")),
        "release (open still)": LateClose(),
        "client death": ClientDeath(use=("bind", "attach")),
        "revoke": Revoke(use=("bind", "attach")),
        "reload": Reload(),
    }
)


def is_lost(error: BaseException) -> bool:
    """Whether a walk's failure may be due to the daemon's death."""
    return isinstance(error, ClientError | OSError | AssertionError)
