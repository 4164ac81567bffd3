"""Korean syllables: Unicode's own decomposition, and pictures that differ where the syllables do."""

import unicodedata

import numpy as np
import pytest

from gen_jax import data
from gen_jax.data import hangul


def test_attributes_are_unicodes_decomposition():
    """Of all 11,172: lead, vowel and tail are the letters into which the normal form D takes them apart."""
    found = hangul.attributes(np.arange(11_172))
    assert len(np.unique(found, axis=0)) == 11_172
    for syllable, bits in enumerate(found):
        letters = [ord(c) for c in unicodedata.normalize("NFD", chr(0xAC00 + syllable))]
        places = [letters[0] - 0x1100, 19 + letters[1] - 0x1161, 40 + (letters[2] - 0x11A7 if letters[2:] else 0)]
        assert np.flatnonzero(bits).tolist() == places


def test_no_fonts_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "hangul").mkdir()
    monkeypatch.setenv("GEN_JAX_DATA_DIR", str(tmp_path))
    hangul._drawn.cache_clear()
    with pytest.raises(data.DataError, match="expected TrueType files, found none") as error:
        data.load("hangul")
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_the_splits_part_classes_and_faces():
    try:
        parts = {split: data.load("hangul", split=split) for split in ("train", "test", "unseen")}
    except data.DataError as error:
        pytest.skip(str(error))
    read = {name: source.read(np.arange(source.size)) for name, source in parts.items()}
    labels = {name: set(part["label"].tolist()) for name, part in read.items()}
    assert labels["train"] == labels["test"] == set(range(320)) and labels["unseen"] == set(range(320, 400))
    for part in read.values():
        assert part["image"].any(axis=(1, 2, 3)).all() and (part["attribute"].sum(axis=1) == 3).all()
    one_face = read["train"]["image"][:320]  # of one face, every class looks like itself alone
    assert len({image.tobytes() for image in one_face}) == 320
