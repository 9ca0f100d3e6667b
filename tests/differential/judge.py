"""Says where two sides differ over a sequence, and finds a shorter one that shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .operation import Scene, Sequence, played
from .play import Outcome, play
from .shrink import shrink
from .side import Side

_TRIES = 100

Outcomes = list[Outcome]


def kind_of(sequence: Sequence, real: Outcomes, simulated: Outcomes) -> str:
    """The first operation that differs, without names, and how; empty if none does."""
    for operation, one, other in zip(played(sequence), real, simulated, strict=True):
        if one != other:
            who = "client" if operation.who in "ab" else operation.who
            if one.answer != other.answer:
                return f"{who} {operation.what}: {one.answer} / {other.answer}"
            return f"{who} {operation.what}: {one.host} / {other.host}"
    return ""


def told(seed: str, scene: Scene, sequence: Sequence, real: Outcomes, simulated: Outcomes) -> str:
    """A sequence up to its first difference, with what came of each operation."""
    lines = [f"ISOD_SEED={seed}: {scene}"]
    for operation, one, other in zip(played(sequence), real, simulated, strict=True):
        lines.append(f"  {operation}")
        if one != other:
            lines += [f"           real: {one}", f"      simulated: {other}"]
            break
        lines.append(f"      {one}")
    return "\n".join(lines)


@dataclass
class Judge:
    """Plays on both sides. ``twins`` makes a new simulated one."""

    real: Side
    twins: Callable[[], Side]

    def difference(self, seed: str, scene: Scene, sequence: Sequence) -> str | None:
        """The shortest sequence found that differs in the same way, told; None if none does."""
        kind = self._kind(scene, sequence)
        if not kind:
            return None
        sequence = shrink(sequence, lambda one: self._kind(scene, one) == kind, _TRIES)
        real, simulated = self._both(scene, sequence)
        return told(seed, scene, sequence, real, simulated)

    def _kind(self, scene: Scene, sequence: Sequence) -> str:
        return kind_of(sequence, *self._both(scene, sequence))

    def _both(self, scene: Scene, sequence: Sequence) -> tuple[Outcomes, Outcomes]:
        twin = self.twins()
        try:
            return play(self.real, scene, sequence), play(twin, scene, sequence)
        finally:
            twin.close()
