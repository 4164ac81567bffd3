"""Files from anywhere, opened so that what they are does no harm.

Nothing but a regular file is opened: a named pipe would be waited for for ever, a device never ends. What a reader
takes whole is judged by its size first, an archive by what it would unfold to, JSON by its depth. What is wrong is an
:class:`UnfitFileError`, an OSError whose ``strerror`` says it, or a ValueError of one line; whoever reads names the
file and says what was expected.
"""

import contextlib
import errno
import gzip
import json
import os
import pathlib
import stat
import zipfile
from io import BufferedReader
from typing import Any

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

_JSON_BYTES = 1 << 24
_MEMBERS_BYTES = 1 << 22  # that an archive says of its members; each takes 46 or more, and ten times that in memory
_UNFOLDED_BYTES = 1 << 28  # that any archive may unfold to
_UNFOLDED_RATIO = 32  # times its own size that a larger one may


class UnfitFileError(OSError):
    """What a path names is no regular file, or too large for its kind; ``strerror`` says which."""


def check_regular(path: str | os.PathLike[str], *, most: int | None = None) -> None:
    """An :class:`UnfitFileError` unless the path, or what it links to, is a regular file of at most ``most`` bytes.

    Raises:
      OSError: if there is none, too.
    """
    _check(os.stat(path), path, most)


def open_regular(path: str | os.PathLike[str], *, most: int | None = None) -> BufferedReader:
    """A regular file of at most ``most`` bytes, opened to be read.

    Raises:
      UnfitFileError: if it is none.
      OSError: if it cannot be opened.
    """
    check_regular(path, most=most)  # before it is opened, which some devices notice
    with contextlib.ExitStack() as held:
        file = held.enter_context(open(path, "rb", opener=_without_waiting))
        _check(os.fstat(file.fileno()), path, most)  # after, as it may have been exchanged
        held.pop_all()
    return file


def read_regular(path: str | os.PathLike[str], *, most: int) -> bytes:
    """The content of a regular file of at most ``most`` bytes; errors are those of :func:`open_regular`."""
    with open_regular(path, most=most) as file:
        return file.read(size_of(file))


def size_of(file: BufferedReader) -> int:
    """Bytes of an opened file."""
    return os.fstat(file.fileno()).st_size


def read_json(path: str | os.PathLike[str]) -> Any:
    """What a JSON file of at most 16 MiB says; errors are those of :func:`open_regular` and :func:`parse_json`."""
    return parse_json(read_regular(path, most=_JSON_BYTES))


def parse_json(text: str | bytes) -> Any:
    """What JSON says, in UTF-8 where it is bytes.

    Raises:
      ValueError: if it is none, or nested too deeply.
    """
    try:
        return json.loads(text.decode() if isinstance(text, bytes) else text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_gzip(path: str | os.PathLike[str], *, most: int) -> bytes:
    """What a gzipped file unfolds to, at most ``most`` bytes.

    Raises:
      ValueError: if it is more.
      OSError, EOFError, zlib.error: if it is none, or damaged; and those of :func:`open_regular`.
    """
    with open_regular(path) as file, gzip.open(file) as unfolded:
        content = unfolded.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it unfolds to more than {most:,} bytes")
    return content


def open_zip(file: BufferedReader) -> zipfile.ZipFile:
    """A zip archive in an opened file; of none of its members a byte is read.

    Raises:
      ValueError: if it has too many members, or would unfold to far more than it holds.
      zipfile.BadZipFile: if it is none, or damaged; OSError and others, too.
    """
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # what ZipFile itself goes by
    if end and end[5] > _MEMBERS_BYTES:
        raise ValueError(f"it has too many members: {end[5]:,} bytes of names, {_MEMBERS_BYTES:,} may be")
    archive, size = zipfile.ZipFile(file), size_of(file)
    unfolded = sum(info.file_size for info in archive.infolist())
    if unfolded > max(_UNFOLDED_BYTES, _UNFOLDED_RATIO * size):
        raise ValueError(
            f"it would unfold to {unfolded:,} bytes, more than {_UNFOLDED_RATIO} times the {size:,} that it holds;"
            " leave it uncompressed"
        )
    return archive


def quote(path: str | os.PathLike[str]) -> str:
    """A path for a one-line message, whatever bytes are in its name."""
    text = repr(str(path))
    return text if len(text) <= 200 else f"{text[:60]}...{text[-130:]}"


def said(error: Exception) -> str:
    """What an error says, in a line that is not too long, without the path that the message names anyway."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _check(found: os.stat_result, path: str | os.PathLike[str], most: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        what = next((kind for is_one, kind in _KINDS if is_one(found.st_mode)), "something else")
        raise UnfitFileError(errno.EINVAL, f"it is {what} and no regular file", str(pathlib.Path(path)))
    if most is not None and found.st_size > most:
        raise UnfitFileError(errno.EFBIG, f"it has {found.st_size:,} bytes, {most:,} may be", str(pathlib.Path(path)))
