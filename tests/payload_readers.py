"""Every reader of files that come from anywhere, in a process of its own that says what became of each file.

A line of standard input is a reader's name and the path of a file; the line of JSON that answers says what was raised,
how much memory the reading took above what the process had, and for how long it ran.
"""

import ctypes
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from gen_jax import data, evaluate, reading
from gen_jax.data import named, texts
from gen_jax.evaluate.torch_file import read_torch_file

SUFFIXES = ("png", "jpg", "jpeg", "bmp", "webp", "gif")
ROOM = 4 << 30  # bytes of address space beyond those at the start, so that a bomb does no harm to the machine


def folder(path: Path) -> None:
    lazy = data.load(str(path.parent), image_size=8, memory_limit=0, split="test")
    lazy.read(np.arange(lazy.size))
    data.load(str(path.parent), image_size=8)


def measured(path: Path) -> None:
    whole = path.suffix in (".npy", ".npz")
    list(evaluate.open_examples(path if whole else path.parent).batches(4))


def phage(path: Path) -> None:
    texts.BOWTIE = path.parent
    texts.phage("train")


READERS = {
    **{f"folder of {suffix}": (f"x.{suffix}", folder) for suffix in SUFFIXES},
    "measured folder": ("x.png", measured),
    "npy": ("x.npy", lambda path: data.load(str(path))),
    "npz": ("x.npz", lambda path: data.load(str(path))),
    "measured npy": ("x.npy", measured),
    "measured npz": ("x.npz", measured),
    "told npz": ("x.npz", data.files.open_npz),
    "idx": ("train-images-idx3-ubyte.gz", lambda path: named.fashion_mnist(path.parent, "train", None)),
    "phage": ("lambda_virus.fa.gz", phage),
    "pth": ("x.pth", read_torch_file),
    "inception": ("x.pth", evaluate.load_inception),
    "statistics": ("x.safetensors", evaluate.load_statistics),
    "features": ("x.safetensors", lambda path: evaluate.read_feature_network(path, "own")),
    "json": ("x.json", reading.read_json),
}


def judged(name: str, path: Path) -> dict[str, object]:
    """What one reader makes of one file."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = _status("VmRSS"), time.monotonic()
    raised, house, message = "", False, ""
    try:
        READERS[name][1](path)
    except BaseException as error:
        raised, message = type(error).__name__, str(error)
        # what only helps others to read raises what these put into words
        house = isinstance(error, (OSError, ValueError) if name == "json" else data.DataError)
    return {
        "raised": raised,
        "house": house,
        "message": message,
        "bytes": _status("VmHWM") - before,
        "seconds": time.monotonic() - start,
    }


def _status(name: str) -> int:
    """Bytes of this process, resident now (VmRSS), at the peak (VmHWM), or in all (VmSize)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    room = _status("VmSize") + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    for line in sys.stdin:
        reader, place = line.rstrip("\n").split("\t")
        print(json.dumps(judged(reader, Path(place))), flush=True)
