"""Isolation in words, as ``isoctl show`` has it."""

from __future__ import annotations

from typing import Any

from isod.cli.screen.isolation import companion_words, isolation_words, peer_words
from isod.model.isolation import Companion, Granule, Hop, IsolationInfo

from .replies import address

BRIDGE = address("03:00.0")
HERE, MATE = address("04:02.0"), address("04:01.0")


def hop(name: str, redirects: str = "yes", why: str = "redirects", **more: Any) -> Hop:
    facts = {"address": name, "kind": "root port", "redirects": redirects, "why": why}
    return Hop.model_validate(facts | more)


def mate(**changes: Any) -> Companion:
    facts: dict[str, Any] = {
        "address": MATE,
        "bridge": False,
        "together": "granule",
        "by": BRIDGE,
        "reached": "yes",
        "through": BRIDGE,
        "why": "has no ACS",
    }
    return Companion.model_validate(facts | changes)


def info(**changes: Any) -> IsolationInfo:
    facts: dict[str, Any] = {
        "address": HERE,
        "group": 14,
        "isolation": "group",
        "granule": Granule(known=True, members=(MATE, HERE), bridge=BRIDGE),
        "path": (hop("04:02.0", "no", "is conventional PCI, which has no ACS"),),
        "companions": (mate(),),
        "total": 1,
        "snapshot": 1,
    }
    return IsolationInfo.model_validate(facts | changes)


LONE = Granule(known=True, members=(HERE,))


def test_functions_behind_a_bridge_to_pci() -> None:
    told = info()
    assert isolation_words(told) == (
        "the IOMMU cannot tell 04:01.0 and 04:02.0 apart; they always go together"
    )
    assert companion_words(mate(), told) == "same granule: requester id of the bridge"
    assert peer_words(told) == "a parked sibling stays reachable by DMA: no ACS on 03:00.0"


def test_a_device_of_its_own() -> None:
    told = info(
        isolation="device", granule=LONE, companions=(), path=(hop("04:02.0"), hop("00:03.0"))
    )
    assert isolation_words(told) == (
        "of its own: the IOMMU sees each of its requests (00:03.0 redirects)"
    )
    assert peer_words(told) is None


def test_a_port_with_a_control_off_is_named() -> None:
    off = "has request redirect off"
    told = info(
        granule=LONE,
        path=(hop("04:02.0"), hop("06:00.0", "no", off)),
        companions=(mate(together="port", by="06:00.0", through="06:00.0", why=off),),
    )
    assert companion_words(told.companions[0], told) == "06:00.0 has request redirect off"
    assert isolation_words(told) == (
        "of its group, not of the members from each other: 06:00.0 has request redirect off"
    )
    assert peer_words(told) == (
        "a parked sibling stays reachable by DMA: 06:00.0 has request redirect off"
    )


def test_unknown_says_so_and_how_to_know() -> None:
    told = info(
        isolation="unknown",
        granule=Granule(known=False, members=(HERE,)),
        path=(hop("04:02.0", "unknown", "was not surveyed"),),
        companions=(
            mate(
                together="unknown", by=None, reached="unknown", through=HERE, why="was not surveyed"
            ),
        ),
        unread=(BRIDGE, HERE),
        hint="isod survey, run as root, reads it",
    )
    assert isolation_words(told) == (
        "unknown: config space of 03:00.0 and 04:02.0 was not read; "
        "isod survey, run as root, reads it"
    )
    assert peer_words(told) == (
        "unknown whether a parked sibling stays reachable by DMA: 04:02.0 was not surveyed"
    )
    assert companion_words(told.companions[0], told) == "why is unknown"


def test_many_unread_are_counted() -> None:
    unread = tuple(address(f"0{number}:00.0") for number in range(1, 7))
    assert "01:00.0, 02:00.0, 03:00.0 and 3 more was not read" in isolation_words(
        info(isolation="unknown", unread=unread)
    )


def test_doubtful_names_what_nothing_keeps_apart() -> None:
    told = info(isolation="doubtful", apart=(BRIDGE,))
    assert isolation_words(told) == (
        "doubtful: nothing in config space keeps it from 03:00.0, which is in another group"
    )


def test_no_iommu() -> None:
    assert "UNSAFE" in isolation_words(info(isolation="none", group=None, companions=()))


def test_nobody_is_reached() -> None:
    told = info(companions=(mate(reached="no", through=None, why=None),))
    assert peer_words(told) == "a parked sibling is not reachable: every request goes to the IOMMU"


def test_some_are_reached() -> None:
    far = mate(address="05:00.0", reached="no", through=None, why=None)
    told = info(companions=(mate(), far))
    assert peer_words(told) == "04:01.0 stays reachable by DMA: no ACS on 03:00.0"
