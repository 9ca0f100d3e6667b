"""``isoctl policy test`` and a running daemon say the same of the same host."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from isod.kernel.simulated.servers import FORWARDER, GPU_SERVER
from isod.kernel.simulated.topology import SimulatedHost
from isod.model.peer import Peer
from isod.model.request import Acquire
from isod.policy.folder import load
from isod.policy.host import see_host
from isod.policy.trial import Trial

from .conftest import Raise
from .policy import NOTHING, rule

pytestmark = pytest.mark.slow  # starts and ends many daemons

RULES = (
    NOTHING
    + '[[rule]]\nname = "no"\neffect = "deny"\nwho = "anyone"\nwhat = [{ class = "0108" }]\n'
    + rule("narrow", what='[{ class = "0200" }]', take_from=["ixgbe"], hand_over=["group"])
    + rule("wide", take_from=["nouveau"], hand_over=["iommufd", "nodes"])
)
WISHES: tuple[dict[str, object], ...] = (
    {},
    {"hand_over": "iommufd"},
    {"hand_over": "nodes"},
    {"reset": "whole-set"},
    {"memlock": 1 << 40},
)


def test_they_agree(raised: Raise, tmp_path: Path) -> None:
    asked = 0
    for host in (FORWARDER, GPU_SERVER):
        asked += _agree(raised, tmp_path / host.about[:4], host)
    assert asked > 100


def _agree(raised: Raise, folder: Path, host: SimulatedHost) -> int:
    stage = raised(host, RULES)
    folder.mkdir()
    (folder / "walk.toml").write_text(RULES)
    seen = see_host(str(stage.machine.root))
    trial = Trial(load([folder], 1), seen.snapshot, seen.facts)
    with stage.line() as line:
        you = line.ask("hello", client="x", protocol=1)["result"]["you"]
        peer = Peer(you["uid"], 0, frozenset(), 1, verified=True)
        asked = 0
        for place, wish in product(host.places, WISHES):
            params = {"devices": [{"address": place.name}], **wish}
            told = line.ask("lease.explain", **params)["result"]
            verdict = trial.ask(peer, Acquire.model_validate(params))
            if told["allowed"]:
                assert (verdict.rules, verdict.hand_over) == (
                    (told["decision"]["rule"],),
                    told["decision"]["hand_over"],
                )
                along = [one["address"] for one in told["devices"] if one["why"] != "requested"]
                assert [str(address) for address in verdict.along] == sorted(along)
            else:
                assert verdict.reason == told["refusal"]["data"]["reason"], place
                assert verdict.message == told["refusal"]["message"]
            asked += 1
    return asked
