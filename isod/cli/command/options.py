"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from isod.cli.wish import Wish
from isod.model.address import Address, BadAddressError
from isod.model.request import WantedPool, parse_wanted

Command = TypeVar("Command", bound=Callable[..., Any])

_NODE = "isod.numa"
HAND_OVERS = ("iommufd", "group", "nodes")


def device_address(text: str) -> Address:
    """``pci:0000:01:00.0``, or short: ``0000:01:00.0``, ``01:00.0``."""
    try:
        return Address.parse(text)
    except BadAddressError as error:
        raise click.BadParameter(f"{error}; write pci:0000:01:00.0, or 01:00.0") from error


def wanted(text: str) -> Wish:
    """A device's address, or ``pool:NAME``, or ``pool:NAME:COUNT``."""
    try:
        return parse_wanted(text)
    except BadAddressError as error:
        raise click.BadParameter(f"{error}; write 01:00.0, or pool:NAME") from error
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


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
    """``-d DEVICE``, once or more, each device once; ``--numa`` for those out of pools."""
    command = click.option(
        "--numa",
        type=click.IntRange(0, 1 << 20),
        metavar="NODE",
        is_eager=True,
        expose_value=False,
        callback=_remember_node,
        help="Out of pools, take what is near to this NUMA node.  "
        "[default: near to the other devices]",
    )(command)
    return click.option(
        "-d",
        "--device",
        "devices",
        metavar="DEVICE",
        type=wanted,
        multiple=True,
        required=True,
        callback=_each_once,
        help="A device to ask for, such as 01:00.0, or pool:NAME for one out of a pool of the "
        "policy, pool:NAME:2 for two; may be given again.",
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
            "--anchor",
            type=click.Choice(["hold", "cgroup", "explicit"]),
            help="What the lease lives as long as: its files, your cgroup, or until it is released."
            "  [default: the first that the rule allows]",
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
    context: click.Context, parameter: click.Parameter, wishes: tuple[Wish, ...]
) -> tuple[Wish, ...]:
    node = context.meta.get(_NODE)
    found: list[Wish] = []
    for wish in wishes:
        if isinstance(wish, WantedPool):
            found.append(wish.model_copy(update={"numa": node}))
            continue
        if wish in found:
            raise click.BadParameter(f"{wish.address} is given twice", context, parameter)
        found.append(wish)
    if node is not None and not any(isinstance(wish, WantedPool) for wish in found):
        raise click.BadParameter("--numa goes with -d pool:NAME", context, parameter)
    return tuple(found)


def _remember_node(context: click.Context, parameter: click.Parameter, node: int | None) -> None:
    context.meta[_NODE] = node
