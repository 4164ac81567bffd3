"""Room on a disk and in memory: what is needed, what there is, and how it is said that it does not suffice."""

import contextlib
import errno
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


class DiskFullError(OSError):
    """A disk is full, or a quota is used up."""


@contextlib.contextmanager
def writing(path: Path, needed: int | None = None) -> Iterator[None]:
    """A file, or a folder, is written within: what goes wrong names it, and says whether the disk is full.

    Args:
      path: of what is written.
      needed: bytes of it, if that is known.

    Raises:
      OSError: made by :func:`disk_error`.
    """
    try:
        yield
    except OSError as error:
        raise disk_error(error, path, "writing", needed) from error


def disk_error(error: BaseException, path: Path, what: str, needed: int | None) -> OSError:
    """What is raised in place of an error: that the disk is full, if that was behind it, else what it says.

    Args:
      error: of whoever wrote.
      path: of what was written.
      what: was being done.
      needed: bytes of it, if that is known.
    """
    if not _is_full(error):
        number = error.errno if isinstance(error, OSError) and error.filename is None else None
        failed = OSError(f"{what} {path} failed: {os.strerror(number) if number else error}")
        failed.errno = getattr(error, "errno", None)
        return failed
    place = next(parent for parent in (path, *path.parents) if parent.exists())
    files = os.statvfs(place)
    left = (
        f"; no more than {files.f_favail:,} files may be made there" if files.f_files and files.f_favail < 100 else ""
    )
    needs = "" if needed is None else f"it needs {needed:,} bytes, and "
    return DiskFullError(
        f"{what} {path} failed: the disk is full, or the quota used up: {needs}"
        f"{shutil.disk_usage(place).free:,} are free{left}. Make room; what was there before is whole, and the same"
        " command goes on from it"
    )


def check_memory(needed: int, what: str) -> None:
    """A MemoryError if this process may not have so many bytes more: the compiled program would abort.

    Args:
      needed: bytes, a lower bound.
      what: needs them.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    statm = Path("/proc/self/statm")
    if limit == resource.RLIM_INFINITY or not statm.exists():
        return
    free = limit - int(statm.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    if needed > free:
        raise MemoryError(f"{what} takes {needed:,} bytes or more, and {max(free, 0):,} are left to this process")


def _is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error, or what it came of; other languages say it in words."""
    if error is None:
        return False
    full = isinstance(error, OSError) and error.errno in _FULL
    words = any(os.strerror(number) in str(error) for number in _FULL)
    return full or words or _is_full(error.__cause__)
