"""``isoctl exec``: become a command that has the devices open."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal, NoReturn

import click
from rich.text import Text

from isod.cli.failure import EXIT_CODES
from isod.cli.handed import HandedFiles
from isod.cli.inherit import is_executable, keep_only, restore_signals
from isod.cli.link import Link, fail, require_files
from isod.cli.output import show
from isod.cli.placeholder import (
    PlaceholderError,
    fill_placeholders,
    find_placeholders,
    implied_hand_over,
)
from isod.cli.qemu import QemuError, qemu_arguments, qemu_hand_over
from isod.cli.screen.terminal import escape
from isod.cli.wish import Wish, expected, granted
from isod.model.reply import LeaseInfo
from isod.model.step import HandOver
from isod.model.terms import Anchor

from .options import devices_option, grant_options, json_option


@click.command("exec", epilog=EXIT_CODES, context_settings={"allow_interspersed_args": False})
@devices_option
@grant_options
@click.option("--qemu", is_flag=True, help="Append QEMU's own arguments for the devices.")
@click.option(
    "--qemu-device-options",
    metavar="OPTIONS",
    multiple=True,
    help="With --qemu: more properties for each -device, such as rombar=0.",
)
@click.option("--literal", is_flag=True, help="Replace nothing: COMMAND is full of braces.")
@click.option("--pass-secret", is_flag=True, help="Put the lease's secret into ISOD_SECRET.")
@click.option(
    "--keep-fd",
    metavar="FD",
    type=click.IntRange(min=3),
    multiple=True,
    help="Let the command inherit this fd of yours, too.",
)
@json_option
@click.argument(
    "command", metavar="[--] COMMAND [ARGUMENT]...", nargs=-1, required=True, type=click.UNPROCESSED
)
@click.pass_obj
def execute(
    link: Link,
    *,
    devices: tuple[Wish, ...],
    hand_over: HandOver | None,
    container: Literal["ready", "raw"] | None,
    anchor: Anchor | None,
    whole_set: bool,
    wait: float,
    key: str | None,
    qemu: bool,
    qemu_device_options: tuple[str, ...],
    literal: bool,
    pass_secret: bool,
    keep_fd: tuple[int, ...],
    as_json: bool,
    command: tuple[str, ...],
) -> None:
    """Get devices, then become COMMAND with the devices open.

    The lease lives as long as the command, and any child that inherits its hold. The command
    inherits stdin, stdout, stderr, the files of the lease and nothing else: no connection to isod.

    \b
    Where its arguments say      the command finds the number of
      {iommufd}                  the iommufd                           (hand-over iommufd)
      {device}                   the device, if there is only one      (iommufd, group)
      {device:0}                 the first device, and so on           (iommufd, group)
      {device:01:00.0}           this device                           (iommufd, group)
      {container}                the container                         (group)
      {group} {group:1}          the first group; the second           (group)
      {hold}                     the hold: its last copy, closed, ends the lease

    Nothing else in braces is touched ({"json": 1}, ${shell}), but a lower-case word that is none
    of these is an error: {{word}} passes {word} on, and --literal leaves everything as it
    is. The variables ISOD_LEASE (its id) and ISOD_FDS (JSON: roles and numbers) say the same.

    --qemu appends -object iommufd and -device vfio-pci, or -device vfio-pci,host= for the
    hand-over nodes, which is taken where isod offers no iommufd.

    \b
    Examples:
      isoctl exec --qemu -d 01:00.0 -- qemu-system-x86_64 -accel kvm -m 4G disk.qcow2
      isoctl exec -d 01:00.0 -- cloud-hypervisor --platform iommufd_fd={iommufd} \\
             --device fd={device} --kernel vmlinux
      isoctl exec --qemu -d pool:gpus:2 --wait 600 -- qemu-system-x86_64 -m 4G disk.qcow2
      isoctl exec -d 01:00.0 --hand-over nodes -- dpdk-testpmd -a 0000:01:00.0

    Once the command runs, the exit code is its own.
    """
    try:
        to_come = expected(devices)
        placeholders = [] if literal else find_placeholders(command, to_come)
        hand_over = _settled(hand_over, implied_hand_over(placeholders))
        if qemu:
            qemu_hand_over(to_come, hand_over, ())  # what can never work needs no daemon to say so
    except (PlaceholderError, QemuError) as error:
        raise click.UsageError(str(error)) from error
    if qemu_device_options and not qemu:
        raise click.UsageError("--qemu-device-options goes with --qemu")
    if not is_executable(command[0], os.environ.get("PATH")):
        raise click.UsageError(f"{command[0]}: there is no such command")
    with link.connect(as_json=as_json) as client:
        if qemu:
            hand_over = qemu_hand_over(to_come, hand_over, client.greeting.features)
        lease = client.acquire(
            devices,
            hand_over=hand_over,
            container=container or "ready",
            reset="whole-set" if whole_set else None,
            wait=wait,
            key=key,
            anchor=anchor,
        )
        with lease:
            require_files(lease, as_json=as_json)
            for warning in lease.warnings:
                show(Text(f"Warning: {escape(warning)}"), on_stderr=True)
            files = HandedFiles.of(lease.files)
            came = granted(devices, lease.info, files)
            try:
                arguments = list(command) if literal else fill_placeholders(command, came, files)
                if qemu:
                    arguments += qemu_arguments(
                        came, lease.info.hand_over, files, qemu_device_options
                    )
                environment = _environment(os.environ, lease.info, files, pass_secret=pass_secret)
                _become(arguments, environment, files.numbers | set(keep_fd))
            except (PlaceholderError, QemuError, OSError) as error:
                fail(str(error), as_json=as_json)


def _settled(wish: HandOver | None, implied: HandOver | None) -> HandOver | None:
    """The hand-over that the option or the placeholders ask for."""
    if wish is not None and implied is not None and wish != implied:
        raise PlaceholderError(f"the placeholders need --hand-over {implied}, not {wish}")
    return wish or implied


def _environment(
    ours: Mapping[str, str], lease: LeaseInfo, files: HandedFiles, *, pass_secret: bool
) -> dict[str, str]:
    """The command's environment: what the lease is called and where its files are."""
    environment = {name: value for name, value in ours.items() if name != "ISOD_SECRET"}
    environment["ISOD_LEASE"] = lease.id
    environment["ISOD_FDS"] = files.as_json()
    if pass_secret and lease.secret is not None:
        environment["ISOD_SECRET"] = lease.secret
    return environment


def _become(
    arguments: Sequence[str], environment: Mapping[str, str], files: frozenset[int]
) -> NoReturn:
    """Execute the command in this process: its pid, limits and lease stay the same."""
    keep_only(files)
    restore_signals()
    os.execvpe(arguments[0], list(arguments), environment)
