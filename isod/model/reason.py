"""Every reason for which isod refuses, in one closed list.

A refusal says what blocks (message), who can fix it and how (hint), and whether trying again can
help. The numbers are part of the protocol: they never change and are never used again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class _Meaning:
    code: int
    fixed_by: str
    hint: str
    retry: bool = False


class Reason(Enum):
    """An application error: positive code, who may fix it, and the hint shown with it."""

    group_busy = _Meaning(1001, "the holder", "try again when it is free", retry=True)
    denied = _Meaning(1002, "an administrator", "a policy rule must allow this device for you")
    held_outside = _Meaning(
        1003,
        "whoever runs the other program",
        "a program outside isod has the group open; end it first",
        retry=True,
    )
    not_viable = _Meaning(
        1004,
        "an administrator",
        "list the driver that keeps the group in take_from of the rule, or unbind it",
    )
    no_isolated_msi = _Meaning(
        1005,
        "an administrator",
        "turn on interrupt remapping in the firmware and on the kernel's command line",
    )
    firmware_mapping = _Meaning(
        1006,
        "nobody on this machine",
        "use another device, or firmware that asks for no 1:1 mapping (RMRR) for this one",
    )
    host_critical = _Meaning(
        1007,
        "an administrator",
        "free it of its use, or list its exact address in critical_ok of the rule",
    )
    in_use_by_driver = _Meaning(
        1008,
        "an administrator",
        "name its exact address in the rule, or its driver in the rule's take_from",
    )
    quarantined = _Meaning(
        1009, "an administrator", "look into the reason, then: isoctl quarantine clear"
    )
    reset_domain_shared = _Meaning(
        1010,
        "the other owner",
        "wait for the other lease to end, or ask for devices that are reset alone",
        retry=True,
    )
    terms = _Meaning(1011, "you", "ask within the terms of the rule")
    terms_conflict = _Meaning(
        1012,
        "an administrator",
        "ask for the devices one by one, or give their rules a term in common",
    )
    quota = _Meaning(1013, "you", "release something first", retry=True)
    unsupported = _Meaning(
        1014, "an administrator", "ask for what host.info offers, or boot a kernel that has it"
    )
    gone = _Meaning(1015, "you", "look again (isoctl ls): what was named is not there any more")
    kernel = _Meaning(
        1016, "an administrator", "look into the kernel's log for the device, then ask again"
    )
    not_found = _Meaning(1017, "you", "isoctl ls shows what there is")
    not_yours = _Meaning(1018, "you", "give the lease's secret")
    in_use = _Meaning(1019, "you", "close what was handed over before, then ask again", retry=True)
    expired = _Meaning(1020, "you", "start the listing again")
    policy_invalid = _Meaning(
        1021,
        "an administrator",
        "correct the files (isoctl policy check), then: isoctl admin reload",
    )
    stopping = _Meaning(1022, "nobody", "isod is stopping; reconnect and ask again", retry=True)

    @property
    def code(self) -> int:
        return self.value.code

    @property
    def hint(self) -> str:
        return self.value.hint

    @property
    def fixed_by(self) -> str:
        return self.value.fixed_by

    @property
    def retry(self) -> bool:
        return self.value.retry


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal with its details, ready to be sent.

    ``message`` is one sentence. ``details`` holds what the reply's ``data`` carries besides the
    reason: ``devices``, ``holder``, ``errno``, ``step``, ``undone``, ``rule``, ``term``,
    ``uses``. ``hint``, ``fixed_by`` and ``retry`` are the reason's own unless the refusal knows
    better.
    """

    reason: Reason
    message: str
    details: Mapping[str, object]
    hint: str | None = None
    fixed_by: str | None = None
    retry: bool | None = None

    @property
    def may_pass(self) -> bool:
        """Whether trying again later can help."""
        return self.reason.retry if self.retry is None else self.retry


class RefusedError(Exception):
    """Raised on the way to a decision; carries the Refusal that the client is sent."""

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        hint: str | None = None,
        fixed_by: str | None = None,
        retry: bool | None = None,
        **details: object,
    ) -> None:
        super().__init__(message)
        self.refusal = Refusal(reason, message, details, hint, fixed_by, retry)
