"""Data: one function, :func:`load`, from a name or a path to a :class:`Source` of checked examples; batches whose
position is a pure function of the step; and :func:`prepare`, which runs inside the compiled step and brings every field
to the form that models see. Data that cannot be used raises :class:`DataError`, whose one line says what was expected,
what came and what to try.
"""

from gen_jax.data.arrays import DataError, Examples, Source, from_arrays, from_fields
from gen_jax.data.pipeline import Batches, Unpaired, prepare, to_uint8
from gen_jax.data.sources import load

__all__ = [
    "Batches",
    "DataError",
    "Examples",
    "Source",
    "Unpaired",
    "from_arrays",
    "from_fields",
    "load",
    "prepare",
    "to_uint8",
]
