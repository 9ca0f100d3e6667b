"""What is written about the protocol and must not drift from the models: the OpenRPC document, and
the table of errors in the protocol page. To write both again:

    python -m isod.wire.document
"""

from __future__ import annotations

import json
from pathlib import Path

import isod
from isod.model.method import openrpc
from isod.model.reason import Reason

from .jsonrpc import Code

FOLDER = Path(__file__).parent
PAGE = FOLDER / "PROTOCOL.md"
OPENRPC = FOLDER / "openrpc.json"
BEGIN = "<!-- errors: written by python -m isod.wire.document -->\n"
END = "<!-- end of errors -->\n"


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


def updated(page: str) -> str:
    """The page with the present table of errors. Raises ValueError when its place is missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no place for the table of errors")
    return f"{before}{BEGIN}{error_table()}{END}{after}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    OPENRPC.write_text(openrpc_text(), encoding="utf-8")
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
