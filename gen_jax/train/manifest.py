"""What the files of a checkpoint should be: their sizes and hashes, beside them.

What systems and file browsers leave anywhere (``.DS_Store``, ``._x``, ``.nfs...``, ``Thumbs.db``) is no part of it.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from gen_jax.reading import read_regular
from gen_jax.train import watch
from gen_jax.train.files import write_atomically

MANIFEST = "manifest.json"
_MOST_BYTES = 1 << 28
_LITTER = ("Thumbs.db", "desktop.ini")  # and all hidden files


def write_manifest(path: Path) -> None:
    """Size and hash of every file of a committed step, written atomically."""
    files = {name: _fingerprint(path / name) for name in _files(path) if not _is_litter(name)}
    write_atomically(path / MANIFEST, json.dumps({"files": files}, indent=1))


def verify(path: Path) -> str | None:
    """What is wrong with a committed step, in a few words; None if nothing is."""
    try:
        files = json.loads(read_regular(path / MANIFEST, most=_MOST_BYTES))["files"]
        expected = {name: (int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()}
    except FileNotFoundError:
        return "it has no manifest (the run was stopped while saving)"
    except OSError as error:
        return f"{MANIFEST} cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{MANIFEST} cannot be read"
    for name in sorted(set(_files(path)) ^ set(expected)):
        if name in expected or not _is_litter(name):
            return f"{name} is {'missing' if name in expected else 'not in its manifest'}"
    for name, (size, sha256) in expected.items():
        watch.moved()
        try:
            found = _fingerprint(path / name)
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        if found != {"size": size, "sha256": sha256}:
            return f"{name} has changed (SHA-256 {found['sha256'][:12]}, written as {sha256[:12]})"
    return None


def _files(path: Path) -> list[str]:
    files = [str(file.relative_to(path)) for file in sorted(path.rglob("*")) if file.is_file()]
    return [name for name in files if name != MANIFEST]


def _is_litter(name: str) -> bool:
    return any(part.startswith(".") or part in _LITTER for part in Path(name).parts)


def _fingerprint(file: Path) -> dict[str, Any]:
    with open(file, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"size": file.stat().st_size, "sha256": digest}
