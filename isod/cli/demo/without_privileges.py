"""``python -m isod.cli.demo.without_privileges UID ARGUMENTS…``: isoctl, run by an ordinary user.

Everything is imported before root's privileges are dropped, so that it also works where only root
can read the installation, in /root for instance.
"""

from __future__ import annotations

import os
import sys

from click.testing import CliRunner

from isod.cli.inherit import occupy_standard_files
from isod.cli.isoctl import isoctl


def main() -> None:
    """Become the user for good, then run the command."""
    uid, arguments = int(sys.argv[1]), sys.argv[2:]
    if os.geteuid() == 0 and uid != 0:
        # Modules are imported as late as in the middle of an error message. A rehearsal, without
        # a daemon, has them all loaded.
        CliRunner().invoke(isoctl, ["--socket", os.devnull, *_command(arguments)])
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    occupy_standard_files()
    isoctl(arguments, prog_name="isoctl")


def _command(arguments: list[str]) -> list[str]:
    """The arguments without isoctl's own ``--socket PATH``, which comes first."""
    return arguments[2:] if arguments[:1] == ["--socket"] else arguments


if __name__ == "__main__":
    main()
