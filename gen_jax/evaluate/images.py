"""Sets of images as the ruler reads them: in order, a batch at a time, never all in memory unless they already are.

What a file becomes is said in :mod:`gen_jax.data.files`: grey stays grey (and is repeated where a network takes
colour), palettes and CMYK become RGB, transparency is laid over white, a camera's rotation is applied, 16 bits and
broken files are refused by name. Sides may differ from image to image and need not be equal. Nothing is resized here:
that is the feature network's business, and part of its definition.
"""

import dataclasses
import pathlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import NamedTuple

import numpy as np

from gen_jax.data import DataError, Source, files
from gen_jax.data.arrays import checked_images

_THREADS = 4
_LOSSY = (".jpg", ".jpeg", ".webp")


class Batch(NamedTuple):
    """Images of one shape, with their places in the set."""

    indices: np.ndarray  # [n]
    images: np.ndarray  # uint8 [n, H, W, C]


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """A named set of 8-bit images."""

    name: str
    split: str
    size: int
    channels: int
    """1 or 3: of every image that :attr:`batches` gives."""
    batches: Callable[[int], Iterator[Batch]] = dataclasses.field(repr=False)
    """At most so many images at a time."""
    quantisation: str = "8 bits"
    """And what else was done to the pixel values, such as JPEG."""


def from_array(images: np.ndarray, *, name: str = "arrays", split: str = "all") -> ImageSet:
    """A set over uint8 ``[N, H, W, C]`` or ``[N, H, W]``, in memory or mapped from a file.

    Raises:
      DataError: if they are anything else, such as floats, or channels first.
    """
    images = checked_images(images, name)

    def batches(size: int) -> Iterator[Batch]:
        for start in range(0, len(images), size):
            part = np.ascontiguousarray(images[start : start + size])
            yield Batch(np.arange(start, start + len(part)), part)

    return ImageSet(name, split, len(images), images.shape[3], batches)


def from_source(source: Source, *, limit: int | None = None) -> ImageSet:
    """A set over a data set, or over ``limit`` of its images, chosen by a fixed permutation."""
    order = np.arange(source.size)
    if limit is not None and limit < source.size:
        order = np.sort(np.random.Generator(np.random.Philox(key=0)).permutation(source.size)[:limit])

    def batches(size: int) -> Iterator[Batch]:
        for start in range(0, len(order), size):
            indices = np.arange(start, min(start + size, len(order)))
            yield Batch(indices, source.image(order[indices]))

    return ImageSet(source.name, source.split, len(order), source.shape[2], batches)


def from_folder(path: str | pathlib.Path) -> ImageSet:
    """A set over the pictures of a folder and its sub-folders, one level deep, decoded as they are read.

    Raises:
      DataError: if there are none, or one cannot be used; it names the file.
    """
    path = pathlib.Path(path)
    paths, _, _ = files.walk(path)
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        headers = list(pool.map(files.header, paths))
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
    return ImageSet(files.quote(path), "all", len(paths), channels, batches, quantisation)


def open_images(path: str | pathlib.Path) -> ImageSet:
    """A set from a folder of images, an ``.npy`` file, or an ``.npz`` file with ``image`` (or one array).

    Raises:
      DataError: if it is none of these, or cannot be used, or holds nothing but zeros and ones.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        return from_folder(path)
    if path.suffix.lower() == ".npy" and path.is_file():
        return _from_file(files.open_npy(path), files.quote(path))
    if path.suffix.lower() == ".npz" and path.is_file():
        return _from_file(files.read_npz(path)[0], files.quote(path))
    raise DataError(f"{files.quote(path)}: expected a folder of images, an .npy or an .npz file; check the path")


def _from_file(images: np.ndarray, name: str) -> ImageSet:
    found = from_array(images, name=name)
    if images[:1000].max() == 1 == images.max():
        raise DataError(
            f"{name}: expected 8-bit images in 0..255, got values of 0 and 1 alone; if they were in [0, 1], make them"
            " bytes with np.round(array * 255).astype(np.uint8)"
        )
    return found


def _decoded(paths: list[pathlib.Path], channels: int, *, ahead: int) -> Iterator[np.ndarray]:
    """The pictures in order, at most ``ahead`` of them decoded before they are asked for."""
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        pending: deque[futures.Future[np.ndarray]] = deque()
        for path in paths:
            pending.append(pool.submit(files.decode, path, channels=channels))
            if len(pending) > ahead:
                yield pending.popleft().result()
        for future in pending:
            yield future.result()


def _stacked(waiting: list[tuple[int, np.ndarray]]) -> Batch:
    return Batch(np.array([index for index, _ in waiting]), np.stack([image for _, image in waiting]))
