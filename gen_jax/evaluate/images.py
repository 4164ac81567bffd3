"""Sets from files: folders of images, and arrays of any kind.

What an image file becomes is said in :mod:`gen_jax.data.picture`: grey stays grey (and is repeated where a network
takes colour), palettes and CMYK become RGB, transparency is laid over white, a camera's rotation is applied, 16 bits
and broken files are refused by name. Sides may differ from image to image and need not be equal. Nothing is resized
here: that is the feature network's business, and part of its definition.

What an array is, its type and rank say:

    uint8    [N, H, W], [N, H, W, C]        images
    uint8    [N, T, H, W, C]                videos
    floats   [N, D], [N, T, D]              real numbers
    integers [N, T], not uint8              symbols, of an alphabet that ends with the largest of them

Floats of more axes would be images, which are 8-bit: they are refused.
"""

import pathlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent import futures

import numpy as np

from gen_jax.data import DataError, files, picture
from gen_jax.evaluate.sets import Batch, ExampleSet, from_array
from gen_jax.fields import PIXELS, REAL, SYMBOL, Field
from gen_jax.reading import quote, said

_THREADS = 4
_LOSSY = (".jpg", ".jpeg", ".webp")
_TAKEN = "uint8 images or videos, floats [N, D] or [N, T, D], integers [N, T]"


def from_folder(path: str | pathlib.Path) -> ExampleSet:
    """A set over the pictures of a folder and its sub-folders, one level deep, decoded as they are read.

    Raises:
      DataError: if there are none, or one cannot be used; it names the file.
    """
    path = pathlib.Path(path)
    paths, _, _ = files.walk(path)
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        headers = list(pool.map(picture.header, paths))
    channels = max(header[2] for header in headers)
    lossy = sorted({file.suffix.lower()[1:] for file in paths if file.suffix.lower() in _LOSSY})

    def batches(size: int) -> Iterator[Batch]:
        shapes: dict[tuple[int, int], list[tuple[int, np.ndarray]]] = {}
        for index, image in enumerate(_decoded(paths, channels, ahead=2 * size)):
            waiting = shapes.setdefault(image.shape[:2], [])
            waiting.append((index, image))
            if len(waiting) == size:
                yield _stacked(shapes.pop(image.shape[:2]))
        yield from (_stacked(waiting) for waiting in shapes.values())

    quantisation = ", ".join(["8 bits", *lossy])
    return ExampleSet(quote(path), "all", len(paths), Field((0, 0, channels), PIXELS), batches, quantisation)


def open_examples(path: str | pathlib.Path) -> ExampleSet:
    """A set from a folder of images, an ``.npy`` file, or an ``.npz`` file with ``image`` (or one array, or the first).

    An ``.npz`` file may hold ``length`` beside what is no image. What arrays may be is said at the head of this file.

    Raises:
      DataError: if it is none of these, or cannot be used, or is images that hold nothing but zeros and ones.
    """
    path = pathlib.Path(path)
    try:
        return _opened(path)
    except OSError as error:
        raise DataError(f"{quote(path)}: cannot read it ({said(error)}); check the path and its rights") from None


def _opened(path: pathlib.Path) -> ExampleSet:
    name, suffix = quote(path), path.suffix.lower()
    if path.is_dir():
        return from_folder(path)
    if suffix == ".npy" and path.is_file():
        array = files.open_npy(path)
        return _images(array, name) if _field(array) is None else _others(array, None, name)
    if suffix == ".npz" and path.is_file():
        arrays = files.open_npz(path)
        others = _others_among(arrays)
        return _images(files.images_among(arrays, path)[0], name) if others is None else _others(*others, name)
    raise DataError(f"{name}: expected a folder of images, or an .npy or .npz file of {_TAKEN}; check the path")


def _images(images: np.ndarray, name: str) -> ExampleSet:
    found = from_array(images, name=name)
    if images[:1000].max() == 1 == images.max():
        raise DataError(
            f"{name}: expected 8-bit images in 0..255, got values of 0 and 1 alone; if they were in [0, 1], make them"
            " bytes with np.round(array * 255).astype(np.uint8)"
        )
    return found


def _field(array: np.ndarray) -> Field | None:
    """What an array is by its type and rank; None for images, and for what is nothing of ours."""
    if not array.size:
        return None
    shape = array.shape[1:]
    if array.dtype == np.uint8:
        return Field(shape, PIXELS) if len(shape) == 4 else None
    if np.issubdtype(array.dtype, np.floating) and len(shape) in (1, 2):
        return Field(shape, REAL)
    if np.issubdtype(array.dtype, np.integer) and len(shape) == 1:
        return Field(shape, SYMBOL, int(array.max()) + 1)
    return None


def _others(array: np.ndarray, length: np.ndarray | None, name: str) -> ExampleSet:
    field = _field(array)
    assert field is not None
    if field.kind is REAL and not np.isfinite(array).all():
        raise DataError(f"{name}: it holds values that are not finite: clean them first")
    if field.kind is SYMBOL and length is None and array.min() < 0:
        raise DataError(f"{name}: symbols should be 0 or more, got negative ones; renumber them, or give their lengths")
    return from_array(array.astype(field.kind.stored, copy=False), field, length=length, name=name)


def _others_among(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None] | None:
    """The array that ``data.files`` would take, with its lengths, if it is something else than images."""
    names = [name for name in arrays if name not in ("label", "length")]
    if not names:
        return None  # which data.files puts into words
    array = arrays["image" if "image" in names else names[0]]
    return None if _field(array) is None else (array, arrays.get("length"))


def _decoded(paths: list[pathlib.Path], channels: int, *, ahead: int) -> Iterator[np.ndarray]:
    """The pictures in order, at most ``ahead`` of them decoded before they are asked for."""
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        pending: deque[futures.Future[np.ndarray]] = deque()
        for path in paths:
            pending.append(pool.submit(picture.decode, path, channels=channels))
            if len(pending) > ahead:
                yield pending.popleft().result()
        for future in pending:
            yield future.result()


def _stacked(waiting: list[tuple[int, np.ndarray]]) -> Batch:
    return Batch(np.array([index for index, _ in waiting]), np.stack([image for _, image in waiting]))
