"""Images from files: folders of pictures, ``.npy`` and ``.npz`` arrays.

What a folder's files become: grey stays grey, and if any file has colour all are read as RGB; palettes and
CMYK become RGB; transparent pixels are composited over white; rotations noted by a camera (EXIF) are applied;
of an animation the first frame is taken; pixels of more than 8 bits are refused.

Files are taken to be written by anyone. A picture is one of the formats that the suffixes name, whatever its own suffix
is: Pillow knows others, and runs programs for some (PostScript). Its size is judged before anything is decoded, and
pictures of many pixels are decoded one at a time. Arrays are never unpickled.
"""

import contextlib
import pathlib
import threading
import warnings
import zipfile
from collections.abc import Mapping
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np

from gen_jax.data.arrays import DataError, Examples, checked_images, checked_labels, checked_shape
from gen_jax.reading import check_regular, open_regular, open_zip, size_of

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")
MOST_PIXELS = 1 << 26  # of a picture; what is made of it on the way takes 12 bytes for each

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF")
_MOST_BYTES = 4 * MOST_PIXELS  # of a picture's file
_MANY_PIXELS = 1 << 22  # or bytes of a file: the threads take turns
_TURN = threading.RLock()

_GREY = ("1", "L", "LA", "La")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
_QUIET = threading.Lock()
_TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")


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


def _open(path: pathlib.Path, held: contextlib.ExitStack) -> Any:
    """A picture of which nothing is decoded yet; its file, and a turn if it is large, are held in ``held``."""
    from PIL import Image

    file = held.enter_context(open_regular(path, most=_MOST_BYTES))
    if size_of(file) > _MANY_PIXELS:
        held.enter_context(_TURN)
    with _QUIET, warnings.catch_warnings():  # which changes what all threads see, one at a time
        warnings.simplefilter("ignore")
        image = Image.open(file, formats=_FORMATS)
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise ValueError(f"it has {width}x{height} pixels, and at most {MOST_PIXELS:,} are decoded")
    if width * height > _MANY_PIXELS:
        held.enter_context(_TURN)
    return image


def header(path: pathlib.Path) -> tuple[int, int, int]:
    """Height, width and channels of a picture, without decoding it; refused, if it cannot be used."""
    try:
        with contextlib.ExitStack() as held:
            image = _open(path, held)
            size, mode = image.size, image.mode
            # Pillow reads colour PNGs of 16 bits as their upper 8 without a word
            deep = mode.startswith("I") or (image.format == "PNG" and "16" in str(image.tile))
    except Exception as error:  # Pillow's readers raise nearly anything on broken files
        raise _unreadable(path, error) from None
    if deep or mode not in _GREY + _COLOUR:
        raise DataError(
            f"{quote(path)}: expected 8 bits a channel, got {'16 bits' if deep else f'mode {mode}'};"
            " convert it to"
            " 8 bits first, as the right scaling depends on the data"
        )
    return size[1], size[0], 1 if mode in _GREY else 3


def decode(path: pathlib.Path, *, channels: int, image_size: int | None = None) -> np.ndarray:
    """The picture in a file as uint8 ``[H, W, channels]``, as the head of this file says."""
    try:
        with contextlib.ExitStack() as held:
            pixels = _pixels(path, channels, held)
            return pixels if image_size is None else resize(pixels, image_size)
    except Exception as error:
        raise _unreadable(path, error) from None


def _pixels(path: pathlib.Path, channels: int, held: contextlib.ExitStack) -> np.ndarray:
    from PIL import ImageOps

    image = _open(path, held)
    if image.format == "PNG":
        image.verify()  # checksums, which decoding skips
        image = _open(path, held)
    image.seek(0)
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        image = image.convert("RGBA")
        image = _over_white(image)
    image = image.convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(image)
    return pixels[..., None] if channels == 1 else pixels


def _over_white(image: Any) -> Any:
    from PIL import Image

    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _unreadable(path: pathlib.Path, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        reason = "the file is missing, or a link to nothing"
    elif path.is_file() and not path.stat().st_size:
        reason = "the file is empty"
    elif type(error).__name__ == "UnidentifiedImageError":
        reason = f"it is none of {', '.join(_FORMATS)}"
    else:
        reason = said(error)
    return DataError(f"{quote(path)}: expected an image, cannot read it ({reason}); replace or remove the file")


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """``pixels [H, W, C]`` cropped to their central square and resized to ``size`` by Pillow's antialiased
    bicubic.
    """
    from PIL import Image

    height, width, channels = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    if side == size:
        return square
    image = Image.fromarray(square[..., 0] if channels == 1 else square)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)).reshape(size, size, channels)


def resize_all(images: np.ndarray, size: int | None) -> np.ndarray:
    """:func:`resize` over images ``[N, H, W, C]``; as they are, if ``size`` is None."""
    return images if size is None else np.stack([resize(pixels, size) for pixels in images])


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


def quote(path: pathlib.Path | str) -> str:
    """A path for a one-line message, whatever bytes are in its name."""
    text = repr(str(path))
    return text if len(text) <= 200 else f"{text[:60]}...{text[-130:]}"


def said(error: Exception) -> str:
    """What an error says, in a line that is not too long, without the path that the message names anyway."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__
