"""``isoctl capture``: what this host looks like, in a file that can be looked at elsewhere."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import click
from rich.text import Text

from isod.cli.failure import EXIT_CODES
from isod.cli.link import fail
from isod.cli.output import show, show_json
from isod.cli.screen.capture import capture_screen

from .options import json_option

_DEFAULT = "isod-capture.tar"


@click.command("capture", epilog=EXIT_CODES)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default=_DEFAULT)
@click.option("--serials", is_flag=True, help="Hold serial numbers, too.")
@click.option(
    "--survey",
    is_flag=True,
    help="Hold what a survey reads of config space. Needs CAP_SYS_ADMIN; wakes sleeping devices.",
)
@json_option
def capture(*, file: Path, serials: bool, survey: bool, as_json: bool) -> None:
    """Write what this host looks like into FILE, a tar.

    It holds the facts that isod decides by: devices, bridges, drivers, IOMMU groups, slots, what
    the host needs by kind, what the kernel offers. It holds no user, no network interface or
    address, no mount point, and no serial number unless asked. capture.json in it lists it all.

    Elsewhere the capture is a host: policies are tried out on it, and isod serves it, with devices
    that are simulated. No daemon is needed; run it as root, or what the kernel offers is not known.

    \b
    Examples:
      isoctl capture far-away.tar
      tar -xOf far-away.tar capture.json
      isoctl policy test cases.toml --host far-away.tar
      isod serve --simulate far-away.tar --policy ./policy.d
    """
    # Imported late: no other command needs the scanner.
    from isod.kernel.capture import capture_host  # noqa: PLC0415
    from isod.kernel.capture_file import write_tar  # noqa: PLC0415
    from isod.kernel.linux import LinuxKernel  # noqa: PLC0415

    root = Path("/")
    try:
        with closing(LinuxKernel(root)) as kernel:
            found = capture_host(kernel, root, serials=serials, survey=survey)
        write_tar(file, found)
    except FileExistsError:
        fail(f"{file} is there already", as_json=as_json)
    except OSError as error:
        fail(f"{error.filename or file}: {error.strerror}", as_json=as_json)
    if as_json:
        show_json({"file": str(file), **found.manifest})
    else:
        show(capture_screen(file, found.manifest))
    if os.geteuid() != 0:
        text = "Not root: what the kernel offers is captured as nothing."
        show(Text(f"Warning: {text}"), on_stderr=True)
