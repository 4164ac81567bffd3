"""One function, :func:`load`, from a name or a path to a :class:`~gen_jax.data.arrays.Source`."""

import difflib
import os
import pathlib
from collections.abc import Callable

import numpy as np

from gen_jax.data import files, hangul, named, picture, points, texts
from gen_jax.data.arrays import (
    MEMORY_LIMIT,
    DataError,
    Examples,
    Loaded,
    Source,
    checked_images,
    checked_shape,
    choose_split,
    counted,
    from_arrays,
    from_fields,
    hold_out_generator,
    lazy,
)
from gen_jax.fields import images
from gen_jax.reading import quote

MADE_OF_FIELDS: dict[str, Callable[[str], Loaded]] = {
    "letters": texts.letters,
    "phage": texts.phage,
    "newsgroups": texts.newsgroups,
    "hangul": hangul.hangul,
    "ring": points.ring,
    "grid": points.grid,
    "swiss_roll": points.swiss_roll,
}
"""Data sets of other fields than images, by name; each is a function of the split."""

__all__ = ["DataError", "Source", "from_arrays", "load"]


def load(
    name_or_path: str,
    *,
    split: str = "train",
    image_size: int | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> Source:
    """A data set by name or path.

    ``digits`` is scikit-learn's 1,797 grey 8x8 images (30 of each class are the test split); ``fashion_mnist`` is read
    from ``$GEN_JAX_DATA_DIR/fashion_mnist`` or Debian's package, else from TFDS; ``letters``, ``phage`` and
    ``newsgroups`` are sequences and documents (:mod:`gen_jax.data.texts`), ``ring``, ``grid`` and ``swiss_roll`` points
    (:mod:`gen_jax.data.points`), ``hangul`` syllables with attributes (:mod:`gen_jax.data.hangul`). A path is a folder
    of images, whose sub-folders are classes, an ``.npy`` file (uint8 ``[N, H, W, C]`` or ``[N, H, W]``) or an ``.npz``
    file (arrays ``image`` and, optionally, ``label``; or of any fields, see :func:`~gen_jax.data.arrays.from_fields`).
    Files have no split of their own: a tenth, chosen by a fixed permutation, is ``test``, the rest ``train``. Any other
    name is a TFDS image set in ``$TFDS_DATA_DIR``, prepared with ``file_format="array_record"``.

    Args:
      name_or_path: see above; write ``./digits`` for a folder that is called as a data set is.
      split: ``train`` or ``test``; for TFDS any of its split expressions, such as ``validation`` or
        ``train[:10%]``.
      image_size: crop every image to its central square and resize it to this side, pixels; if not given, all
        images must already be of one size.
      memory_limit: sets larger than this when decoded, bytes, stay on disk and are read as they are needed.

    Raises:
      DataError: if there is no such data, or it cannot be used.
    """
    if image_size is not None:
        checked_shape((image_size, image_size, 1), "image size")
    if name_or_path == "digits":
        return named.digits(split, image_size)
    if name_or_path in MADE_OF_FIELDS:
        _refuse_size(name_or_path, image_size)
        loaded = MADE_OF_FIELDS[name_or_path](split)
        return from_fields(loaded.values, loaded.fields, name=loaded.name, split=split, names=loaded.names)
    directory = named.fashion_directory()
    if name_or_path == "fashion_mnist" and directory:
        return named.fashion_mnist(directory, split, image_size)
    path = pathlib.Path(name_or_path).expanduser()
    try:
        if path.exists():
            return _from_path(path, split, image_size, memory_limit)
        if _looks_like_path(name_or_path):
            raise _missing(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"{quote(path)}: cannot read it ({reason}); check the path and its rights") from None
    return named.tfds_set(name_or_path, split, image_size, memory_limit)


def _looks_like_path(text: str) -> bool:
    suffix = pathlib.Path(text).suffix.lower()
    return os.sep in text or text.startswith((".", "~")) or suffix in (".npy", ".npz", *picture.SUFFIXES)


def _missing(path: pathlib.Path) -> DataError:
    parent = path.parent
    siblings = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, 1)
    hint = f"did you mean {quote(parent / near[0])}?" if near else "check the path"
    return DataError(f"{quote(path)}: no such file or folder; {hint}")


def _from_path(path: pathlib.Path, split: str, image_size: int | None, memory_limit: int) -> Source:
    if path.is_dir():
        return _from_folder(quote(path), files.open_folder(path, image_size), split, memory_limit)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _from_npy(quote(path), files.open_npy(path), split, image_size, memory_limit)
    arrays = files.open_npz(path) if suffix == ".npz" else {}
    if suffix == ".npz" and not files.holds_images(arrays):
        _refuse_size(quote(path), image_size)
        kept = _hold_out(quote(path), len(next(iter(arrays.values()))), split)
        whole = from_fields(arrays, name=quote(path))  # whose fields are those of every split
        return from_fields(whole.read(kept), whole.fields, name=quote(path), split=split)
    if suffix == ".npz":
        image, label = files.images_among(arrays, path)
        kept = _hold_out(quote(path), len(image), split)
        classes = None if label is None else int(label.max()) + 1
        label = None if label is None else label[kept]
        image = picture.resize_all(image[kept], image_size)
        return from_arrays(image, label, classes=classes, name=quote(path), split=split)
    raise DataError(f"{quote(path)}: expected a folder of images, an .npy or an .npz file; convert it to one of these")


def _from_npy(name: str, image: np.ndarray, split: str, image_size: int | None, memory_limit: int) -> Source:
    image = checked_images(image, name)
    kept = _hold_out(name, len(image), split)

    def read(indices: np.ndarray) -> Examples:
        return {"image": picture.resize_all(np.array(image[kept[indices]]), image_size)}

    if image.nbytes <= memory_limit:
        return from_arrays(read(np.arange(len(kept)))["image"], name=name, split=split)
    sides = (image_size, image_size) if image_size else image.shape[1:3]
    return lazy(name, split, fields=images((*sides, image.shape[3])), size=len(kept), read=read)


def _from_folder(name: str, folder: files.Folder, split: str, memory_limit: int) -> Source:
    kept = _hold_out(name, len(folder.paths), split)
    if len(folder.paths) * int(np.prod(folder.shape)) > memory_limit:
        return lazy(
            name,
            split,
            fields=images(folder.shape, folder.classes),
            size=len(kept),
            read=lambda indices: folder.read(kept[indices]),
            facts=[(path.name, path.stat().st_size) for path in folder.paths],
            counts=_label_counts(folder, kept),
        )
    # Test images are decoded too, so that a broken one is found now and not after the training.
    everything = folder.read(np.arange(len(folder.paths)))
    label = everything["label"][kept] if folder.classes else None
    return from_arrays(everything["image"][kept], label, classes=folder.classes, name=name, split=split)


def _label_counts(folder: files.Folder, kept: np.ndarray) -> dict[str, tuple[int, ...]]:
    return {} if folder.labels is None else {"label": counted(folder.labels[kept], folder.classes)}


def _refuse_size(name: str, image_size: int | None) -> None:
    if image_size is not None:
        raise DataError(f"{name}: an image size was given, and these are no images; leave it out")


def _hold_out(name: str, size: int, split: str) -> np.ndarray:
    if size < 2:
        raise DataError(f"{name}: expected 2 images or more, as one is held out, got {size}")
    order = hold_out_generator().permutation(size)
    test = max(1, size // 10)
    return choose_split(name, {"train": np.sort(order[:-test]), "test": np.sort(order[-test:])}, split)
