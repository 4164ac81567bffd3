"""Data sets by name: scikit-learn's digits, Fashion-MNIST from its files, and whatever TFDS has prepared.

TFDS sets are read by its data source: random access without TensorFlow, from what was prepared beforehand
with ``file_format="array_record"``. Nothing is ever downloaded.
"""

import difflib
import math
import os
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gen_jax.data.arrays import (
    DataError,
    Examples,
    Source,
    checked_dtype,
    checked_shape,
    choose_split,
    counted,
    from_arrays,
    hold_out_generator,
    lazy,
)
from gen_jax.data.picture import resize, resize_all
from gen_jax.fields import images
from gen_jax.reading import quote, read_gzip, said

DATA_DIRECTORY = "GEN_JAX_DATA_DIR"  # environment variables
TFDS_DIRECTORY = "TFDS_DATA_DIR"

# Not of TFDS.
OWN = ("digits", "fashion_mnist", "letters", "phage", "newsgroups", "hangul", "ring", "grid", "swiss_roll")
_MOST_BYTES = 1 << 28  # of an unfolded file
DEBIAN = pathlib.Path("/usr/share/datasets/fashion-mnist")  # where its package dataset-fashion-mnist installs


def digits(split: str, image_size: int | None) -> Source:
    """scikit-learn's digits: 8x8, grey levels 0..16 spread over 0..255; 30 of each class are ``test``."""
    from sklearn.datasets import load_digits

    data = load_digits()
    image = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None]
    label = data.target.astype(np.int32)
    order = hold_out_generator().permutation(len(label))
    test = np.sort(np.concatenate([order[label[order] == digit][:30] for digit in range(10)]))
    train = np.setdiff1d(np.arange(len(label)), test)
    kept = choose_split("digits", {"train": train, "test": test}, split)
    image = resize_all(image[kept], image_size)
    return from_arrays(image, label[kept], classes=10, name="digits", split=split)


def fashion_directory() -> pathlib.Path | None:
    """Where the files of Fashion-MNIST are on this machine, if they are."""
    places = [DEBIAN]
    if os.environ.get(DATA_DIRECTORY):
        places.insert(0, pathlib.Path(os.environ[DATA_DIRECTORY]).expanduser() / "fashion_mnist")
    return next((place for place in places if (place / "train-images-idx3-ubyte.gz").exists()), None)


def fashion_mnist(directory: pathlib.Path, split: str, image_size: int | None) -> Source:
    """Fashion-MNIST from its four gzipped idx files."""
    prefix = choose_split("fashion_mnist", {"train": "train", "test": "t10k"}, split)
    image = _read_idx(directory / f"{prefix}-images-idx3-ubyte.gz", dimensions=3)[..., None]
    label = _read_idx(directory / f"{prefix}-labels-idx1-ubyte.gz", dimensions=1)
    return from_arrays(resize_all(image, image_size), label, classes=10, name="fashion_mnist", split=split)


def _read_idx(path: pathlib.Path, dimensions: int) -> np.ndarray:
    try:
        content = read_gzip(path, most=_MOST_BYTES)
        start = 4 + 4 * dimensions
        if len(content) < start:
            raise ValueError(f"it unfolds to {len(content)} bytes")
        header = np.frombuffer(content, ">u4", 1 + dimensions)
        if header[0] != 0x0800 + dimensions:
            raise ValueError(f"its first four bytes are {header[0]:#010x}, not {0x0800 + dimensions:#010x}")
        shape = header[1:].tolist()
        if len(content) != start + math.prod(shape):
            raise ValueError(f"it announces an array {shape} and holds {len(content):,} bytes")
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(
            f"{quote(path)}: expected a gzipped idx file, cannot read it ({said(error)}); fetch it again"
        ) from None


