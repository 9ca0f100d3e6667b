"""``isoctl log``: what isod put on record, from the system's journal."""

from __future__ import annotations

import pwd
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from isod.cli.failure import EXIT_CODES, Ended, ExitCode
from isod.cli.journal_records import IDENTIFIER, Wanted, records
from isod.cli.output import show_json
from isod.cli.screen.terminal import escape
from isod.model.address import Address

from .options import device_address, json_option, name

_DURATION = re.compile(r"(\d+)(s|min|h|d)")
_UNIT = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days"}


def since(text: str) -> datetime:
    """``90s``, ``30min``, ``2h``, ``7d`` ago, or ``2026-01-31`` with or without ``T12:00``."""
    found = _DURATION.fullmatch(text)
    if found is not None:
        ago = timedelta(**{_UNIT[found[2]]: int(found[1])})
        return datetime.now().astimezone() - ago
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise click.BadParameter("write 90s, 30min, 2h, 7d, or a date such as 2026-01-31") from None


def user(text: str) -> int:
    """A user's name or number."""
    if text.isascii() and text.isdecimal():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise click.BadParameter(f"there is no user {text}") from None


@click.command("log", epilog=EXIT_CODES)
@click.option("--lease", type=name, metavar="LEASE", help="Records of one lease.")
@click.option(
    "-d", "--device", type=device_address, metavar="DEVICE", help="Records that name a device."
)
@click.option("--user", "uid", type=user, metavar="USER", help="Records of a user's requests.")
@click.option("--kind", metavar="KIND", help="Of a kind (lease.refused) or family (lease).")
@click.option("--since", type=since, metavar="TIME", help="From then on, such as 2h.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Read journal files of another machine.",
)
@json_option
def log(
    *,
    lease: str | None,
    device: Address | None,
    uid: int | None,
    kind: str | None,
    since: datetime | None,
    follow: bool,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Show what isod decided and did: grants, refusals, releases, quarantines.

    Reads the system's journal, without the daemon; that takes root or the group systemd-journal.
    JSON is one object a line.

    \b
    Examples:
      isoctl log --lease L7
      isoctl log --device 01:00.0 --since 7d
      isoctl log --user alice --kind lease.refused --json
    """
    wanted = Wanted(lease, device, uid, kind)
    entries = _entries(directory, since, follow=follow)
    try:
        for record in records(entries, wanted):
            if as_json:
                show_json(record.as_json(), lines=None)
            else:
                when = record.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
                click.echo(f"{when}  {escape(record.kind):<20} {escape(record.message)}")
    except KeyboardInterrupt:
        raise Ended(ExitCode.ok) from None


def _entries(
    directory: Path | None, begin: datetime | None, *, follow: bool
) -> Iterator[Mapping[str, Any]]:
    """The journal's entries under our identifier, oldest first."""
    from systemd import journal  # type: ignore[attr-defined]  # noqa: PLC0415 - slow to load

    try:
        reader = journal.Reader(path=str(directory)) if directory else journal.Reader()
    except OSError as error:
        raise click.ClickException(f"the journal cannot be read: {error.strerror}") from error
    with reader:
        reader.add_match(SYSLOG_IDENTIFIER=IDENTIFIER)
        if begin is not None:
            reader.seek_realtime(begin)
        else:
            reader.seek_head()
        while True:
            yield from reader
            if not follow:
                return
            reader.wait()
