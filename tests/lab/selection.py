"""The lab mark: which kernels and topology a test runs on."""

import os
from dataclasses import dataclass

import pytest

from tests.lab.kernels import KERNELS
from tests.lab.protocol import GUEST_VARIABLE
from tests.lab.topology import TOPOLOGIES

# How long one test may run without coming to an end before its guest counts as hung.
DEFAULT_LIMIT = 300.0


@dataclass(frozen=True, order=True)
class GuestName:
    """One guest that tests run in: a kernel on a topology. *own* names tests that share it with
    no others."""

    kernel: str
    topology: str
    own: str = ""

    def __str__(self) -> str:
        return "-".join(filter(None, (self.kernel, self.topology, self.own)))

    def variable(self) -> str:
        return "/".join(filter(None, (self.kernel, self.topology, self.own)))


@dataclass(frozen=True)
class LabMark:
    """`@pytest.mark.lab(kernels=("6.1", "7.2"), topology="standard", limit=180)`.

    `guest=False` is for tests that need the lab but boot a guest of their own, from outside.
    `own="name"` is for tests that leave their guest in a state that others could not stand: only
    tests of the same name share it.
    """

    kernels: tuple[str, ...] | None = None
    topology: str = "standard"
    limit: float = DEFAULT_LIMIT
    guest: bool = True
    own: str = ""

    def guests(self) -> list[GuestName]:
        topology = TOPOLOGIES.get(self.topology)
        if topology is None:
            raise pytest.UsageError(
                f"no topology {self.topology!r} in the lab, only {', '.join(TOPOLOGIES)}"
            )
        kernels = topology.kernels if self.kernels is None else self.kernels
        for kernel in kernels:
            if kernel not in KERNELS:
                raise pytest.UsageError(f"no kernel {kernel!r} in the lab: {', '.join(KERNELS)}")
            if kernel not in topology.kernels:
                raise pytest.UsageError(f"topology {self.topology} does not suit {kernel}")
        return [GuestName(kernel, self.topology, self.own) for kernel in kernels]


def lab_mark(node: pytest.Item) -> LabMark | None:
    """The closest mark of the test; a function's goes before its class's and its module's."""
    mark = node.get_closest_marker("lab")
    if mark is None:
        return None
    if mark.args:
        raise pytest.UsageError(f"{node.nodeid}: the lab mark takes keyword arguments only")
    try:
        return LabMark(**mark.kwargs)
    except TypeError as error:
        raise pytest.UsageError(f"{node.nodeid}: {error}") from None


def guest_here() -> GuestName | None:
    """The guest that this process runs in, or nothing in an ordinary run."""
    value = os.environ.get(GUEST_VARIABLE)
    return GuestName(*value.split("/", 2)) if value else None
