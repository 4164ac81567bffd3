"""Data: one function, :func:`load`, from a name or a path to a :class:`Source` of checked 8-bit images;
batches whose position is a pure function of the step; and one function each way between 8-bit images and
floats in [-1, 1]. :func:`prepare` runs inside the compiled step, :func:`to_uint8` at every border where
images leave. Data that cannot be used raises :class:`DataError`, whose one line says what was expected, what
came and what to try.
"""

from gen_jax.data.arrays import DataError, Source, from_arrays
from gen_jax.data.pipeline import Batches, prepare, to_uint8
from gen_jax.data.sources import load

__all__ = ["Batches", "DataError", "Source", "from_arrays", "load", "prepare", "to_uint8"]
