"""Policies as text, peers by name, and what isod would say: for tests of the rules of meaning."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from isod.model.critical import CriticalFacts
from isod.model.host import HostSnapshot
from isod.model.peer import Peer
from isod.model.policy import Policy
from isod.policy.folder import PolicyError, load
from isod.policy.trial import Trial, Verdict
from tests.unit.core.build import acquire, bridge, device, host

NAMES = {"alice": 1000, "bob": 1001, "ml": 50, "dpdk": 985}

# Two functions in one group; a disk; two NICs behind a bridge that has a driver of its own; a
# graphics card whose audio function is in another group; a device without an IOMMU.
HOST = host(
    device("01:00.0", 1),
    device("01:00.1", 1),
    device(
        "02:00.0", 2, "nvme", vendor="1b36", product="0010", device_class="010802", serial="S4EV1"
    ),
    bridge("00:03.0", 9),
    bridge("03:00.0", 3, "shpchp"),
    device("04:01.0", 3, "e1000", slot="4", numa_node=1),
    device("04:02.0", 3),
    device("00:05.0", 8, "pcieport", device_class="060400", header_type=1, secondary_bus="0000:05"),
    device("05:00.0", 5, vendor="10de", product="2204", device_class="030000"),
    device("05:00.1", 6, vendor="10de", product="1aef", device_class="040300"),
    device("41:00.0", None),
)


def peer(name: str, **more: Any) -> Peer:
    """A user by name, in no group unless ``groups`` says, and in no unit's cgroup."""
    groups = frozenset(NAMES[one] for one in more.pop("groups", ()))
    more.setdefault("cgroup", "/")
    return Peer(NAMES[name], 65534, groups, 1, verified=True, **more)


ALICE, BOB = peer("alice"), peer("bob")


def rule(name: str, effect: str = "allow", **parts: str) -> str:
    """A rule as TOML: for anyone and anything unless ``who`` and ``what`` say; ``terms`` are
    lines."""
    who, what = parts.get("who", '"anyone"'), parts.get("what", '"anything"')
    terms = f"[rule.terms]\n{parts['terms']}\n" if "terms" in parts else ""
    return f'[[rule]]\nname = "{name}"\neffect = "{effect}"\nwho = {who}\nwhat = {what}\n{terms}'


def trial(*texts: str, on: HostSnapshot = HOST, facts: CriticalFacts | None = None) -> Trial:
    """A policy of one file with these parts, on a host."""
    return Trial(policy_of(*texts), on, facts or CriticalFacts())


def policy_of(*texts: str) -> Policy:
    """A policy of one file with these parts. Raises PolicyError."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "50-test.toml").write_text("version = 1\n" + "\n".join(texts))
        return load([Path(folder)], 1, lambda kind, name: NAMES.get(name))


def faults(*texts: str) -> tuple[str, ...]:
    """Why the policy is not used."""
    try:
        policy_of(*texts)
    except PolicyError as error:
        return error.problems
    return ()


def ask(tried: Trial, who: Peer, *devices: str, **wishes: Any) -> Verdict:
    return tried.ask(who, acquire(*devices, **wishes))


def says(tried: Trial, who: Peer, *devices: str, **wishes: Any) -> str:
    """``allowed by RULE`` or ``refused: REASON``."""
    return ask(tried, who, *devices, **wishes).words
