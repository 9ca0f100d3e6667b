"""``isoctl admin`` and ``isoctl quarantine``: for administrators, on their own socket."""

from __future__ import annotations

import click

from isod.cli.failure import EXIT_CODES
from isod.cli.link import Link
from isod.cli.output import show, show_json
from isod.cli.screen.lease import leases_screen
from isod.cli.screen.quarantine import quarantine_screen, reloaded_screen
from isod.client.blocking import Client
from isod.model.address import Address
from isod.model.reply import LeaseInfo, LeasePage, Quarantines, Reloaded

from .options import device_address, json_option
from .revoke import revoke


@click.group("admin", epilog=EXIT_CODES)
def admin() -> None:
    """See and end everybody's leases, and reload the policy. For administrators."""


@admin.command("leases", epilog=EXIT_CODES)
@json_option
@click.pass_obj
def all_leases(link: Link, *, as_json: bool) -> None:
    """List everybody's leases."""
    with link.administrators.connect(as_json=as_json) as client:
        found = _all_leases(client)
    if as_json:
        show_json({"leases": [lease.model_dump(mode="json") for lease in found]})
    else:
        show(leases_screen(found, link.now()))


def _all_leases(client: Client) -> list[LeaseInfo]:
    found: list[LeaseInfo] = []
    after: str | None = None
    while True:
        answer = client.call("admin.leases", {"limit": 100, "after": after})
        page = LeasePage.model_validate(answer)
        found.extend(page.leases)
        after = page.next
        if after is None:
            return found


admin.add_command(revoke)


@admin.command("reload", epilog=EXIT_CODES)
@json_option
@click.pass_obj
def reload(link: Link, *, as_json: bool) -> None:
    """Read the policy anew. On any fault the old one stays, and the faults are listed."""
    with link.administrators.connect(as_json=as_json) as client:
        answer = client.call("admin.reload")
    if as_json:
        show_json(answer)
    else:
        show(reloaded_screen(Reloaded.model_validate(answer)))


@click.group("quarantine", epilog=EXIT_CODES)
def quarantine() -> None:
    """See, set and clear the devices that are given to nobody. For administrators."""


def _quarantines(link: Link, method: str, params: dict[str, object], *, as_json: bool) -> None:
    with link.administrators.connect(as_json=as_json) as client:
        answer = client.call(method, params)
    if as_json:
        show_json(answer)
    else:
        show(quarantine_screen(Quarantines.model_validate(answer)))


@quarantine.command("list", epilog=EXIT_CODES)
@json_option
@click.pass_obj
def list_quarantines(link: Link, *, as_json: bool) -> None:
    """List the devices in quarantine, and why."""
    _quarantines(link, "quarantine.list", {}, as_json=as_json)


@quarantine.command("set", epilog=EXIT_CODES)
@click.argument("device", type=device_address)
@click.argument("why")
@json_option
@click.pass_obj
def set_quarantine(link: Link, *, device: Address, why: str, as_json: bool) -> None:
    """Give DEVICE, and so its group, to nobody any more. A lease that has it keeps it until it
    ends.

    \b
    Example:
      isoctl quarantine set 04:01.0 "firmware under test"
    """
    params: dict[str, object] = {"address": str(device), "why": why}
    _quarantines(link, "quarantine.set", params, as_json=as_json)


@quarantine.command("clear", epilog=EXIT_CODES)
@click.argument("device", type=device_address, required=False)
@click.option(
    "--unknown",
    is_flag=True,
    help="Trust all that are not on record, after the record was lost.",
)
@json_option
@click.pass_obj
def clear_quarantine(link: Link, *, device: Address | None, unknown: bool, as_json: bool) -> None:
    """Trust DEVICE again. When isod has lost its record of what is in quarantine, every device is:
    put back what is known to be sick (isoctl quarantine set), then end that with --unknown.

    \b
    Examples:
      isoctl quarantine clear 04:01.0
      isoctl quarantine clear --unknown
    """
    if (device is None) != unknown:
        raise click.UsageError("name a device, or say --unknown")
    params: dict[str, object] = {"unknown": True} if device is None else {"address": str(device)}
    _quarantines(link, "quarantine.clear", params, as_json=as_json)
