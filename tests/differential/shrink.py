"""The shortest sequence that still shows a difference, by leaving operations out."""

from __future__ import annotations

from collections.abc import Callable

from .operation import Sequence


def shrink(sequence: Sequence, differs: Callable[[Sequence], bool], tries: int) -> Sequence:
    """Leave out ever smaller pieces as long as what is left differs; ``sequence`` does."""
    piece = max(1, len(sequence) // 2)
    while tries > 0:
        shorter = None
        for begin in range(0, len(sequence), piece):
            left = sequence[:begin] + sequence[begin + piece :]
            tries -= 1
            if left and differs(left):
                shorter = left
                break
            if tries <= 0:
                break
        if shorter is not None:
            sequence = shorter
        elif piece == 1:
            break
        else:
            piece = max(1, piece // 2)
    return sequence
