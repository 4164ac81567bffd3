"""Named arrays in files of safetensors: the one place that opens them."""

import os
from collections.abc import Mapping

import numpy as np
import safetensors
import safetensors.numpy

from gen_jax.data import DataError
from gen_jax.reading import open_regular, said, size_of

_MOST_BYTES = 1 << 33
_HEADER_BYTES = 1 << 24  # of names, types and places
_TYPES = {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64"}  # that numpy has


def write_tensors(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes arrays by name, and texts beside them.

    Raises:
      OSError: which names the file.
    """
    try:
        safetensors.numpy.save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path, dict(metadata))
    except safetensors.SafetensorError as error:  # what the system says is in its words
        raise OSError(f"writing {path} failed: {said(error)}") from error


def read_tensors(path: str | os.PathLike[str], expected: str) -> tuple[dict[str, np.ndarray], Mapping[str, str]]:
    """Arrays by name, and the texts beside them.

    Args:
      path: of a file of safetensors.
      expected: what they should be, for the message of an error.

    Raises:
      DataError: one line, if it is none; a file that is missing, too.
    """
    try:
        with open_regular(path, most=_MOST_BYTES) as file:
            length, size = int.from_bytes(file.read(8), "little"), size_of(file)
        if length + 8 > size:
            raise ValueError("it is no whole file of safetensors")
        if length > _HEADER_BYTES:
            raise ValueError(f"its header would have {length:,} bytes, {_HEADER_BYTES:,} may be")
        with safetensors.safe_open(path, framework="numpy") as opened:
            names = opened.keys()
            for name in names:
                kind = opened.get_slice(name).get_dtype()
                if kind not in _TYPES:
                    raise ValueError(f"{name[:80]!r} has numbers of type {kind}; save them as F32")
            return {name: opened.get_tensor(name) for name in names}, opened.metadata() or {}
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise DataError(f"{path}: expected {expected}, cannot read them ({said(error)})") from None
