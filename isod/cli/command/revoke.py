"""``isoctl admin revoke``: take a lease back, and wait until it is over."""

from __future__ import annotations

import sys
import time

import click

from isod.cli.failure import EXIT_CODES
from isod.cli.link import Link
from isod.cli.output import show, show_json
from isod.cli.screen.revoke import over_screen, progress_words, revoked_screen
from isod.client.blocking import Client
from isod.client.errors import Refused
from isod.model.reason import Reason
from isod.model.reply import LeaseInfo, LeaseResult, RevokeResult

from .options import json_option, name

_LOOK_SECONDS = 0.5


@click.command("revoke", epilog=EXIT_CODES)
@click.argument("lease", metavar="LEASE", type=name)
@click.option("--now", "at_once", is_flag=True, help="Do not ask its owner first.")
@click.option("--wait", is_flag=True, help="Wait until the lease is over.")
@json_option
@click.pass_obj
def revoke(link: Link, *, lease: str, at_once: bool, wait: bool, as_json: bool) -> None:
    """Take a lease back, as its rule says.

    Its owner is asked to let go. After the time that the rule gives it, rights on nodes and raised
    limits are taken away; what is open then is waited for, or its owner is ended.

    \b
    Examples:
      isoctl admin revoke L7               ask, and say until when
      isoctl admin revoke L7 --wait        and wait until its devices are free
      isoctl admin revoke L7 --now         without asking
    """
    with link.administrators.connect(as_json=as_json) as client:
        answer = client.call("admin.revoke", {"lease": lease, "now": at_once})
        result = RevokeResult.model_validate(answer)
        if not as_json:
            show(revoked_screen(result, link.now()))
        if wait:
            _wait(client, link, result.lease, quiet=as_json)
    if as_json:
        assert isinstance(answer, dict)
        show_json({**answer, "over": wait})
    elif wait:
        show(over_screen(lease))


def _wait(client: Client, link: Link, lease: LeaseInfo, *, quiet: bool) -> None:
    """Look until the lease is over; on a terminal one line says how it stands."""
    shown = 0
    live = sys.stderr.isatty() and not quiet
    while True:
        try:
            answer = client.call("lease.get", {"lease": lease.id})
        except Refused as error:
            if error.reason is not Reason.not_found:
                raise
            break
        if live:
            words = progress_words(LeaseResult.model_validate(answer).lease, link.now())
            click.echo(f"\r{words.ljust(shown)}", nl=False, err=True)
            shown = len(words)
        time.sleep(_LOOK_SECONDS)
    if live:
        click.echo(f"\r{' ' * shown}\r", nl=False, err=True)
