"""Files of a run that a kill, a full disk or a damaged line does not spoil."""

import os
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Writes a file that is either whole or not there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
