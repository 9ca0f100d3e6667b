"""``isoctl watch``: what happens, line by line, as it happens."""

from __future__ import annotations

import select
from contextlib import suppress

import click
from rich.text import Text

from isod.cli.failure import EXIT_CODES
from isod.cli.holding import ToldToEnd, ending_signals, interruptible
from isod.cli.link import Link
from isod.cli.output import show, show_json
from isod.cli.screen.event import event_line
from isod.cli.screen.terminal import escape
from isod.client.blocking import Client, Events
from isod.client.errors import ConnectionLost, EventsLost
from isod.client.reconnection import SECONDS
from isod.model.notice import GAP, Notice
from isod.model.request import FAMILIES, Family

from .options import json_option


def families(text: str) -> tuple[Family, ...]:
    """``lease,device``."""
    words = [word.strip() for word in text.split(",")]
    found = tuple(family for family in FAMILIES if family in words)
    if len(found) != len(set(words)):
        raise click.BadParameter(f"kinds are {', '.join(FAMILIES)}, with commas between")
    return found


@click.command("watch", epilog=EXIT_CODES)
@click.option(
    "--kinds",
    type=families,
    default=",".join(FAMILIES),
    show_default=True,
    metavar="KINDS",
    help="Events of these kinds.",
)
@click.option(
    "--since",
    type=click.IntRange(min=0),
    metavar="SEQ",
    help="Begin after the event of that seq (see --json), with what was missed.",
)
@click.option(
    "--reconnect",
    type=click.FloatRange(min=0),
    default=SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for isod when it was ended, as by a restart.",
)
@click.option("--everybody", is_flag=True, help="Everybody's leases, not yours alone. For root.")
@json_option
@click.pass_obj
def watch(
    link: Link,
    *,
    kinds: tuple[Family, ...],
    since: int | None,
    reconnect: float,
    everybody: bool,
    as_json: bool,
) -> None:
    """Tell what happens to leases, devices and policy, a line for each event.

    Ends on Ctrl-C or SIGTERM (exit code 0), and when isod ends and does not come back (exit code
    4). Where events had to be left out, as by a restart, it says so, and goes on.

    \b
    Examples:
      isoctl watch
      isoctl watch --kinds lease --json | jq -r 'select(.kind == "lease.revoking") | .lease'
      isoctl watch --json --since 1760000000000077
    """
    way = link.administrators if everybody else link
    connection = way.connect(as_json=as_json, reconnect=reconnect, on_lost=_tell_end)
    with connection as client, ending_signals() as signals, suppress(ToldToEnd):
        # Left without events.unsubscribe: the end of the connection says the same, at once.
        while True:
            with interruptible(signals):
                events = client.events(kinds, since)
            if since is None:
                show(Text("Watching until Ctrl-C.", style="dim"), on_stderr=True)
            try:
                while _wait(signals, client):
                    with interruptible(signals):
                        event = next(events)
                    _tell(event, whose=everybody, as_json=as_json)
            except EventsLost as lost:
                since = lost.seq
                _tell_loss(events, lost, as_json=as_json)
            else:
                return


def _wait(signals: int, client: Client) -> bool:
    """Wait for the next event, or for the connection's end; False if told to end."""
    poll = select.poll()
    for descriptor in (signals, client.fileno()):
        poll.register(descriptor, select.POLLIN)
    return signals not in {descriptor for descriptor, _ in poll.poll()}


def _tell(event: Notice, *, whose: bool, as_json: bool) -> None:
    if as_json:
        show_json(event.model_dump(mode="json", exclude_defaults=True), lines=None)
    else:
        show(event_line(event, whose=whose))


def _tell_end(lost: ConnectionLost) -> None:
    show(Text(escape(f"{lost}; connecting again."), style="yellow"), on_stderr=True)


def _tell_loss(events: Events, lost: EventsLost, *, as_json: bool) -> None:
    """Programs are told on the same stream, where nothing can come between."""
    rest = "they are gone" if lost.gone else "what can still be had follows"
    if as_json:
        gap = Notice(
            subscription=events.subscription, seq=lost.seq, kind=GAP, note=str(lost), lost=lost.gone
        )
        _tell(gap, whose=False, as_json=True)
    else:
        show(Text(escape(f"{lost}; {rest}."), style="yellow"), on_stderr=True)
