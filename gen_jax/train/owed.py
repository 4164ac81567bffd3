"""What a saved step still owes: a picture or a measurement that was cut off, and is made up for."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from gen_jax.reading import UnfitFileError, read_regular
from gen_jax.train.files import write_atomically

SHOWN = ("draw", "evaluate")
_MOST_BYTES = 1 << 20


class Owed:
    """``owed.json``: what is due beside the training at a step that is being saved, and is not done yet.

    It is written before the save and removed once all is done: whoever restores the step later finds what was cut off.

    Args:
      directory: of the run; None keeps nothing.
    """

    def __init__(self, directory: Path | None):
        self.path = directory / "owed.json" if directory else None

    def note(self, step: int, what: Sequence[str]) -> None:
        """Writes down that a step owes ``what``, of :data:`SHOWN`."""
        if self.path is not None and what and jax.process_index() == 0:
            write_atomically(self.path, json.dumps({"step": step, "owed": list(what)}) + "\n")

    def settled(self) -> None:
        """Nothing is owed any more."""
        if self.path is not None and jax.process_index() == 0:
            self.path.unlink(missing_ok=True)

    def at(self, step: int) -> list[str]:
        """What a step owes that was restored, the same in every process."""
        found = self._read(step) if self.path is not None and jax.process_index() == 0 else []
        if jax.process_count() > 1:
            told = multihost_utils.broadcast_one_to_all(np.array([name in found for name in SHOWN]))
            found = [name for name, owes in zip(SHOWN, told) if owes]
        return found

    def _read(self, step: int) -> list[str]:
        assert self.path is not None
        try:
            noted = json.loads(read_regular(self.path, most=_MOST_BYTES))
            return [name for name in SHOWN if noted["step"] == step and name in noted["owed"]]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, KeyError, RecursionError, UnfitFileError):
            warnings.warn(
                f"{self.path} cannot be read, and is removed: what was cut off is not made up for", stacklevel=2
            )
            self.path.unlink()
            return []
