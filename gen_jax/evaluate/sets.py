"""Sets of examples as the ruler reads them: in order, a batch at a time, never all in memory unless they already are.

An example is one field of any kind: an image or a video, real numbers, symbols, words. It stands in the type that its
kind is stored in. Examples that were padded to one length have the length of each beside them, and what is behind it is
not measured.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from gen_jax.data import DataError, Source
from gen_jax.data.arrays import checked_images
from gen_jax.fields import PIXELS, Field, measured


class Batch(NamedTuple):
    """Examples of one shape, with their places in the set."""

    indices: np.ndarray  # [n]
    examples: np.ndarray  # [n, ...], in the stored type of their kind
    length: np.ndarray | None = None  # [n], how much of each example's first axis is real; None: all of it


@dataclasses.dataclass(frozen=True)
class ExampleSet:
    """A named set of examples of one field."""

    name: str
    split: str
    size: int
    field: Field
    """What an example is; a side of 0 is one that may differ from example to example."""
    batches: Callable[[int], Iterator[Batch]] = dataclasses.field(repr=False)
    """At most so many examples at a time."""
    quantisation: str = "8 bits"
    """And what else was done to the pixel values, such as JPEG; ``none`` of what has no pixels."""


def from_array(
    examples: np.ndarray,
    field: Field | None = None,
    *,
    length: np.ndarray | None = None,
    name: str = "arrays",
    split: str = "all",
) -> ExampleSet:
    """A set over an array in memory or mapped from a file.

    Args:
      examples: uint8 images ``[N, H, W, C]`` or ``[N, H, W]``; with a field ``[N, *field.shape]`` in its stored type.
      field: what they are; images, if not given.
      length: integers ``[N]``, how much of each example's first axis is real; not of images.
      name: what cards and messages call the set.
      split: the split it is.

    Raises:
      DataError: if they are anything else, such as floats for images, or channels first.
    """
    if field is None:
        examples = checked_images(examples, name)
        field = Field(examples.shape[1:], PIXELS)
    _check(examples, field, length, name)

    def batches(size: int) -> Iterator[Batch]:
        for start in range(0, len(examples), size):
            part = np.ascontiguousarray(examples[start : start + size])
            indices = np.arange(start, start + len(part))
            yield Batch(indices, part, None if length is None else length[indices])

    return ExampleSet(name, split, len(examples), field, batches, quantisation_of(field))


def from_source(source: Source, name: str = "image", *, limit: int | None = None) -> ExampleSet:
    """A set over one field of a data set, or over ``limit`` of its examples, chosen by a fixed permutation.

    A field ``length`` of the data is that of the examples, unless these are images. Words with a field ``count`` of the
    same shape beside them are pairs of a word and its count.

    Raises:
      DataError: if the data has no such field.
    """
    fields = source.fields
    if name not in fields:
        raise DataError(f"{source.name}: no field {name!r} to measure; it has {', '.join(fields)}")
    order = np.arange(source.size)
    if limit is not None and limit < source.size:
        order = np.sort(np.random.Generator(np.random.Philox(key=0)).permutation(source.size)[:limit])
    field = measured(fields, name)
    paired = field is not fields[name]
    padded = "length" in fields and not paired and may_be_padded(field)

    def batches(size: int) -> Iterator[Batch]:
        for start in range(0, len(order), size):
            indices = np.arange(start, min(start + size, len(order)))
            found = source.read(order[indices])
            examples = np.stack([found[name], found["count"]], axis=-1) if paired else found[name]
            yield Batch(indices, examples, found["length"] if padded else None)

    return ExampleSet(source.name, source.split, len(order), field, batches, quantisation_of(field))


def quantisation_of(field: Field) -> str:
    """What a card says of values of this field that nothing else was done to."""
    return "8 bits" if field.kind is PIXELS else "none"


def may_be_padded(field: Field) -> bool:
    """Whether a field's examples may have a length: all that have a first axis, and are no images."""
    return bool(field.shape) and not (field.kind is PIXELS and len(field.shape) == 3)


def _check(examples: np.ndarray, field: Field, length: np.ndarray | None, name: str) -> None:
    stored = np.dtype(field.kind.stored)
    if examples.dtype != stored or examples.shape[1:] != field.shape or not len(examples):
        expected = ", ".join(map(str, ("N", *field.shape)))
        raise DataError(
            f"{name}: expected {field.kind.name} as {stored} [{expected}], got {examples.dtype} {examples.shape};"
            f" reshape them, or use array.astype(np.{stored})"
        )
    if length is None:
        return
    if not may_be_padded(field):
        raise DataError(f"{name}: examples {field.shape} of {field.kind.name} have no length, got one; leave it out")
    if length.shape != examples.shape[:1] or not np.issubdtype(length.dtype, np.integer):
        raise DataError(f"{name}: expected lengths as integers [{len(examples)}], got {length.dtype} {length.shape}")
    if length.min() < 0 or length.max() > field.shape[0]:
        raise DataError(
            f"{name}: lengths should be in 0..{field.shape[0]}, got {length.min()}..{length.max()}; look at the padding"
        )
