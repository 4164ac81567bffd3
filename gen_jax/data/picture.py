"""One picture from a file, as uint8.

Grey stays grey; palettes and CMYK become RGB; transparent pixels are composited over white; rotations noted by a camera
(EXIF) are applied; of an animation the first frame is taken; pixels of more than 8 bits are refused.

Files are taken to be written by anyone. A picture is one of the formats that the suffixes name, whatever its own suffix
is: Pillow knows others, and runs programs for some (PostScript). Its size is judged before anything is decoded, and
pictures of many pixels are decoded one at a time.
"""

import contextlib
import pathlib
import threading
import warnings
from io import BufferedReader
from typing import Any

import numpy as np

from gen_jax.data.arrays import DataError
from gen_jax.reading import open_regular, quote, read_regular, said, size_of

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")
MOST_PIXELS = 1 << 26  # of a picture; with what is made of it on the way it takes 7 bytes for each

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF")
_MOST_BYTES = 4 * MOST_PIXELS  # of a picture's file
_MANY_PIXELS = 1 << 22  # or bytes of a file: the threads take turns
_TURN = threading.RLock()
_MOST_READS = 1 << 10, 1 << 18  # of a picture's file: until its size is known, and on the whole
_MOST_SCANNED = 1 << 31  # pixels that the scans of a JPEG may go over, which is 32 times the largest picture

_GREY = ("1", "L", "LA", "La")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
_QUIET = threading.Lock()
_TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")


class _Counted:
    """A file that is read in a bounded number of pieces: Pillow's readers work through any number, and join some of
    them in a time that grows with its square.
    """

    def __init__(self, file: BufferedReader):
        self.seek, self.tell, self._read, self.left = file.seek, file.tell, file.read, _MOST_READS[0]

    def read(self, size: int = -1) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise ValueError("it is cut into too many pieces")
        return self._read(size)


def _open(path: pathlib.Path, held: contextlib.ExitStack) -> Any:
    """A picture of which nothing is decoded yet; its file, and a turn if it is large, are held in ``held``."""
    from PIL import Image

    file = held.enter_context(open_regular(path, most=_MOST_BYTES))
    if size_of(file) > _MANY_PIXELS:
        held.enter_context(_TURN)
    counted: Any = _Counted(file)
    with _QUIET, warnings.catch_warnings():  # which changes what all threads see, one at a time
        warnings.simplefilter("ignore")
        image = Image.open(counted, formats=_FORMATS)
    counted.left = _MOST_READS[1]
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
    from PIL import Image, ImageOps

    image = _open(path, held)
    if image.format == "PNG":
        image.verify()  # checksums, which decoding skips
        image = _open(path, held)
    elif image.format in ("JPEG", "MPO"):
        scans = read_regular(path, most=_MOST_BYTES).count(b"\xff\xda")  # a few bytes each may go over all pixels
        if scans * image.width * image.height > _MOST_SCANNED:
            raise ValueError(f"it goes over its {image.width}x{image.height} pixels {scans} times")
    image.seek(0)
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    width, height = image.size
    pixels = np.empty((height, width, channels), np.uint8)
    rows = max(1, _MANY_PIXELS // width)  # at a time, as what is between takes several times the room of the result
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        if image.mode in _TRANSPARENT or "transparency" in image.info:
            strip = strip.convert("RGBA")
            strip = Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip)
        strip = strip.convert("L" if channels == 1 else "RGB")
        pixels[top : top + rows] = np.asarray(strip).reshape(-1, width, channels)
    return pixels


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
