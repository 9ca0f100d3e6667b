"""Placeholders in the arguments of ``isoctl exec``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isod.cli.handed import HandedFiles
from isod.cli.placeholder import (
    WORDS,
    PlaceholderError,
    fill_placeholders,
    find_placeholders,
    implied_hand_over,
)

from .replies import address

ONE = [address("01:00.0")]
TWO = [address("01:00.0"), address("02:00.0")]
FILES = HandedFiles(
    hold=3,
    iommufd=4,
    container=5,
    devices={address("02:00.0"): 12, address("01:00.0"): 11},
    groups={14: 21, 12: 22},
)


@pytest.mark.parametrize(
    ("argument", "filled"),
    [
        ("{hold}", "3"),
        ("iommufd,id=i,fd={iommufd}", "iommufd,id=i,fd=4"),
        ("{container}", "5"),
        ("{device:0} {device:1}", "11 12"),
        ("{device:02:00.0}", "12"),
        ("{device:0000:02:00.0}", "12"),
        ("{device:pci:0000:02:00.0}", "12"),
        ("{group}", "21"),
        ("{group:1}", "22"),
        ('{"driver":"vfio-pci","fd":"{device:0}"}', '{"driver":"vfio-pci","fd":"11"}'),
        ('{"a":{"fd":{iommufd}}}', '{"a":{"fd":4}}'),
    ],
)
def test_placeholders_become_numbers(argument: str, filled: str) -> None:
    assert find_placeholders([argument], TWO)
    assert fill_placeholders([argument], TWO, FILES) == [filled]


def test_the_only_device_needs_no_name() -> None:
    assert fill_placeholders(["fd={device}", "x"], ONE, FILES) == ["fd=11", "x"]


@pytest.mark.parametrize(
    "argument",
    [
        '{"execute":"qmp_capabilities"}',
        '{"a":{"b":{}}}',
        "{}",
        "{ hold }",
        "${hold} ${HOME}",
        "{HOLD}",
        "{0}",
        "{a,b}",
        "hold",
        "\N{LEFT CURLY BRACKET}",
    ],
)
def test_everything_else_is_left_alone(argument: str) -> None:
    assert find_placeholders([argument], ONE) == []
    assert fill_placeholders([argument], ONE, FILES) == [argument]


@pytest.mark.parametrize(
    ("argument", "passed"),
    [("{{hold}}", "{hold}"), ("{{print}}", "{print}"), ("{{device:9}}x", "{device:9}x")],
)
def test_doubled_braces_pass_one_literally(argument: str, passed: str) -> None:
    assert find_placeholders([argument], ONE) == []
    assert fill_placeholders([argument], ONE, FILES) == [passed]


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("{devcie}", "{devcie} is no placeholder"),
        ("{print}", "write {{print}}"),
        ("{hold:1}", "takes no argument"),
        ("{device:2}", "positions go from 0 to 1"),
        ("{device:03:00.0}", "not among the requested"),
        ("{device:eth0}", "not a device address"),
        ("{device}", "2 devices are requested"),
        ("{group:2}", "positions go from 0 to 1"),
        ("{group:x}", "named by position"),
    ],
)
def test_what_can_never_be_filled_is_found_before_anything_is_asked_for(
    argument: str, says: str
) -> None:
    with pytest.raises(PlaceholderError) as caught:
        find_placeholders(["fine", argument], TWO)
    assert says in str(caught.value)


def test_placeholders_tell_the_hand_over_they_need() -> None:
    def implied(*arguments: str) -> str | None:
        return implied_hand_over(find_placeholders(arguments, ONE))

    assert implied("{hold}", "{device}") is None
    assert implied("{iommufd}", "{device}") == "iommufd"
    assert implied("{container}", "{group}") == "group"
    with pytest.raises(PlaceholderError, match="different hand-overs"):
        implied("{iommufd}", "{group}")


@pytest.mark.parametrize("word", WORDS)
def test_a_lease_without_the_file_is_an_error(word: str) -> None:
    with pytest.raises(PlaceholderError, match="without a file"):
        fill_placeholders([f"{{{word}}}"], ONE, HandedFiles())


@given(st.text(st.characters(exclude_characters="{")))
def test_text_without_braces_is_never_touched(text: str) -> None:
    assert fill_placeholders([text], ONE, FILES) == [text]


@given(st.text("{}$:holdev\"' ,0"))
def test_filling_fails_only_where_finding_failed(text: str) -> None:
    try:
        found = find_placeholders([text], ONE)
    except PlaceholderError:
        return
    (filled,) = fill_placeholders([text], ONE, FILES)
    assert found or filled == text or "{{" in text
