"""Show isod at work. The exit code is 0 only if everything that was said turned out to be true."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from isod.cli.screen.terminal import speakable
from isod.client.errors import ClientError

from .stage import StageError, borrowers, raised
from .story import Story


def main() -> int:
    """Raise the stage, tell the story, count."""
    signal.signal(signal.SIGTERM, _leave)  # rather than leave a daemon behind
    uids = borrowers()
    _say(
        "isod lends PCI devices to programs that are not root.\n"
        "The machine below is simulated: a folder plays its hardware. isod, its socket, the\n"
        "programs, and the file descriptors that they get, are real."
    )
    if os.geteuid() == 0:
        one, other = uids
        _say(
            f"(You are root. The programs that borrow are not: they run as uid {one} and {other}.)"
        )
    else:
        _say(f"(Nothing here is root: isod and the programs run as you, uid {uids[0]}.)")
    try:
        with raised(uids) as stage:
            story = Story(stage, _say)
            story.tell()
    except (StageError, ClientError, subprocess.TimeoutExpired) as error:
        _say(f"The demo failed: {error}")
        return 1
    if story.wrong:
        _say(f"\n{len(story.wrong)} of {story.checked} claims were not true.")
        return 1
    _say(f"\nAll {story.checked} claims were checked and true. Next: isoctl --help, and README.md")
    return 0


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _say(text: str) -> None:
    print(speakable(text, sys.stdout), flush=True)


if __name__ == "__main__":
    sys.exit(main())
