"""What is written about the protocol and must not drift from the models: the OpenRPC document, and
the tables of errors and of events in the protocol page. To write all again:

    python -m isod.wire.document
"""

from __future__ import annotations

import json
from pathlib import Path

import isod
from isod.model.method import openrpc
from isod.model.notice import KINDS
from isod.model.reason import Reason

from .jsonrpc import Code

FOLDER = Path(__file__).parent
PAGE = FOLDER / "PROTOCOL.md"
OPENRPC = FOLDER / "openrpc.json"
BEGIN = "<!-- errors: written by python -m isod.wire.document -->\n"
END = "<!-- end of errors -->\n"
BEGIN_EVENTS = "<!-- events: written by python -m isod.wire.document -->\n"
END_EVENTS = "<!-- end of events -->\n"


def openrpc_text() -> str:
    """The OpenRPC document as it is committed."""
    return json.dumps(openrpc(isod.__version__), indent=2, ensure_ascii=False) + "\n"


def error_table() -> str:
    """Every error, in Markdown."""
    rows = ["| code | reason | who can fix it | hint | retry |", "|---|---|---|---|---|"]
    rows += [
        f"| {reason.code} | `{reason.name}` | {reason.fixed_by} | {_cell(reason.hint)}"
        f" | {'yes' if reason.retry else ''} |"
        for reason in sorted(Reason, key=lambda reason: reason.code)
    ]
    rows += ["", "| code | message (errors of JSON-RPC itself: no `reason`) |", "|---|---|"]
    rows += [f"| {int(code)} | {code.message} |" for code in sorted(Code)]
    return "\n".join(rows) + "\n"


def event_table() -> str:
    """Every kind of event, in Markdown."""
    rows = ["| kind | what it says |", "|---|---|"]
    rows += [
        f"| `{name}` | {_cell(kind.sentence.format(lease='L7'))} |" for name, kind in KINDS.items()
    ]
    return "\n".join(rows) + "\n"


def updated(page: str) -> str:
    """The page with the present tables. Raises ValueError when the place of one is missing."""
    page = _with_table(page, BEGIN, error_table(), END)
    return _with_table(page, BEGIN_EVENTS, event_table(), END_EVENTS)


def _with_table(page: str, begin: str, table: str, end: str) -> str:
    before, has_begin, rest = page.partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise ValueError(f"the page has no place for a table: {begin.strip()}")
    return f"{before}{begin}{table}{end}{after}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    OPENRPC.write_text(openrpc_text(), encoding="utf-8")
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
