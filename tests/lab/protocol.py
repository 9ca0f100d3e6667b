"""What guest and host say to each other: JSON objects, one per line, over a virtio serial port.

The host writes a *task* file before the boot. The guest sends events:

| event | fields | when |
|---|---|---|
| ready | release | the agent runs and has its modules |
| beat | | now and then, while all processors are alive |
| start | test | a test begins |
| report | test, report | one phase of it, as pytest serializes it |
| done | test | nothing more comes of it |
| trouble | text | something failed that is no single test: a collection error, a crash |
| finished | status | pytest ended; the guest powers off |
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PORT_NAME = "isod.lab"
GUEST_VARIABLE = "ISOD_LAB_GUEST"

Event = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A pytest selection for a guest, by exact node ids. *variables* are for its environment."""

    guest: str
    tests: list[str]
    files: list[str]
    options: list[str]
    cache: str
    variables: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "Task":
        return cls(**json.loads(path.read_text()))


def encode(event: Event) -> bytes:
    # A report may carry whatever a test put into it; its text is better than no report.
    return json.dumps(event, default=str).encode() + b"\n"


def decode(line: bytes) -> Event:
    event = json.loads(line)
    if not isinstance(event, dict) or "event" not in event:
        raise ValueError(f"not an event of the lab: {line[:80]!r}")
    return event
