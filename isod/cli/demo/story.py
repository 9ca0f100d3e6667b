"""The story in four acts. Every sentence that claims something is checked."""

from __future__ import annotations

import subprocess
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from isod.cli.failure import ExitCode
from isod.cli.screen.terminal import WIDTH
from isod.client.blocking import Client
from isod.model.address import Address
from isod.model.reply import DeviceInfo

from .borrower import Borrower, borrowing, isoctl_command
from .stage import COMMAND_SECONDS, Stage, StageError, until

RESTORE_SECONDS = 10.0
_TOLD = ("Shares its group", "Isolation", "Peer to peer")
_MEANING = {
    "hold": "the lease lasts as long as a copy of it is open",
    "iommufd": "says which memory the device may reach",
    "container": "says which memory the device may reach",
}


@dataclass(slots=True)
class Story:
    """Tells, and keeps count of what turned out not to be true."""

    stage: Stage
    say: Callable[[str], None]
    checked: int = 0
    wrong: list[str] = field(default_factory=list)

    def tell(self) -> None:
        """All acts, in order."""
        with Client.connect(self.stage.socket) as isod:
            one, other = _two_functions(isod.devices())
            before = _drivers(isod, (one, other))
            self._machine(isod, one, other)
            with borrowing(self.stage, one) as program:
                self._borrow(isod, program, one, other)
                self._refuse(other)
                self._return(isod, program, (one, other), before)

    def _machine(self, isod: Client, one: Address, other: Address) -> None:
        self._narrate(
            "1. The machine.  Devices under one number (see └) cannot be kept apart: with the one "
            "you reach the other's memory. Such a group has one owner, or none."
        )
        listing = self._listing()
        self._check("both functions of the network card are there", one.name in listing)
        self._check("neither is borrowed", "leased" not in listing and other.name in listing)
        self._isolation(isod, one, other)

    def _isolation(self, isod: Client, one: Address, other: Address) -> None:
        """Why the two go together, as config space has it."""
        shown = _run(isoctl_command(self.stage, self.stage.uid, "show", one.short)).stdout
        told = [line for line in shown.splitlines() if line.strip().startswith(_TOLD)]
        self.say("\n".join(["", f"   $ isoctl show {one.short}", *(f"   {line}" for line in told)]))
        reached = [c.reached for c in isod.isolation(one).companions if c.address == other]
        self._check(f"DMA of {one.short} reaches {other.short}", reached == ["yes"])

    def _borrow(self, isod: Client, program: Borrower, one: Address, other: Address) -> None:
        self._narrate(
            "2. A program that is not root borrows one of the card's two functions.  isod takes it "
            "from its driver and opens it; the program gets open file descriptors."
        )
        self.say(f"   $ isoctl exec -d {one.short} -- program")
        found = program.open_files()
        for name, number in program.files.items():
            target = PurePath(found.get(number, "nothing")).name
            meaning = _MEANING.get(name, "the device itself")
            self.say(f"       fd {number}  {target:24}  {name}: {meaning}")
        self.say("")
        self.say(_indented(self._listing(only=(one, other))))
        self._check(f"the program runs as uid {program.uid()}", program.uid() == self.stage.uid)
        self._check("it has exactly these files", set(found) == set(program.files.values()))
        self._check("it got the device itself", str(one) in program.files)
        self._check("and no way to isod's socket", "socket:" not in "".join(found.values()))
        states = {device.address: device.state for device in isod.devices()}
        self._check(f"{one.short} is leased", states[one] == "leased")
        self._check(
            f"{other.short} went along: nobody asked for it, so it is parked",
            states[other] == "parked" and str(other) not in program.files,
        )

    def _refuse(self, other: Address) -> None:
        self._narrate(
            "3. A second program asks for the other function, and is refused with the reason."
        )
        self.say(f"   $ isoctl acquire -d {other.short}")
        asked = _run(isoctl_command(self.stage, self.stage.other_uid, "acquire", "-d", other.short))
        self.say(_indented(asked.stderr))
        self._check("it was refused", asked.returncode == ExitCode.refused)
        self._check("because the group is in use", "group_busy" in asked.stderr)

    def _return(
        self,
        isod: Client,
        program: Borrower,
        card: tuple[Address, Address],
        before: Sequence[str | None],
    ) -> None:
        self._narrate(
            "4. The first program ends, without a word to isod.  isod notices, waits until nothing "
            "is open any more, and gives both functions back to their driver."
        )
        ended = time.monotonic()
        program.finish()
        back = until(lambda: not isod.leases() and _drivers(isod, card) == before, RESTORE_SECONDS)
        waited = round((time.monotonic() - ended) * 1000)
        self.say(_indented(self._listing(only=card)))
        self._check(f"both are back with {before[0]}, after {waited} ms", back)
        self._check("nothing is borrowed any more", not isod.leases())

    def _narrate(self, text: str) -> None:
        self.say("\n" + textwrap.fill(text, WIDTH, subsequent_indent="   ") + "\n")

    def _listing(self, only: Sequence[Address] = ()) -> str:
        """What ``isoctl ls`` shows, or its lines on some devices."""
        said = _run(isoctl_command(self.stage, self.stage.uid, "ls")).stdout
        if not only:
            self.say("   $ isoctl ls\n" + _indented(said))
            return said
        head, *lines = said.splitlines()
        wanted = [line for line in lines if any(address.name in line for address in only)]
        return "\n".join(["$ isoctl ls", head, *wanted])

    def _check(self, claim: str, true: bool) -> None:
        self.checked += 1
        self.say(f"   {'ok ' if true else 'NOT TRUE: '} {claim}")
        if not true:
            self.wrong.append(claim)


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )


def _two_functions(devices: Sequence[DeviceInfo]) -> tuple[Address, Address]:
    """The functions of the one network card that has two."""
    cards: dict[str, list[Address]] = {}
    for device in devices:
        if device.device_class.startswith("0200") and device.group is not None:
            cards.setdefault(device.address.pci_slot, []).append(device.address)
    for functions in cards.values():
        if len(functions) == 2:
            one, other = sorted(functions)
            return one, other
    raise StageError("the simulated machine has no network card of two functions")


def _drivers(isod: Client, addresses: Sequence[Address]) -> list[str | None]:
    drivers = {device.address: device.driver for device in isod.devices()}
    return [drivers.get(address) for address in addresses]


def _indented(text: str) -> str:
    return textwrap.indent(text.rstrip("\n"), "   ")
