"""Reading rows back: what can be read, and what cannot, of which nothing may be guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row that cannot be read: its name, its text, and what is wrong with it."""

    name: str
    body: str
    why: str


def read_rows(
    rows: Iterable[tuple[Any, Any]], adapter: TypeAdapter[Row], name_of: Callable[[Row], str]
) -> tuple[tuple[Row, ...], tuple[UnreadableRow, ...]]:
    """Rows of a name and a body in JSON; ``name_of`` says what a body's row is called."""
    found: list[Row] = []
    unreadable: list[UnreadableRow] = []
    for name, body in rows:
        try:
            row = adapter.validate_json(body)
            if name_of(row) != name:
                raise ValueError(f"it is the row of {name_of(row)}")
            found.append(row)
        except (ValidationError, ValueError) as error:
            text = body if isinstance(body, str) else repr(body)
            unreadable.append(UnreadableRow(str(name), text, str(error).partition("\n")[0]))
    return tuple(found), tuple(unreadable)
