"""``place_fds.py FD… -- COMMAND…``: becomes the command, with the fds from 3 on, as
sd_listen_fds(3) wants them. The pid stays, so LISTEN_PID can be told."""

from __future__ import annotations

import os
import sys

FIRST = 3


def main() -> None:
    end = sys.argv.index("--")
    handed = [int(word) for word in sys.argv[1:end]]
    # Out of the way first: the places may be taken by each other.
    aside = [os.dup(descriptor) for descriptor in handed]
    high = max([FIRST + len(handed), *aside, *handed]) + 1
    moved = [os.dup2(descriptor, high + place) for place, descriptor in enumerate(aside)]
    for place, descriptor in enumerate(moved):
        os.dup2(descriptor, FIRST + place, inheritable=True)
    os.closerange(FIRST + len(handed), high + len(handed) + 1)
    os.environ["LISTEN_PID"] = str(os.getpid())
    command = sys.argv[end + 1 :]
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
