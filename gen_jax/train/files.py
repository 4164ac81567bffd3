"""Files of a run that a kill, a full disk or a damaged line does not spoil.

A log is a file of rows, one JSON object with a ``step`` a line. A last line without its end was cut off by a kill and
is no row.
"""

import json
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gen_jax.reading import read_regular
from gen_jax.train.room import writing

_MOST_BYTES = 1 << 33  # of a log


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file that is either whole or as it was before.

    Raises:
      OSError: which names the file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path, len(content)):
        try:
            with open(temporary, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Appends a row to a log.

    Raises:
      OSError: which names the file.
    """
    line = json.dumps(row) + "\n"
    with writing(path, len(line)), open(path, "a") as file:
        file.write(line)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a log, none where there is no file; lines that are no rows are left out, with one warning."""
    _, rows, bad = _parsed(path)
    if bad:
        warnings.warn(f"{path}: {bad} of its lines cannot be read and are left out", stacklevel=2)
    return [row for _, row in rows]


def cut_back(path: Path, step: int) -> list[dict[str, Any]]:
    """The rows of a log up to a step, and the log cut back to them.

    It is never there in part, and not written where nothing is to be cut. One with lines that are no rows is kept as it
    was beside the new one, with one warning.

    Raises:
      OSError: if it cannot be read or written.
    """
    content, rows, bad = _parsed(path)
    kept = [(line, row) for line, row in rows if row["step"] <= step]
    if bad:
        copy = path.with_name(f"{path.name}.corrupt")
        write_atomically(copy, content)
        warnings.warn(
            f"{path}: {bad} of its lines cannot be read and are left out; as it was it is {copy}", stacklevel=2
        )
    cut = b"".join(line + b"\n" for line, _ in kept)
    if cut != content:
        write_atomically(path, cut)
    return [row for _, row in kept]


def _parsed(path: Path) -> tuple[bytes, list[tuple[bytes, dict[str, Any]]], int]:
    """The content of a log, its rows with their lines, and how many lines are no rows."""
    content = read_regular(path, most=_MOST_BYTES) if path.exists() else b""
    lines = [line for line in content.split(b"\n")[:-1] if line.strip()]
    rows = [(line, row) for line in lines if (row := _row(line)) is not None]
    return content, rows, len(lines) - len(rows)


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
        return row if math.isfinite(row["step"]) else None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
