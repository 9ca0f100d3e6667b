"""``isoctl ls`` and ``isoctl show``: look, and change nothing."""

from __future__ import annotations

import click

from isod.cli.failure import EXIT_CODES
from isod.cli.link import Link, fail
from isod.cli.output import show, show_json
from isod.cli.pci_names import machine_names
from isod.cli.screen.device import device_screen
from isod.cli.screen.listing import listing_rows, listing_screen, needs_words
from isod.cli.screen.quarantine import unknown_words
from isod.model.address import Address

from .options import device_address, json_option


@click.command("ls", epilog=EXIT_CODES)
@click.option("--all", "everything", is_flag=True, help="Show bridges, too.")
@json_option
@click.pass_obj
def list_devices(link: Link, *, everything: bool, as_json: bool) -> None:
    """List the devices of this machine by IOMMU group.

    Devices of one group cannot be kept apart, so they go to one owner together. A device below
    another with a └ belongs to the same group. STATE says who has it, or what is in the way.

    \b
    Examples:
      isoctl ls
      isoctl ls --json | jq '.groups[] | select(.state == "free")'
    """
    with link.connect(as_json=as_json) as client:
        devices, groups = list(client.devices()), list(client.groups())
        info = client.info()
    needs, unknown = info.needs, info.quarantine
    if as_json:
        show_json(
            {
                "groups": [group.model_dump(mode="json", by_alias=True) for group in groups],
                "devices": [device.model_dump(mode="json", by_alias=True) for device in devices],
                "needs": None if needs is None else needs.model_dump(mode="json"),
                "quarantine": unknown,
            }
        )
        return
    rows = listing_rows(devices, groups, machine_names(devices), link.now(), bridges=everything)
    notes = [None if unknown is None else unknown_words(unknown), needs_words(needs, devices)]
    note = "\n".join(text for text in notes if text is not None) or None
    show(listing_screen(rows, hidden=len(devices) - len(rows), note=note))


@click.command("show", epilog=EXIT_CODES)
@click.argument("address", metavar="ADDRESS", type=device_address)
@json_option
@click.pass_obj
def show_device(link: Link, *, address: Address, as_json: bool) -> None:
    """Tell where a device sits and who has it.

    Its group, its driver, how it can be reset, and what is in the way of borrowing it.

    \b
    Examples:
      isoctl show 0000:04:02.0
      isoctl show 04:02.0 --json
    """
    with link.connect(as_json=as_json) as client:
        devices = {device.address: device for device in client.devices()}
        groups = {group.number: group for group in client.groups()}
        device = devices.get(address)
        reset = None if device is None else client.reset_set(address)
        isolation = None if device is None else client.isolation(address)
    if device is None:
        fail(f"there is no device {address}; isoctl ls shows what there is", as_json=as_json)
    group = None if device.group is None else groups.get(device.group)
    if as_json:
        show_json(
            {
                "device": device.model_dump(mode="json", by_alias=True),
                "group": None if group is None else group.model_dump(mode="json", by_alias=True),
                "isolation": None if isolation is None else isolation.model_dump(mode="json"),
                "reset_set": None if reset is None else reset.model_dump(mode="json"),
            }
        )
        return
    names = machine_names([device])
    show(device_screen(device, group, devices, names, link.now(), reset, isolation))
