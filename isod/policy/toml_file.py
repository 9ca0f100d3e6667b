"""TOML files that somebody wrote, read whole; any fault is one error with its words.

``tomllib`` lets more escape than its own error: a number of thousands of digits is a bare
ValueError, and arrays in arrays in arrays a RecursionError (3.11 to 3.13).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

_LARGEST = 1 << 20


class TomlError(Exception):
    """The file cannot be used; the text says why, and does not name the file."""


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a file of at most 1 MiB (blocking). Raises TomlError and nothing else."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise TomlError("is larger than 1 MiB")
        return tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise TomlError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TomlError("is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise TomlError(str(error)) from error
    except ValueError as error:
        raise TomlError("holds a number that is too large") from error
    except RecursionError as error:
        raise TomlError("is nested too deeply") from error
