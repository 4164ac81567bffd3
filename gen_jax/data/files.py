"""Images from files: folders of pictures, ``.npy`` and ``.npz`` arrays.

What a picture becomes is said in :mod:`gen_jax.data.picture`; if any file of a folder has colour, all are read as RGB.
Arrays are never unpickled.
"""

import pathlib
import zipfile
from collections.abc import Mapping
from concurrent import futures
from typing import NamedTuple

import numpy as np

from gen_jax.data.arrays import DataError, Examples, checked_images, checked_labels, checked_shape
from gen_jax.data.picture import SUFFIXES, decode, header
from gen_jax.reading import check_regular, open_regular, open_zip, quote, said


class Folder(NamedTuple):
    """The pictures of a folder, decoded when read."""

    paths: tuple[pathlib.Path, ...]
    labels: np.ndarray | None
    classes: int
    shape: tuple[int, int, int]
    image_size: int | None

    def read(self, indices: np.ndarray) -> Examples:
        """Decoded examples at ``indices [n]``."""
        paths = [self.paths[i] for i in indices]
        with futures.ThreadPoolExecutor(4) as pool:
            images = np.stack(list(pool.map(self._decode, paths))) if paths else np.zeros((0, *self.shape), np.uint8)
        return {"image": images} if self.labels is None else {"image": images, "label": self.labels[indices]}

    def _decode(self, path: pathlib.Path) -> np.ndarray:
        return decode(path, channels=self.shape[2], image_size=self.image_size)


def open_folder(path: pathlib.Path, image_size: int | None) -> Folder:
    """The pictures of a folder, in the order of their names; sub-folders, one level deep, are the classes."""
    paths, labels, classes = walk(path)
    shapes = []
    for file in paths:
        height, width, channels = header(file)
        shapes.append((height, width, channels) if image_size is None else (image_size, image_size, channels))
    for file, shape in zip(paths, shapes):
        if shape[:2] != shapes[0][:2]:
            raise DataError(
                f"{quote(path)}: images differ in size: {quote(paths[0].name)} is"
                f" {shapes[0][0]}x{shapes[0][1]} and"
                f" {quote(file.name)} is {shape[0]}x{shape[1]}; give an image size (--image-size 32) to"
                " resize them all"
            )
    channels = max(shape[2] for shape in shapes)
    shape = checked_shape((*shapes[0][:2], channels), quote(paths[0]))
    return Folder(tuple(paths), labels, classes, shape, image_size)


def walk(path: pathlib.Path) -> tuple[list[pathlib.Path], np.ndarray | None, int]:
    """The pictures of a folder by their names; with sub-folders, also labels and the number of classes."""
    entries = sorted((entry for entry in path.iterdir() if not entry.name.startswith(".")), key=lambda e: e.name)
    folders = [entry for entry in entries if entry.is_dir()]
    loose = [entry for entry in entries if not entry.is_dir() and entry.suffix.lower() in SUFFIXES]
    kinds = " ".join(suffix[1:] for suffix in SUFFIXES)
    if folders and loose:
        raise DataError(
            f"{quote(path)}: holds images beside sub-folders ({quote(loose[0].name)},"
            f" {quote(folders[0].name)});"
            " sub-folders are classes, so put every image into one, or none"
        )
    if not folders:
        if not loose:
            raise DataError(f"{quote(path)}: expected a folder with images ({kinds}), found none; check the path")
        return loose, None, 0
    paths, labels = [], []
    for index, folder in enumerate(folders):
        inside = sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda e: e.name)
        deeper = [entry for entry in inside if entry.is_dir()]
        found = [entry for entry in inside if entry.suffix.lower() in SUFFIXES]
        if deeper:
            raise DataError(f"{quote(deeper[0])}: class folders may not hold folders; move its images one level up")
        if not found:
            raise DataError(f"{quote(folder)}: expected a class folder with images ({kinds}), found none; remove it")
        paths += found
        labels += [index] * len(found)
    if len(folders) == 1:  # one class says nothing
        return paths, None, 0
    return paths, np.array(labels, np.int32), len(folders)


def open_npy(path: pathlib.Path) -> np.ndarray:
    """The images of an ``.npy`` file, mapped, not read."""
    try:
        check_regular(path)
        return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # numpy's readers raise nearly anything, too
        raise _not_arrays(path, error) from None


def open_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz`` file, by name."""
    try:
        with open_regular(path) as file, open_zip(file) as archive:
            return {info.filename.removesuffix(".npy"): _member(archive, info) for info in archive.infolist()}
    except Exception as error:
        raise _not_arrays(path, error) from None


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    name = info.filename
    if not name.endswith(".npy") or {"/", "\\"} & set(name) or not name.isprintable():
        raise ValueError(f"it holds {name[:80]!r}, which is no array of a field")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name[:80]} is compressed in a way that numpy does not write")
    with archive.open(info) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def images_among(arrays: Mapping[str, np.ndarray], path: pathlib.Path) -> tuple[np.ndarray, np.ndarray | None]:
    """``image`` (or the only array, or the first) and, if there, ``label`` of the arrays of an ``.npz`` file."""
    fields = [field for field in arrays if field != "label"]
    if not fields:
        raise DataError(f"{quote(path)}: expected an array 'image', found {list(arrays)}")
    field = "image" if "image" in fields else fields[0]
    image, label = checked_images(arrays[field], f"{quote(path)}, array {field!r}"), arrays.get("label")
    if label is not None:
        label = checked_labels(label, len(image), f"{quote(path)}, array 'label'")
    return image, label


def holds_images(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether the arrays of an ``.npz`` file are images: one is called so, or the first one looks like them."""
    first = next((x for field, x in arrays.items() if field != "label"), None)
    return first is None or "image" in arrays or (first.dtype == np.uint8 and first.ndim in (3, 4))


def _not_arrays(path: pathlib.Path, error: Exception) -> DataError:
    text = said(error)
    if "Object arrays" in text or "Python objects" in text:
        return DataError(
            f"{quote(path)}: expected a uint8 array, got Python objects, which are never unpickled; stack"
            " the images"
            " into one array before saving"
        )
    return DataError(f"{quote(path)}: expected numpy arrays, cannot read it ({text}); write it again with np.save")
