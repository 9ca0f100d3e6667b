"""Plays many sequences on one machine at once: most of a sequence's time is a reset's, in which the
kernel sleeps.

Two that are played at the same time have no bus in common, so neither sees the other: drivers,
groups, reset sets and the locks that a reset takes are all of a bus and what is below it. Each
player is a process of its own, since a process that is started takes copies of its parent's open
files along for a moment.
"""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from .generate import Stock, draw
from .play import Outcome, play
from .side import Side

Buses = frozenset[str]

_REPOSITORY = Path(__file__).parents[2]


class Program:
    """What is left to be played, and on which buses."""

    def __init__(self, seeds: Sequence[str], stock: Stock) -> None:
        self.parts = {seed: draw(seed, stock) for seed in seeds}
        self._left = {seed: buses(scene.devices) for seed, (scene, _) in self.parts.items()}
        self._load = Counter(bus for taken in self._left.values() for bus in taken)

    def __len__(self) -> int:
        return len(self._left)

    def take(self, occupied: Buses) -> tuple[str, Buses] | None:
        """A seed that needs none of these buses; of the bus with most left to do, since the end
        would wait for that one. None if all have to wait."""
        free = [seed for seed, wanted in self._left.items() if not wanted & occupied]
        if not free:
            return None
        seed = max(free, key=lambda one: max(self._load[bus] for bus in self._left[one]))
        taken = self._left.pop(seed)
        self._load.subtract(taken)
        return seed, taken


def buses(devices: Iterable[str]) -> Buses:
    """The buses of devices."""
    return frozenset(device.rpartition(":")[0] for device in devices)


def play_side_by_side(
    seeds: Sequence[str], stock: Stock, make: Callable[[Stock], Side], players: int
) -> dict[str, list[Outcome]]:
    """What came of each seed's sequence, in the order of the seeds. ``make`` is called once in
    each player. Raises AssertionError with what went wrong in a player.

    A process of its own conducts: one without threads, which can be forked.
    """
    conductor = subprocess.run(
        [sys.executable, "-m", __name__],
        input=pickle.dumps((seeds, stock, make, players)),
        capture_output=True,
        check=False,
        cwd=_REPOSITORY,
    )
    assert conductor.returncode == 0, conductor.stderr.decode()
    found: dict[str, list[Outcome]] = pickle.loads(conductor.stdout)
    return {seed: found[seed] for seed in seeds}


@dataclass(frozen=True)
class _Played:
    seed: str
    outcomes: list[Outcome]
    trouble: str = ""


def main() -> None:
    """Conduct: what is to be played comes by stdin, what came of it goes to stdout."""
    seeds, stock, make, players = pickle.load(sys.stdin.buffer)
    context = multiprocessing.get_context("fork")
    connections: list[Connection] = []
    processes = []
    for _ in range(players):
        near, far = context.Pipe()
        connections.append(near)
        # Its copies of our ends would keep the others from seeing that we are gone.
        process = context.Process(target=_serve, args=(far, list(connections), stock, make))
        process.start()
        far.close()
        processes.append(process)
    try:
        found = _conduct(Program(seeds, stock), connections)
    finally:
        for connection in connections:
            connection.close()
        for process in processes:
            process.join()
    pickle.dump(found, sys.stdout.buffer)


def _conduct(program: Program, connections: Sequence[Connection]) -> dict[str, list[Outcome]]:
    idle = list(connections)
    busy: dict[Connection, Buses] = {}
    found: dict[str, list[Outcome]] = {}
    while program or busy:
        task = program.take(frozenset[str]().union(*busy.values())) if idle else None
        if task is not None:
            player = idle.pop()
            seed, busy[player] = task
            player.send((seed, *program.parts[seed]))
            continue
        ready = wait(list(busy))
        for player in [one for one in busy if one in ready]:
            played: _Played = player.recv()
            assert not played.trouble, f"{played.seed}:\n{played.trouble}"
            found[played.seed] = played.outcomes
            del busy[player]
            idle.append(player)
    return found


def _serve(
    connection: Connection,
    conductors: Sequence[Connection],
    stock: Stock,
    make: Callable[[Stock], Side],
) -> None:
    """A player's life: until there is nobody any more who would send a sequence."""
    for other in conductors:
        other.close()
    side = make(stock)
    try:
        while True:
            try:
                seed, scene, sequence = connection.recv()
            except EOFError:
                return
            try:
                played = _Played(seed, play(side, scene, sequence))
            except Exception:
                connection.send(_Played(seed, [], traceback.format_exc()))
                raise
            connection.send(played)
    finally:
        side.close()


if __name__ == "__main__":
    main()
