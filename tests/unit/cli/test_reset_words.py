"""Hot resets in words, for show and explain."""

from __future__ import annotations

from typing import Any

from isod.cli.screen.reset import lease_reset_words, reset_words
from isod.model.address import Address
from isod.model.reset import LeaseReset, ResetAnswer, ResetMember, ResetSetInfo, SetAnswer

from .replies import address, device

FREE = ResetAnswer(hot="permitted_when", when="one device of group 14 is bound", bind_groups=(14,))
IN_USE = ResetAnswer(hot="never", why="04:01.0 is used by e1000", blocked_by=(address("04:01.0"),))
OLD_NIC = device("04:02.0", reset="hot only", reset_methods=())


def info(*shorts: str, answer: ResetAnswer = FREE, total: int | None = None) -> ResetSetInfo:
    members = tuple(
        ResetMember(
            address=address(short),
            group=14,
            driver=None,
            state="free",
            alone=False,
            bridge=False,
            blocks=False,
        )
        for short in shorts
    )
    return ResetSetInfo(
        address=address("04:02.0"),
        by="bus",
        slot=None,
        alone=False,
        members=members,
        total=len(members) if total is None else total,
        reset=answer,
        snapshot=1,
    )


def answered(*hits: str, **answer: Any) -> LeaseReset:
    members: tuple[Address, ...] = tuple(address(short) for short in hits)
    facts: dict[str, Any] = {"hot": "permitted_when", "when": "it is bound", **answer}
    one = SetAnswer(devices=members[:1], by="bus", hits=members, **facts)
    return LeaseReset(sets=(one,), **facts)


def test_show_says_what_a_hot_reset_hits_and_what_is_in_its_way() -> None:
    assert reset_words(OLD_NIC, info("04:01.0", "04:02.0", answer=IN_USE)) == (
        "hot reset only, hits 04:01.0 and 04:02.0; impossible now: 04:01.0 is used by e1000"
    )
    assert reset_words(OLD_NIC, info("04:02.0")) == "hot reset only, hits nothing else"


def test_show_says_which_other_group_is_needed() -> None:
    shared = FREE.model_copy(update={"blocked_by": (address("04:01.0"),)})
    assert reset_words(OLD_NIC, info("04:01.0", "04:02.0", answer=shared)).endswith(
        "hits 04:01.0 and 04:02.0; needs 04:01.0 as well"
    )


def test_show_tells_of_a_function_reset_first() -> None:
    nic = device("04:02.0", reset_methods=("flr",))
    assert reset_words(nic, info("04:01.0", "04:02.0")) == (
        "function reset (flr); hits nothing else; a hot reset hits 04:01.0, too"
    )
    assert reset_words(nic, info("04:02.0")) == "function reset (flr); hits nothing else"
    assert reset_words(device("04:02.0", reset="none"), info()) == "none"


def test_large_sets_are_told_in_few_words() -> None:
    shorts = [f"04:0{number}.0" for number in range(8)]
    assert "04:05.0 and 194 more" in reset_words(OLD_NIC, info(*shorts, total=200))


def test_explain_says_yes_no_or_when() -> None:
    assert lease_reset_words(answered("02:00.0")) == "yes, 02:00.0 is alone in its set."
    assert lease_reset_words(answered("01:00.0", "01:00.1")) == (
        "hits 01:00.0 and 01:00.1; permitted when it is bound."
    )
    refused = answered("01:00.0", hot="never", when=None, why="the bridge 05:00.0 is in its set")
    assert lease_reset_words(refused) == "no, the bridge 05:00.0 is in its set."
