"""A soak's reader judges each line once, and before it is dropped."""

from __future__ import annotations

import pytest

from .reader import TROUBLE, Reader

ORDINARY = "isod: lease.granted: L1 has pci:0000:01:00.0 lease=L1 "


def test_lines_are_counted_once_and_dropped_when_they_are_many() -> None:
    log = [ORDINARY] * 5000
    reader = Reader(log)
    reader.judge()
    assert len(log) == 1000
    log += [ORDINARY, "something else"]
    reader.judge()
    assert reader.kinds == {"lease.granted": 5001, "no record": 1}


@pytest.mark.parametrize("word", TROUBLE)
def test_trouble_is_found_however_much_comes_after_it(word: str) -> None:
    log = [ORDINARY, f"isod: {word}: x", *[ORDINARY] * 5000]
    with pytest.raises(AssertionError, match=word):
        Reader(log).judge()
