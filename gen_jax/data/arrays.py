"""What a data set is: named fields of examples behind an index, and the one error that all bad data raises.

Everything that a :class:`Source` hands out has been checked once, here: images are uint8 ``[N, H, W, C]`` with 1 or 3
channels, symbols in ``0 .. size - 1``, real numbers finite.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gen_jax.fields import COUNT, PIXELS, REAL, SYMBOL, Field, Fields, classes_of, describe, images, of_images

MEMORY_LIMIT = 2 << 30  # bytes of decoded images that are kept in memory
LABEL_LIMIT = 1 << 16  # a class index above this is a mistake, not a class
SAMPLED = 64  # examples whose content enters the fingerprint of a lazily read set

_HOLD_OUT_KEY = (1797, 300)  # fixed for ever: a change would move test images into training data

Examples = Mapping[str, np.ndarray]  # by field, as stored, [n, ...]


class DataError(ValueError):
    """Data that cannot be used; one line: the file or field, what was expected, what came, what to try."""


@dataclasses.dataclass(frozen=True)
class Source:
    """One split of a data set, read by index."""

    name: str
    split: str
    fields: Fields
    """What an example holds."""
    size: int
    """Number of examples."""
    fingerprint: str
    """SHA-256, hexadecimal, over the examples; over the sizes and sampled examples of sets read lazily."""
    in_memory: bool
    """Whether the examples are decoded already; if not, each read opens files."""
    read: Callable[[np.ndarray], Examples] = dataclasses.field(repr=False, compare=False)
    """Examples at indices ``[n]``: an array ``[n, ...]`` of every field, as it is stored."""
    counts: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict, repr=False)
    """How often each value of a field of one symbol (``label``, ``length``) occurs, by field."""
    names: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict, repr=False)
    """What the values of a field of symbols are called, by field, where they have names."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image, pixels; a ValueError for other data."""
        return of_images(self.fields)[0]

    @property
    def classes(self) -> int:
        """Number of classes; 0 without labels."""
        return classes_of(self.fields)

    def image(self, indices: np.ndarray) -> np.ndarray:
        """Images uint8 ``[n, H, W, C]`` at integer ``indices [n]``."""
        return self.read(np.asarray(indices))["image"]

    def label(self, indices: np.ndarray) -> np.ndarray:
        """Labels int32 ``[n]`` at integer ``indices [n]``; a :class:`DataError` without labels."""
        if not self.classes:
            raise DataError(f"{self.name}: labels were asked for, but this data has none; use a labelled set")
        return self.read(np.asarray(indices))["label"]

    def renamed(self, **names: str) -> "Source":
        """The same data with other names of fields: ``source.renamed(image="other")``."""
        for name in names:
            if name not in self.fields:
                raise DataError(f"{self.name}: no field {name!r} to rename; it has {describe(self.fields)}")

        def by_new_name(values: Mapping[str, Any]) -> dict[str, Any]:
            return {names.get(name, name): value for name, value in values.items()}

        return dataclasses.replace(
            self,
            fields=by_new_name(self.fields),
            read=lambda indices: by_new_name(self.read(indices)),
            counts=by_new_name(self.counts),
            names=by_new_name(self.names),
        )


class Loaded(NamedTuple):
    """One split of a data set, in memory."""

    values: Mapping[str, np.ndarray]
    """Arrays ``[N, ...]`` by field."""
    fields: Fields
    name: str
    names: Mapping[str, Sequence[str]]
    """What the values of symbols are called, by field."""


def from_arrays(
    image: np.ndarray,
    label: np.ndarray | None = None,
    *,
    classes: int | None = None,
    name: str = "arrays",
    split: str = "train",
    names: Mapping[str, Sequence[str]] = {},
) -> Source:
    """A source over images in memory.

    Args:
      image: uint8 ``[N, H, W, C]``, or ``[N, H, W]`` for grey images.
      label: integers ``[N]`` in ``0 .. classes - 1``.
      classes: number of classes; if not given, one more than the largest label.
      name: what error messages and reports call the data.
      split: the split these arrays are.
      names: what the classes are called, under ``label``.

    Raises:
      DataError: if the arrays are anything else.
    """
    image = checked_images(image, name)
    if label is None:
        return _in_memory({"image": image}, images(image.shape[1:]), name, split, names)
    label = checked_labels(label, len(image), name)
    classes = _checked_classes(label, classes, name)
    return _in_memory({"image": image, "label": label}, images(image.shape[1:], classes), name, split, names)


