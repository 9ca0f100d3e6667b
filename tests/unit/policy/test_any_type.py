"""Any value in any place of a policy file is either taken or told as a fault of that file."""

from __future__ import annotations

import datetime
import json
import math
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from isod.policy.folder import PolicyError, load

EVERY_KEY = """
version = 1
pool = [{ name = "p", devices = [{ vendor = "8086" }], bind = "ahead", take_from = ["e1000e"] }]
quirk = [
  { name = "a", devices = [{ slot = ["3"], numa = [0] }] },
  { name = "b", bridge = "pci:0000:03:00.0" },
  { name = "c", parent = "pci:0000:04:00.0" },
]
limits = { connections = 9, bytes = "1MiB", hello = "6s" }
admin = { who = [{ uid = [1000] }, { gid = ["50-51"] }] }

[[rule]]
name = "r"
effect = "allow"
who = [
  { user = ["root"], group = ["root"], user_unit = ["u.service"], label = ["*"] },
  { uid = ["1-2"], unit = ["x.service"], cgroup = ["a/*"] },
]
what = [
  { address = "pci:0000:*", vendor = "8086", device = "10d3", class = "0200", serial = "S" },
  { subsystem_vendor = "8086", subsystem_device = "0001", pool = "p", noiommu = true },
]
[rule.terms]
hand_over = ["group"]
memlock = "8GiB"
scrub = "require"
reset = "whole-set"
take_from = ["nvme"]
may_take = [{ class = "0403" }]
critical_ok = ["pci:0000:05:00.0"]
quota = { devices = 1, total = 2 }
revoke = { ask = "30s", then = "kill" }
anchor = ["hold", "cgroup"]
"""
VALUES: tuple[object, ...] = (
    True, 0, -1, 7, 10**18, 2**70, 0.5, math.inf, math.nan, "", "*", "pci:", "7", "9" * 5000,
    f"{'9' * 400}s", f"{'9' * 400}TiB", f"{'9' * 400}-1", "\u0663", "\x00", [], [[]], [True], [{}],
    ["x", 1], {}, {"x": 1}, {"name": "r"}, datetime.date(2020, 2, 29), datetime.time(1, 2),
    datetime.datetime(2020, 2, 29, tzinfo=datetime.UTC),
)  # fmt: skip


def places(value: object, here: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield here
    if isinstance(value, dict):
        for key, part in value.items():
            yield from places(part, (*here, key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from places(part, (*here, number))


def put(content: object, place: tuple[str | int, ...], value: object) -> object:
    """The content with another value in one place."""
    if not place:
        return value
    first, *rest = place
    if isinstance(content, dict):
        return {**content, first: put(content[first], tuple(rest), value)}
    assert isinstance(content, list)
    return [
        put(part, tuple(rest), value) if number == first else part
        for number, part in enumerate(content)
    ]


def as_toml(value: object) -> str:
    match value:
        case dict():
            pairs = (f"{json.dumps(key)} = {as_toml(part)}" for key, part in value.items())
            return f"{{ {', '.join(pairs)} }}"
        case list():
            return f"[{', '.join(as_toml(part) for part in value)}]"
        case bool() | str():
            return json.dumps(value)
        case datetime.date() | datetime.time():
            return value.isoformat()
        case _:
            return str(value)


def write(file: Path, content: object) -> None:
    assert isinstance(content, dict)
    file.write_text("".join(f"{key} = {as_toml(value)}\n" for key, value in content.items()))


CONTENT = tomllib.loads(EVERY_KEY)
PLACES = [place for place in places(CONTENT) if place]


def test_the_file_is_good_as_it_is(tmp_path: Path) -> None:
    write(tmp_path / "50-any.toml", CONTENT)
    assert [rule.name for rule in load([tmp_path], 1).rules] == ["r"]


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_any_value_is_taken_or_is_a_fault_of_the_file(
    tmp_path: Path, place: tuple[str | int, ...]
) -> None:
    taken = 0
    for value in VALUES:
        write(tmp_path / "50-any.toml", put(CONTENT, place, value))
        try:
            load([tmp_path], 1)
        except PolicyError as error:
            assert error.problems
            assert all("50-any.toml: " in problem for problem in error.problems), error.problems
        else:
            taken += 1
    assert taken < len(VALUES), "nothing is refused there: is the place read at all?"
