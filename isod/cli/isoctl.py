"""``isoctl``: ask isod for devices, look at them, and run programs with them."""

from __future__ import annotations

from pathlib import Path

import click

from isod import __version__

from .command.admin import admin, quarantine
from .command.call import call
from .command.capture import capture
from .command.execute import execute
from .command.explain import explain
from .command.lease import acquire, leases, release
from .command.log import log
from .command.look import list_devices, show_device
from .command.policy import policy
from .command.watch import watch
from .failure import EXIT_CODES
from .inherit import occupy_standard_files
from .link import Link


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
)
@click.option(
    "--socket",
    envvar="ISOD_SOCKET",
    type=click.Path(path_type=Path),
    metavar="PATH",
    show_envvar=True,
    help="Where isod listens.  [default: /run/isod/isod.sock]",
)
@click.version_option(__version__, prog_name="isoctl", message="%(prog)s %(version)s")
@click.pass_context
def isoctl(context: click.Context, socket: Path | None) -> None:
    """Borrow devices from isod, which lends PCI devices to programs without privileges.

    \b
    Examples:
      isoctl ls                                    what there is, and who has it
      isoctl exec --qemu -d 01:00.0 -- qemu-…      run a virtual machine with a device
      isoctl leases                                what you have borrowed
    """
    context.obj = Link(socket)


_COMMANDS = (list_devices, show_device, explain, acquire, release, leases, watch, call, execute)
_FOR_ROOT = (admin, quarantine)
_WITHOUT_DAEMON = (policy, capture, log)

for _command in (*_COMMANDS, *_FOR_ROOT, *_WITHOUT_DAEMON):
    isoctl.add_command(_command)


def main() -> None:
    """The entry point of the command."""
    occupy_standard_files()
    isoctl()


if __name__ == "__main__":
    main()
