"""``isoctl call``: any method, for trying the protocol out."""

from __future__ import annotations

import json
import sys

import click
from rich.text import Text

from isod.cli.failure import EXIT_CODES
from isod.cli.link import Link
from isod.cli.output import show, show_json

from .options import json_option


def json_object(text: str) -> dict[str, object]:
    """Parameters are named: an object. ``-`` reads it from stdin."""
    try:
        found = json.loads(sys.stdin.read() if text == "-" else text)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise click.BadParameter("parameters are named: write an object")
    return found


@click.command("call", epilog=EXIT_CODES)
@click.argument("method")
@click.argument("params", metavar="[JSON]", type=json_object, default="{}")
@json_option
@click.pass_obj
def call(link: Link, *, method: str, params: dict[str, object], as_json: bool) -> None:
    """Call any method of the protocol.

    Prints its result, which is JSON.

    With --json it comes on one line, and so does an error. File descriptors that come with a
    reply are closed: a lease acquired in this way ends at once.

    \b
    Examples:
      isoctl call host.info
      isoctl call lease.get '{"lease": "L7"}'
      isoctl call rpc.discover | jq -r '.methods[].name'
    """
    with link.connect(as_json=as_json) as client:
        result = client.call(method, params)
    show_json(result, lines=None if as_json else 2)
    files = result.get("fds") if isinstance(result, dict) else None
    if isinstance(files, list) and files:
        show(Text(f"{len(files)} files came along and were closed."), on_stderr=True)
