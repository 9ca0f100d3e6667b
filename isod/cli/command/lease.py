"""``isoctl acquire``, ``release`` and ``leases``."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

import click
from rich.text import Text

from isod.cli.failure import EXIT_CODES
from isod.cli.handed import HandedFiles
from isod.cli.holding import Woken, ending_signals, wait
from isod.cli.link import Link, require_files
from isod.cli.output import show, show_json
from isod.cli.screen.lease import acquired_screen, kept_screen, leases_screen, released_screen
from isod.cli.screen.terminal import escape
from isod.cli.wish import Wish
from isod.client.blocking import Client, Lease
from isod.client.errors import ClientError, Refused
from isod.model.reply import AcquireResult, LeaseResult
from isod.model.step import HandOver
from isod.model.terms import Anchor

from .options import devices_option, grant_options, json_option, name

# How often to ask whether somebody else has ended the lease. isod lets go of the hold then, too,
# but only when it has nothing left to wait for, such as the files that are held here.
LOOK_SECONDS = 1.0


@click.command("acquire", epilog=EXIT_CODES)
@devices_option
@grant_options
@click.option(
    "--iommufd",
    type=click.Choice(["new", "none"]),
    default="new",
    help="none: the program has an iommufd already.",
)
@json_option
@click.pass_obj
def acquire(
    link: Link,
    *,
    devices: tuple[Wish, ...],
    hand_over: HandOver | None,
    container: Literal["ready", "raw"] | None,
    iommufd: Literal["new", "none"],
    anchor: Anchor | None,
    whole_set: bool,
    wait: float,
    key: str | None,
    as_json: bool,
) -> None:
    """Get devices and hold them in the foreground.

    Prints the lease with its secret, then waits. The lease ends on Ctrl-C or SIGTERM, and the
    command ends when somebody else ends the lease. With another anchor than hold the command does
    not wait, and the lease stays. To give devices to a program, use exec.

    \b
    Examples:
      isoctl acquire -d 01:00.0
      isoctl acquire -d 01:00.0 -d 02:00.0 --hand-over nodes
      isoctl acquire -d pool:gpus:2 --numa 0 --wait 60
      isoctl acquire -d 01:00.0 --json > lease.json &
    """
    with link.connect(as_json=as_json) as client:
        lease = client.acquire(
            devices,
            hand_over=hand_over,
            iommufd=iommufd,
            container=container or "ready",
            reset="whole-set" if whole_set else None,
            wait=wait,
            key=key,
            anchor=anchor,
        )
        with lease, ending_signals() as signals:
            if as_json:
                roles = tuple(role for role, _ in lease.files)
                result = AcquireResult(lease=lease.info, warnings=lease.warnings, fds=roles)
                show_json(result.model_dump(mode="json"), lines=None)
            else:
                show(acquired_screen(lease.info, HandedFiles.of(lease.files), lease.warnings))
            require_files(lease, as_json=as_json)
            if lease.info.anchor == "hold":
                _hold(link, lease, signals)
            else:
                show(kept_screen(lease.info), on_stderr=True)


def _hold(link: Link, lease: Lease, signals: int) -> None:
    """Stay until told to end, or until the lease has ended without us."""
    show(Text(f"Holding lease {escape(lease.id)} until Ctrl-C.", style="dim"), on_stderr=True)
    woken = Woken.by_time
    while woken is Woken.by_time and not _has_ended(link, lease):
        woken = wait(signals, lease.files.hold, LOOK_SECONDS)
    if woken is Woken.by_signal:
        # At once or not at all: closing the hold, which comes next, says the same.
        with suppress(ClientError, TimeoutError), _at_once(link) as client:
            client.release(lease.id, lease.secret)
    else:
        show(Text(f"Lease {escape(lease.id)} has ended."), on_stderr=True)


def _at_once(link: Link) -> Client:
    """A connection of its own that waits for nobody: a signal to end may come at any time."""
    return Client.connect(link.socket, timeout=LOOK_SECONDS, reconnect=0)


def _has_ended(link: Link, lease: Lease) -> bool:
    try:
        with _at_once(link) as client:
            return client.lease(lease.id).state != "leased"
    except Refused:
        return True  # it is not known any more
    except (ClientError, TimeoutError):
        return False  # isod is busy, or being restarted; the hold tells if the lease was lost


@click.command("release", epilog=EXIT_CODES)
@click.argument("lease", metavar="LEASE", type=name)
@click.option(
    "--secret",
    type=name,
    metavar="SECRET",
    envvar="ISOD_SECRET",
    show_envvar=True,
    required=True,
    help="What acquire printed. Others can see command lines; the variable they cannot.",
)
@json_option
@click.pass_obj
def release(link: Link, *, lease: str, secret: str, as_json: bool) -> None:
    """End a lease.

    Its devices go back to their drivers as soon as nobody has them open any more.

    \b
    Examples:
      isoctl release L7 --secret 3q2-7w
      ISOD_SECRET=3q2-7w isoctl release L7
    """
    with link.connect(as_json=as_json) as client:
        ended = client.release(lease, secret)
    if as_json:
        show_json(LeaseResult(lease=ended).model_dump(mode="json"))
    else:
        show(released_screen(ended))


@click.command("leases", epilog=EXIT_CODES)
@json_option
@click.pass_obj
def leases(link: Link, *, as_json: bool) -> None:
    """List your leases, with the devices that a draining one still waits for.

    \b
    Examples:
      isoctl leases
      isoctl leases --json | jq -r '.leases[].id'
    """
    with link.connect(as_json=as_json) as client:
        found = list(client.leases())
    if as_json:
        show_json({"leases": [lease.model_dump(mode="json") for lease in found]})
    else:
        show(leases_screen(found, link.now()))
