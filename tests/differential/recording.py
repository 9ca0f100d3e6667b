"""What a guest played, as data: the outer run plays the same on a simulated host and compares.

An emulated guest is many times slower than the machine that it runs on, so the simulated side stays
outside; only a single sequence (``ISOD_SEED=1234/56``) is played on both sides in the guest, where
a difference can be shrunk by playing again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from isod.kernel.simulated.machine import Machine
from isod.kernel.simulated.topology import Model, Place, SimulatedHost

from .generate import Stock, draw
from .judge import kind_of, told
from .play import VOID, Outcome, play
from .simulated_side import SimulatedSide

Data = Mapping[str, Any]


@dataclass
class Recording:
    """The seeds, and what came of each sequence. ``seconds`` is how long that took."""

    host: SimulatedHost
    stock: Stock
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    seconds: float = 0.0

    def as_data(self) -> dict[str, Any]:
        """For JSON. Outcomes are few different ones, so they are numbers in a list of them."""
        numbers: dict[Outcome, int] = {}
        told = {
            seed: [numbers.setdefault(one, len(numbers)) for one in outcomes]
            for seed, outcomes in self.outcomes.items()
        }
        return {
            "host": asdict(self.host),
            "stock": {
                "sets": [[list(names), weight] for names, weight in self.stock.sets.items()],
                "native": dict(self.stock.native),
                "resets": {name: list(found) for name, found in self.stock.resets.items()},
            },
            "different": [[one.answer, list(one.host)] for one in numbers],
            "outcomes": told,
            "seconds": self.seconds,
        }

    @classmethod
    def from_data(cls, data: Data) -> Recording:
        different = [Outcome(answer, tuple(host)) for answer, host in data["different"]]
        stock = data["stock"]
        return cls(
            host=_host(data["host"]),
            stock=Stock(
                {tuple(names): weight for names, weight in stock["sets"]},
                stock["native"],
                {name: tuple(found) for name, found in stock["resets"].items()},
            ),
            outcomes={
                seed: [different[number] for number in numbers]
                for seed, numbers in data["outcomes"].items()
            },
            seconds=data["seconds"],
        )

    def answers(self) -> Counter[str]:
        """How often each operation was answered how; void ones are none."""
        found: Counter[str] = Counter()
        for seed, outcomes in self.outcomes.items():
            _, sequence = draw(seed, self.stock)
            for operation, outcome in zip(sequence, outcomes[1:-1], strict=True):
                if outcome.answer != VOID:
                    who = "client" if operation.who in "ab" else operation.who
                    answer = outcome.answer.partition(" HotReset")[0].partition(" 0000")[0]
                    found[f"{who} {operation.what}: {answer}"] += 1
        return found

    def successes(self) -> Counter[str]:
        """How often each operation was answered with anything but an error or a refusal."""
        found: Counter[str] = Counter()
        for text, count in self.answers().items():
            operation, _, answer = text.partition(": ")
            if answer.split()[0] == "ok":
                found[operation] += count
        return found

    def differences(self, directory: Path) -> dict[str, list[str]]:
        """Play it all on simulated hosts in a directory: the differences, told, by their kind."""
        found: dict[str, list[str]] = {}
        made = 0
        side = SimulatedSide(directory / f"host{made}", self.host)
        for seed, real in self.outcomes.items():
            scene, sequence = draw(seed, self.stock)
            simulated = play(side, scene, sequence)
            if simulated != real:
                kind = kind_of(sequence, real, simulated)
                found.setdefault(kind, []).append(told(seed, scene, sequence, real, simulated))
                # What differs may leave a host in disorder, for the next sequence to find.
                side.close()
                made += 1
                side = SimulatedSide(directory / f"host{made}", self.host)
        side.close()
        return found


def _host(data: Data) -> SimulatedHost:
    places = tuple(_place(one) for one in data["places"])
    machine: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in data["machine"].items()
        if name != "drivers"
    }
    return SimulatedHost(
        about=data["about"], places=places, slots=data["slots"], machine=Machine(**machine)
    )


def _place(data: Data) -> Place:
    model = Model(**_tuples(data["model"]))
    return Place(**(_tuples(data) | {"model": model}))


def _tuples(data: Data) -> dict[str, Any]:
    return {name: tuple(one) if isinstance(one, list) else one for name, one in data.items()}
