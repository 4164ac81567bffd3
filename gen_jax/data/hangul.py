"""Korean syllables in many typefaces: classes whose attributes are exact, for learning classes without examples.

The syllable at U+AC00 + (28 * 21 L + 28 V + T) has the lead consonant L (19), the vowel V (21) and the tail T (28, of
which 0 is none): three one-hot vectors, 68 bits, which no two syllables share (The Unicode Standard, 3.12). 400 of the
11,172 are drawn once and for ever; 320 of them are *seen*, 80 *unseen*, which are the last labels. Every fifth typeface
is held out:

    train    seen syllables, in four of five typefaces
    test     seen syllables, in the others
    unseen   unseen syllables, in all of them

Drawn from the TrueType files of Debian's packages fonts-nanum, fonts-nanum-extra, fonts-unfonts-core,
fonts-unfonts-extra and fonts-baekmuk, or of ``$GEN_JAX_DATA_DIR/hangul``. A face that draws a fifth of the syllables as
nothing, or as another of them, has only the common ones, and is left out.
"""

import functools
import os
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gen_jax.data.arrays import DataError, Loaded, choose_split
from gen_jax.data.named import DATA_DIRECTORY
from gen_jax.fields import PIXELS, REAL, SYMBOL, Field
from gen_jax.reading import quote

FONTS = pathlib.Path("/usr/share/fonts/truetype")
PACKAGES = ("nanum", "unfonts-core", "unfonts-extra", "baekmuk")  # folders there
CLASSES, UNSEEN, SIDE = 400, 80, 32
_LEADS, _VOWELS, _TAILS = 19, 21, 28
_FIRST = 0xAC00
_MOST_MISSING = 0.2
_HELD_OUT = 5  # of so many faces the last


def hangul(split: str) -> Loaded:
    """``image [32, 32, 1]``, white on black, ``label`` (of 400) and ``attribute [68]``; see the module."""
    drawn, syllables = _drawn(), _syllables()
    faces = np.arange(len(drawn))
    held_out = faces % _HELD_OUT == _HELD_OUT - 1
    seen, unseen = np.arange(CLASSES - UNSEEN), np.arange(CLASSES - UNSEEN, CLASSES)
    parts = {"train": (faces[~held_out], seen), "test": (faces[held_out], seen), "unseen": (faces, unseen)}
    kept, classes = choose_split("hangul", parts, split)
    image, label = drawn[np.ix_(kept, classes)].reshape(-1, SIDE, SIDE, 1), np.tile(classes, len(kept))
    inked = image.any(axis=(1, 2, 3))
    image, label = image[inked], label[inked].astype(np.int32)
    values = {"image": image, "label": label, "attribute": attributes(syllables)[label]}
    fields = {
        "image": Field(image.shape[1:], PIXELS),
        "label": Field((), SYMBOL, CLASSES),
        "attribute": Field((_LEADS + _VOWELS + _TAILS,), REAL),
    }
    return Loaded(values, fields, "hangul", {"label": tuple(chr(_FIRST + s) for s in syllables)})


def attributes(syllables: np.ndarray) -> np.ndarray:
    """Lead, vowel and tail of syllables counted from the first, ``[N]``, as bits ``[N, 68]``."""
    lead, rest = np.divmod(syllables, _VOWELS * _TAILS)
    parts = zip((lead, *np.divmod(rest, _TAILS)), (_LEADS, _VOWELS, _TAILS))
    return np.concatenate([np.eye(size, dtype=np.float32)[index] for index, size in parts], axis=1)


def _syllables() -> np.ndarray:
    """Those of the labels; any that is unseen has parts that are seen."""
    chosen = np.random.default_rng(0).permutation(_LEADS * _VOWELS * _TAILS)[:CLASSES]
    known = attributes(chosen[: CLASSES - UNSEEN]).any(axis=0)
    assert not (attributes(chosen).any(axis=0) & ~known).any()
    return chosen


@functools.cache
def _drawn() -> np.ndarray:
    """All syllables in every face: uint8 ``[faces, 400, 32, 32]``."""
    drawn: list[np.ndarray] = []
    for file in _files():
        font = ImageFont.truetype(str(file), int(0.85 * SIDE))
        glyphs = np.stack([_glyph(font, chr(_FIRST + s)) for s in _syllables()])
        different = {glyph.tobytes() for glyph in glyphs if glyph.any()}
        is_new = not any(np.array_equal(glyphs, other) for other in drawn)  # some files are links to others
        if len(different) >= (1 - _MOST_MISSING) * CLASSES and is_new:
            drawn.append(glyphs)
    if len(drawn) < _HELD_OUT:
        raise DataError(f"hangul: expected {_HELD_OUT} faces with Korean syllables, got {len(drawn)}; add some")
    return np.stack(drawn)


def _files() -> list[pathlib.Path]:
    chosen = os.environ.get(DATA_DIRECTORY)
    own = pathlib.Path(chosen).expanduser() / "hangul" if chosen else None
    places = [own] if own and own.is_dir() else [FONTS / name for name in PACKAGES]
    files = sorted((file for place in places for file in place.glob("*.ttf")), key=lambda file: file.name)
    if not files:
        where = " or ".join(quote(place) for place in places)
        raise DataError(
            f"hangul: expected TrueType files, found none in {where}; install Debian's packages fonts-nanum,"
            f" fonts-unfonts-core and fonts-baekmuk, or put files in ${DATA_DIRECTORY}/hangul"
        )
    return files


def _glyph(font: ImageFont.FreeTypeFont, character: str) -> np.ndarray:
    left, top, right, bottom = font.getbbox(character)
    image = Image.new("L", (SIDE, SIDE))
    corner = ((SIDE - (right - left)) / 2 - left, (SIDE - (bottom - top)) / 2 - top)
    ImageDraw.Draw(image).text(corner, character, font=font, fill=255)
    return np.asarray(image)
