"""``isoctl explain``: what acquire would do, without doing it."""

from __future__ import annotations

import time
from typing import Literal

import click

from isod.cli.failure import EXIT_CODES, Ended, ExitCode
from isod.cli.link import Link
from isod.cli.output import show, show_json
from isod.cli.screen.explain import explain_screen
from isod.cli.screen.refusal import refusal_screen
from isod.cli.wish import Wish
from isod.model.reply import ExplainResult
from isod.model.step import HandOver

from .options import devices_option, grant_options, json_option


@click.command("explain", epilog=EXIT_CODES)
@devices_option
@grant_options
@json_option
@click.pass_obj
def explain(
    link: Link,
    *,
    devices: tuple[Wish, ...],
    hand_over: HandOver | None,
    container: Literal["ready", "raw"] | None,
    anchor: str | None,
    whole_set: bool,
    wait: float,
    key: str | None,
    as_json: bool,
) -> None:
    """Show what acquire would decide and do now. Nothing is opened or changed.

    \b
    Examples:
      isoctl explain -d 01:00.0
      isoctl explain -d 01:00.0 --hand-over nodes --json
      isoctl explain -d pool:gpus:2
    """
    del wait  # explain tells how things are now
    asked = [wish.model_dump(mode="json", exclude_none=True) for wish in devices]
    params: dict[str, object] = {"devices": asked}
    wishes = {"hand_over": hand_over, "container": container, "anchor": anchor, "key": key}
    for name, value in wishes.items():
        if value is not None:
            params[name] = value
    if whole_set:
        params["reset"] = "whole-set"
    with link.connect(as_json=as_json) as client:
        answer = client.call("lease.explain", params)
    result = ExplainResult.model_validate(answer)
    if as_json:
        show_json(answer)
    elif result.refusal is None:
        show(explain_screen(result))
    else:
        refusal = result.refusal
        screen = refusal_screen(
            refusal["message"], refusal["data"], time.time(), note="Nothing was changed."
        )
        show(screen, on_stderr=True)
    if not result.allowed:
        raise Ended(ExitCode.refused)
