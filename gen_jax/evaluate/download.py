"""One file from the network: whole and as it should be, or not at all.

Bytes go to a temporary file beside the target and are hashed as they come; only a file of the right SHA-256 is synced
and renamed into place, so that nobody ever sees a part of it, however many processes fetch it at once.
"""

import contextlib
import hashlib
import http.client
import os
import pathlib
import tempfile
import time
import urllib.error
import urllib.request

_CHUNK = 1 << 20


class DownloadError(OSError):
    """No file was left, and why, in one line."""


def download(
    url: str,
    path: str | pathlib.Path,
    *,
    sha256: str,
    size: int,
    tries: int = 3,
    timeout: float = 30.0,
    pause: float = 1.0,
) -> pathlib.Path:
    """Fetches a file whose content is known beforehand.

    Args:
      url: http or https address.
      path: where the file goes; folders on the way are made.
      sha256: of the content, 64 hexadecimal digits.
      size: of the content, in bytes; nothing longer is read.
      tries: how often it is asked for, if the network fails or the bytes are wrong.
      timeout: seconds without any byte after which a try has failed.
      pause: seconds before the second try; doubled before each further one.

    Returns:
      ``path``.

    Raises:
      DownloadError: one line with what was expected and what came.
    """
    path = pathlib.Path(path)
    if not url.startswith(("http://", "https://")):
        raise DownloadError(f"expected an address http:// or https://, got {url!r}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"{path.parent}: expected a folder to write to ({error.strerror})") from None
    failure = ""
    for attempt in range(tries):
        time.sleep(pause * 2 ** (attempt - 1) if attempt else 0)
        failure = _attempt(url, path, sha256, size, timeout)
        if not failure:
            return path
        if failure.startswith("HTTP 4"):
            break
    raise DownloadError(f"{url}: {failure}; fetch it by other means and put it at {path}")


def _attempt(url: str, path: pathlib.Path, sha256: str, size: int, timeout: float) -> str:
    """What went wrong, or nothing."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(url, timeout=timeout) as response:
            digest, length = hashlib.sha256(), 0
            # One byte more than expected is enough to know that it is another file.
            while chunk := response.read(min(_CHUNK, size + 1 - length)):
                file.write(chunk)
                digest.update(chunk)
                length += len(chunk)
            file.flush()
            os.fsync(file.fileno())
        if length != size or digest.hexdigest() != sha256:
            more = "more than " if length > size else ""
            return (
                f"expected {size:,} bytes with SHA-256 {sha256}, got {more}{min(length, size):,} bytes with SHA-256 "
                f"{digest.hexdigest()}"
            )
        os.replace(temporary, path)
        return ""
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code} {error.reason}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"{type(error).__name__}: {str(error) or 'the connection ended'}"
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
