"""What the daemon says in a soak: every line is judged, and few are kept."""

from __future__ import annotations

from collections import Counter

# Nothing that clients do may come to this.
TROUBLE = ("Traceback", "Error:", "device.stranded", "device.quarantined", "which nobody knows")
_KEPT = 1000


class Reader:
    """Reads along. ``kinds`` counts the lines by the kind of their record."""

    def __init__(self, log: list[str]) -> None:
        self._log = log
        self._judged = 0
        self.kinds: Counter[str] = Counter()

    def judge(self) -> None:
        """Judge what is new, and drop what is old from the log, which its daemon goes on with at
        its end. Raises AssertionError with the lines around one that should not be there."""
        end = len(self._log)
        for number in range(self._judged, end):
            line = self._log[number]
            self.kinds[_kind(line)] += 1
            if any(word in line for word in TROUBLE):
                raise AssertionError("\n".join(self._log[max(0, number - 30) : number + 30]))
        dropped = max(0, end - _KEPT)
        del self._log[:dropped]
        self._judged = end - dropped


def _kind(line: str) -> str:
    """``isod: KIND: words``; lines of another form are all of one kind."""
    parts = line.split(": ", 2)
    return parts[1] if len(parts) == 3 and parts[0] == "isod" else "no record"