def from_fields(
    values: Mapping[str, Any],
    fields: Fields | None = None,
    *,
    name: str = "arrays",
    split: str = "train",
    names: Mapping[str, Sequence[str]] = {},
) -> Source:
    """A source over arrays of any kind in memory, by the names of their fields.

    Args:
      values: an array ``[N, ...]`` of every field. ``image`` is as in :func:`from_arrays`.
      fields: what they are. If not given, floats are REAL, bytes of rank 4 and more are PIXELS, other integers are
        SYMBOL with as many values as the largest one asks for, and those called ``count`` are COUNT.
      name: what error messages and reports call the data.
      split: the split these arrays are.
      names: what the values of symbols are called, by field.

    Raises:
      DataError: if the arrays are anything else, or do not fit together.
    """
    if not values:
        raise DataError(f"{name}: expected at least one array, got none")
    arrays = {field: np.asarray(x) for field, x in values.items()}
    if "image" in arrays and (fields is None or "image" not in fields):
        arrays["image"] = checked_images(arrays["image"], f"{name}, field 'image'")
    kinds = {field: guessed(x, field, name) for field, x in arrays.items()} if fields is None else fields
    for field in kinds:
        if field not in arrays:
            raise DataError(f"{name}: expected an array of the field {field!r}, got {', '.join(arrays)}")
    checked = {field: checked_field(arrays[field], kind, f"{name}, field {field!r}") for field, kind in kinds.items()}
    sizes = {field: len(x) for field, x in checked.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{size} of {field}" for field, size in sizes.items())
        raise DataError(f"{name}: expected as many examples of every field, got {listed}")
    return _in_memory(checked, kinds, name, split, names)


def lazy(
    name: str,
    split: str,
    *,
    fields: Fields,
    size: int,
    read: Callable[[np.ndarray], Examples],
    facts: object = (),
    counts: Mapping[str, tuple[int, ...]] = {},
    names: Mapping[str, tuple[str, ...]] = {},
) -> Source:
    """A source that reads its examples when they are asked for; ``facts`` enter its fingerprint."""
    sampled = np.unique(np.linspace(0, size - 1, min(size, SAMPLED)).astype(np.int64))
    described = {field: (kind.shape, kind.size) for field, kind in fields.items()}
    digest = fingerprint(read(sampled), described, size, facts)
    return Source(name, split, fields, size, digest, in_memory=False, read=read, counts=counts, names=names)


def counted(values: np.ndarray, size: int) -> tuple[int, ...]:
    """How often each of ``0 .. size - 1`` occurs."""
    return tuple(int(n) for n in np.bincount(values, minlength=size))


def guessed(values: np.ndarray, field: str, name: str) -> Field:
    """What an array of a field is, by its type; see :func:`from_fields`."""
    shape = values.shape[1:]
    if values.ndim and not values.size:
        raise DataError(f"{name}, field {field!r}: expected at least one example, got an array of shape {values.shape}")
    if values.dtype == np.uint8 and values.ndim >= 4:
        return Field(shape, PIXELS)
    if np.issubdtype(values.dtype, np.floating):
        return Field(shape, REAL)
    if np.issubdtype(values.dtype, np.integer) or values.dtype == bool:
        return Field(shape, COUNT) if field == "count" else Field(shape, SYMBOL, int(values.max(initial=0)) + 1)
    raise DataError(f"{name}, field {field!r}: expected an array of numbers, got {values.dtype}; turn it into numbers")


def checked_field(values: np.ndarray, field: Field, name: str) -> np.ndarray:
    """``values [N, *field.shape]`` in the type that the field is stored in, or a :class:`DataError`."""
    if values.shape[1:] != tuple(field.shape) or not values.ndim or not len(values):
        raise DataError(f"{name}: expected examples of shape {list(field.shape)}, got an array {list(values.shape)}")
    stored = np.dtype(field.kind.stored)
    if stored.kind == "f":
        if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            came = "values that are not finite" if values.dtype.kind == "f" else str(values.dtype)
            raise DataError(f"{name}: expected finite real numbers, got {came}; clean or convert them")
        return values.astype(stored)
    if values.dtype.kind not in "iub":
        raise DataError(f"{name}: expected whole numbers ({field.kind.name}), got {values.dtype}; convert them")
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    highest = field.size - 1 if field.size else np.iinfo(stored).max
    if low < 0 or high > highest:
        raise DataError(f"{name}: expected values in 0..{highest}, got {low if low < 0 else high}; renumber them")
    return values.astype(stored)


def _in_memory(values: Examples, fields: Fields, name: str, split: str, names: Mapping[str, Sequence[str]]) -> Source:
    for field, words in names.items():
        if field not in fields or len(words) != fields[field].size:
            expected = f"{fields[field].size} names" if field in fields else f"names of {', '.join(fields)}"
            raise DataError(f"{name}: expected {expected}, got {len(words)} of {field!r}")
    alone = {field: kind.size for field, kind in fields.items() if kind.kind is SYMBOL and not kind.shape}
    return Source(
        name=name,
        split=split,
        fields=fields,
        size=len(next(iter(values.values()))),
        fingerprint=fingerprint(values),
        in_memory=True,
        read=lambda indices: {field: x[indices] for field, x in values.items()},
        counts={field: counted(values[field], size) for field, size in alone.items()},
        names={field: tuple(words) for field, words in names.items()},
    )


def choose_split(name: str, splits: Mapping[str, Any], split: str) -> Any:
    """The entry of ``splits`` for a split, or a :class:`DataError` that lists what there is."""
    if split not in splits:
        raise DataError(f"{name}: no split {split!r}; it has {', '.join(splits)}")
    return splits[split]


def hold_out_generator() -> np.random.Generator:
    """The generator that parts test from training data where the data itself does not: always the same."""
    return np.random.Generator(np.random.Philox(key=np.array(_HOLD_OUT_KEY, np.uint64)))


def fingerprint(examples: Examples, *facts: object) -> str:
    """SHA-256, hexadecimal, over the fields' names, shapes and bytes, and over ``facts``."""
    digest = hashlib.sha256(repr(facts).encode())
    for field in sorted(examples):
        values = np.ascontiguousarray(examples[field])
        digest.update(f"{field} {values.dtype.str} {values.shape}".encode())
        digest.update(values.data if values.size else b"")
    return digest.hexdigest()


def checked_shape(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """``shape`` as ``(H, W, C)``; a :class:`DataError` unless it has sides and 1 or 3 channels."""
    height, width, channels = shape
    if channels not in (1, 3):
        hint = ""
        if height in (1, 3):
            hint = " (this looks like channels first: use array.transpose(0, 2, 3, 1))"
        elif channels == 4:
            hint = " (drop an alpha channel with array[..., :3])"
        raise DataError(f"{name}: images need 1 or 3 channels in the last axis, got shape {shape}{hint}")
    if min(height, width) < 1:
        raise DataError(f"{name}: images need a height and a width of at least 1, got {height}x{width}")
    return height, width, channels


def checked_images(image: np.ndarray, name: str) -> np.ndarray:
    """``image`` as uint8 ``[N, H, W, C]``, or a :class:`DataError`."""
    checked_dtype(image, name)
    if image.ndim not in (3, 4):
        raise DataError(f"{name}: expected images [N, H, W, C] or [N, H, W], got shape {image.shape}; reshape them")
    if not image.size:
        raise DataError(f"{name}: expected at least one image, got an array of shape {image.shape}")
    if image.ndim == 3:
        image = image[..., None]
    checked_shape(image.shape[1:], name)
    return image


def checked_dtype(image: np.ndarray, name: str) -> None:
    """A :class:`DataError` unless ``image`` is a uint8 array; tells how to convert floating-point ones."""
    if not isinstance(image, np.ndarray):
        raise DataError(f"{name}: expected a numpy array of images, got {type(image).__name__}")
    if image.dtype == np.uint8:
        return
    hint = "convert it with array.astype(np.uint8) if its values are whole numbers in 0..255"
    if np.issubdtype(image.dtype, np.floating):
        sample = np.asarray(image[:1000], np.float64)
        if not np.isfinite(sample).all():
            hint = "it holds values that are not finite: clean them first"
        elif sample.size and sample.min() < 0:
            hint = "for values in [-1, 1]: np.clip(np.round((array + 1) * 127.5), 0, 255).astype(np.uint8)"
        elif sample.size and sample.max() <= 1:
            hint = "for values in [0, 1]: np.clip(np.round(array * 255), 0, 255).astype(np.uint8)"
        else:
            hint = "for values in [0, 255]: np.clip(np.round(array), 0, 255).astype(np.uint8)"
    raise DataError(f"{name}: expected uint8 images in 0..255, got {image.dtype}; {hint}")


def checked_labels(label: np.ndarray, size: int, name: str) -> np.ndarray:
    """``label`` as int32 ``[size]``, or a :class:`DataError`."""
    label = np.asarray(label)
    if label.ndim != 1:
        raise DataError(f"{name}: expected one label per image, [N], got shape {label.shape}; use class indices")
    if len(label) != size:
        raise DataError(f"{name}: got {size} images and {len(label)} labels; there should be one label per image")
    if not np.issubdtype(label.dtype, np.integer):
        raise DataError(f"{name}: expected integer labels 0, 1, 2, ..., got {label.dtype}; use array.astype(np.int32)")
    low, high = int(label.min()), int(label.max())
    if low < 0 or high >= LABEL_LIMIT:
        wrong = low if low < 0 else high
        raise DataError(f"{name}: labels should be class indices in 0..{LABEL_LIMIT - 1}, got {wrong}; renumber them")
    return label.astype(np.int32)


def _checked_classes(label: np.ndarray, classes: int | None, name: str) -> int:
    largest = int(label.max())
    if classes is not None and largest >= classes:
        raise DataError(f"{name}: labels should be below the {classes} classes given, got {largest}")
    return classes if classes is not None else largest + 1
