"""A simulated host: a directory with a fake sysfs tree, node files and open files.

It lives outside the daemon, so it outlives a killed one as a real kernel would. ``hosts`` and
``build`` make such a directory, ``kernel`` is isod's port to it, ``calls`` is what a client may do
with the fds that it got, ``outside`` is what happens without isod: hot-plug, other programs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .kernel import SimulatedKernel


def open_host(directory: Path) -> SimulatedKernel:
    """The port to the host in a directory; where there is none, the host ``demo`` is built.

    Raises NotAHostError if the directory holds part of one.
    """
    # Imported late: a fence's process needs none of it and should start at once.
    from .build import build, is_host  # noqa: PLC0415
    from .hosts import DEMO  # noqa: PLC0415
    from .kernel import SimulatedKernel  # noqa: PLC0415

    if not is_host(directory):
        build(directory, DEMO)
    return SimulatedKernel(directory)