def tfds_set(name: str, split: str, image_size: int | None, memory_limit: int) -> Source:
    """A TFDS image set that is prepared on this machine."""
    import tensorflow_datasets as tfds

    builder = _tfds_builder(name)
    features = builder.info.features
    image_field = _field(features, "image", "Image")
    label_field = _field(features, "label", "ClassLabel")
    if image_field is None:
        raise DataError(f"{name}: expected a set with one image, its fields are {', '.join(features)}")
    try:
        data = builder.as_data_source(split=split)
    except NotImplementedError:
        raise DataError(
            f"{name}: {quote(builder.data_dir)} is not random-access; prepare it again with file_format='array_record'"
        ) from None
    except ValueError:
        raise DataError(f"{name}: no split {split!r}; it has {', '.join(builder.info.splits)}") from None
    if not len(data):
        raise DataError(f"{name}: split {split!r} is empty; choose another")
    first = np.asarray(data[0][image_field])
    shape = first.shape if image_size is None else (image_size, image_size, first.shape[2])
    shape = checked_shape(shape, name)
    reader = _TFDSReader(name, data, image_field, label_field, shape, image_size)
    classes = features[label_field].num_classes if label_field else 0
    names = {"label": tuple(features[label_field].names)} if label_field else {}
    if len(data) * int(np.prod(shape)) > memory_limit:
        skipped = {image_field: tfds.decode.SkipDecoding()}
        counts = {}
        if label_field:  # read without decoding the images
            labels = [example[label_field] for example in builder.as_data_source(split=split, decoders=skipped)]
            counts = {"label": counted(np.array(labels), classes)}
        fields = images(shape, classes)
        return lazy(name, split, fields=fields, size=len(data), read=reader.read, counts=counts, names=names)
    examples = reader.read(np.arange(len(data)))
    label = examples.get("label")
    return from_arrays(examples["image"], label, classes=classes or None, name=name, split=split, names=names)


class _TFDSReader(NamedTuple):
    name: str
    data: Any
    image_field: str
    label_field: str | None
    shape: tuple[int, int, int]
    image_size: int | None

    def read(self, indices: np.ndarray) -> Examples:
        examples = self.data.__getitems__([int(i) for i in indices])
        found = np.zeros((len(examples), *self.shape), np.uint8)
        for i, (index, example) in enumerate(zip(indices, examples)):
            pixels = np.asarray(example[self.image_field])
            checked_dtype(pixels, f"{self.name}, example {index}")
            pixels = pixels if self.image_size is None else resize(pixels, self.image_size)
            if pixels.shape != self.shape:
                raise DataError(
                    f"{self.name}: images differ in shape: example 0 is {self.shape}, {index} is"
                    f" {pixels.shape};"
                    " give an image size (--image-size 32) to resize them all"
                )
            found[i] = pixels
        if not self.label_field:
            return {"image": found}
        return {"image": found, "label": np.array([e[self.label_field] for e in examples], np.int32)}


def _tfds_builder(name: str) -> Any:
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=os.environ.get(TFDS_DIRECTORY) or None, try_gcs=False)
    except Exception as error:  # what it raises depends on the name, the version and the code behind the set
        known = [*OWN, *tfds.list_builders(with_community_datasets=False)]
        if name in known:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{name}: TFDS cannot open this set ({reason}); prepare it again") from None
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise DataError(
            f"{name}: no file, folder or data set of this name; {hint}Known are {', '.join(OWN)}, a folder of images,"
            " an .npy or .npz file, and the names of TFDS"
        ) from None
    if not builder.info.splits:
        raise DataError(
            f"{name}: not prepared in {quote(builder.data_dir)}; run tfds.builder({name!r},"
            f" file_format='array_record').download_and_prepare() once, or point ${TFDS_DIRECTORY} to it"
        )
    return builder


def _field(features: Mapping[str, Any], preferred: str, kind: str) -> str | None:
    found = [field for field in features if type(features[field]).__name__ == kind]
    return preferred if preferred in found else found[0] if len(found) == 1 else None
