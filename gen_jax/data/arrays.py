"""What a data set is: fixed-size 8-bit images behind an index, and the one error that all bad data raises.

Everything that a :class:`Source` hands out has been checked once, here: uint8 ``[N, H, W, C]`` with a square
side divisible by 4 and 1 or 3 channels, and integer labels in ``0 .. classes - 1``.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

MEMORY_LIMIT = 2 << 30  # bytes of decoded images that are kept in memory
LABEL_LIMIT = 1 << 16  # a class index above this is a mistake, not a class
SAMPLED = 64  # examples whose content enters the fingerprint of a lazily read set

_HOLD_OUT_KEY = (1797, 300)  # fixed for ever: a change would move test images into training data

Examples = Mapping[str, np.ndarray]  # "image" uint8 [n, H, W, C]; "label" int32 [n] where the data has labels


class DataError(ValueError):
    """Data that cannot be used; one line: the file or field, what was expected, what came, what to try."""


@dataclasses.dataclass(frozen=True)
class Source:
    """One split of a data set, read by index."""

    name: str
    split: str
    shape: tuple[int, int, int]
    """Height, width and channels of every image, pixels."""
    classes: int
    """Number of classes; 0 without labels."""
    size: int
    """Number of examples."""
    fingerprint: str
    """SHA-256, hexadecimal, over the examples; over the sizes and sampled examples of sets read lazily."""
    in_memory: bool
    """Whether the examples are decoded already; if not, each read opens files."""
    read: Callable[[np.ndarray], Examples] = dataclasses.field(repr=False, compare=False)
    """Examples at indices ``[n]``: ``image`` uint8 ``[n, H, W, C]``; with classes, ``label`` int32 ``[n]``.
    """

    def image(self, indices: np.ndarray) -> np.ndarray:
        """Images uint8 ``[n, H, W, C]`` at integer ``indices [n]``."""
        return self.read(np.asarray(indices))["image"]

    def label(self, indices: np.ndarray) -> np.ndarray:
        """Labels int32 ``[n]`` at integer ``indices [n]``; a :class:`DataError` without labels."""
        if not self.classes:
            raise DataError(f"{self.name}: labels were asked for, but this data has none; use a labelled set")
        return self.read(np.asarray(indices))["label"]


def from_arrays(
    image: np.ndarray,
    label: np.ndarray | None = None,
    *,
    classes: int | None = None,
    name: str = "arrays",
    split: str = "train",
) -> Source:
    """A source over arrays in memory.

    Args:
      image: uint8 ``[N, H, W, C]``, or ``[N, H, W]`` for grey images.
      label: integers ``[N]`` in ``0 .. classes - 1``.
      classes: number of classes; if not given, one more than the largest label.
      name: what error messages and reports call the data.
      split: the split these arrays are.

    Raises:
      DataError: if the arrays are anything else.
    """
    image = checked_images(image, name)
    if label is not None:
        label = checked_labels(label, len(image), name)
        classes = _checked_classes(label, classes, name)
    examples = {"image": image} if label is None else {"image": image, "label": label}
    return Source(
        name=name,
        split=split,
        shape=image.shape[1:],
        classes=0 if label is None else int(classes or 0),
        size=len(image),
        fingerprint=fingerprint(examples),
        in_memory=True,
        read=lambda indices: {field: values[indices] for field, values in examples.items()},
    )


def lazy(
    name: str,
    split: str,
    *,
    shape: tuple[int, int, int],
    classes: int,
    size: int,
    read: Callable[[np.ndarray], Examples],
    facts: object = (),
) -> Source:
    """A source that reads its examples when they are asked for; ``facts`` enter its fingerprint."""
    sampled = np.unique(np.linspace(0, size - 1, min(size, SAMPLED)).astype(np.int64))
    digest = fingerprint(read(sampled), shape, classes, size, facts)
    return Source(name, split, shape, classes, size, digest, in_memory=False, read=read)


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
    """``shape`` as ``(H, W, C)``; a :class:`DataError` unless square, divisible by 4, and with 1 or 3
    channels.
    """
    height, width, channels = shape
    if channels not in (1, 3):
        hint = ""
        if height in (1, 3):
            hint = " (this looks like channels first: use array.transpose(0, 2, 3, 1))"
        elif channels == 4:
            hint = " (drop an alpha channel with array[..., :3])"
        raise DataError(f"{name}: images need 1 or 3 channels in the last axis, got shape {shape}{hint}")
    if height != width:
        raise DataError(
            f"{name}: images need equal height and width, got {height}x{width}; give an image size"
            " (--image-size 32)"
            " to crop and resize them"
        )
    if height % 4 or not height:
        raise DataError(
            f"{name}: the image side should be divisible by 4, got {height}x{width}; give an image size"
            f" (--image-size {max(4, height // 4 * 4)}) to resize them"
        )
    return height, width, channels


def checked_images(image: np.ndarray, name: str, *, any_side: bool = False) -> np.ndarray:
    """``image`` as uint8 ``[N, H, W, C]``, or a :class:`DataError`; with ``any_side`` H and W may be
    anything.
    """
    checked_dtype(image, name)
    if image.ndim not in (3, 4):
        raise DataError(f"{name}: expected images [N, H, W, C] or [N, H, W], got shape {image.shape}; reshape them")
    if not image.size:
        raise DataError(f"{name}: expected at least one image, got an array of shape {image.shape}")
    if image.ndim == 3:
        image = image[..., None]
    shape = image.shape[1:]
    checked_shape((4, 4, shape[2]) if any_side and shape[0] not in (1, 3) else shape, name)
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
