"""What the fuzzer is tried on: faults that it has to find."""

from __future__ import annotations

from pathlib import Path

from .target import Take, Target


def _planted(_: Path) -> Take:
    def take(data: bytes) -> None:
        if data[:3] == b"\xaai!":
            raise AssertionError("the planted fault")

    return take


def _leaking(_: Path) -> Take:
    """Keeps 1 KiB of each input's."""
    kept: list[bytes] = []

    def take(data: bytes) -> None:
        kept.append(data.ljust(1024, b" "))

    return take


TARGETS = {
    "planted-fault": Target(_planted, lambda _: [b"\xaai "], 8),
    "planted-leak": Target(_leaking, lambda _: [b"x"], 8, runs=20_000),
}
