"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from isod.model.address import Address, BadAddressError

Command = TypeVar("Command", bound=Callable[..., Any])

HAND_OVERS = ("iommufd", "group", "nodes")


def device_address(text: str) -> Address:
    """``pci:0000:01:00.0``, or short: ``0000:01:00.0``, ``01:00.0``."""
    try:
        return Address.parse(text)
    except BadAddressError as error:
        raise click.BadParameter(f"{error}; write pci:0000:01:00.0, or 01:00.0") from error


def name(text: str) -> str:
    """A lease, a key or a secret: as long as the protocol allows."""
    if not 1 <= len(text) <= 128:
        raise click.BadParameter("it has 1 to 128 characters")
    return text


def json_option(command: Command) -> Command:
    """``--json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Answer in JSON on stdout, errors included."
    )(command)


def devices_option(command: Command) -> Command:
    """``-d DEVICE``, once or more, each device once."""
    return click.option(
        "-d",
        "--device",
        "devices",
        metavar="DEVICE",
        type=device_address,
        multiple=True,
        required=True,
        callback=_each_once,
        help="A device to ask for, such as 01:00.0; may be given again.",
    )(command)


def grant_options(command: Command) -> Command:
    """How devices are to be handed over."""
    for option in (
        click.option(
            "--key",
            type=name,
            metavar="KEY",
            help="Ask again with the same KEY to get the same lease.",
        ),
        click.option(
            "--whole-set",
            is_flag=True,
            help="Take everything that a hot reset of the devices would hit, too.",
        ),
        click.option(
            "--wait",
            type=click.FloatRange(0, 3600),
            default=0.0,
            metavar="SECONDS",
            help="Wait so long for devices that others have; first come, first served.",
        ),
        click.option(
            "--container",
            type=click.Choice(["ready", "raw"]),
            help="For group: whether isod sets up container and IOMMU.  [default: ready]",
        ),
        click.option(
            "--hand-over",
            type=click.Choice(HAND_OVERS),
            help="How to get the devices.  [default: the first that the rule allows]",
        ),
    ):
        command = option(command)
    return command


def _each_once(
    context: click.Context, parameter: click.Parameter, devices: tuple[Address, ...]
) -> tuple[Address, ...]:
    for device in devices:
        if devices.count(device) > 1:
            raise click.BadParameter(f"{device} is given twice", context, parameter)
    return devices
