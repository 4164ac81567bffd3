"""R13, R14, R15, R17, R18: what the tests try already, the long ones too, and more of what they draw."""

import string
from pathlib import Path

import numpy as np
import safetensors.numpy
from PIL import Image

import gen_jax
from gen_jax import cli
from soak.bench import Bench
from tests.payload_readers import READERS
from tests.test_cli import EXPERIMENTS
from tests.test_payloads import MEMORY, Reading


def r13(bench: Bench) -> None:
    """Odd command lines, and every flag misspelt: each is taken, or refused in one line, and nothing is written."""
    bench.suite("test_cli_fuzz.py", chosen="1000" if bench.scale >= 1 else "200")
    bench.suite("test_cli.py", chosen="bad or refused")
    named, lines = 0, 0
    for name, experiment in EXPERIMENTS.items():
        default = next(iter(experiment.PRESETS.values()))
        known = cli._flags(default)
        for flag in bench.some(known):
            typed = _misspelt(bench, flag)
            if typed not in known:
                said, lines = cli._unknown_flag(default, [typed]) or "", lines + 1
                named += f"did you mean {flag}?" in said
                bench.check(f"{name} {typed}", said.startswith(f"unknown flag {typed}") and "\n" not in said, said)
    bench.check("the nearest flag is the one that was meant", named >= 0.95 * lines, f"{named} of {lines}")


def _misspelt(bench: Bench, flag: str) -> str:
    at, letter = bench.random.randrange(3, len(flag)), bench.random.choice(string.ascii_lowercase)
    ways = (flag[:at] + flag[at + 1 :], flag[:at] + letter + flag[at:], flag[:at] + letter + flag[at + 1 :])
    return bench.random.choice(ways)


def r14(bench: Bench) -> None:
    """Data that are damaged, strange or not data: refused in one line, or taken as it is said."""
    chosen = "bad or damage or refuse or truncat or odd or wrong or missing or unknown or without or become or cmyk"
    bench.suite("test_cli.py", "test_data.py", chosen=chosen)
    bench.suite("test_evaluate_command.py", chosen="mistakes")


def r15(bench: Bench) -> None:
    """Files from anyone, given to every reader: none runs a program, hangs, or takes the memory."""
    bench.suite("test_payloads.py", "test_torch_file.py", "test_download.py")
    reading = Reading(bench.folder, bench.folder / "canary")
    try:
        for number in range(bench.number(3000)):
            _changed(bench, reading, number)
    finally:
        reading.end()


def _changed(bench: Bench, reading: Reading, number: int) -> None:
    """A good file, of which some bytes are others: refused in a line, or read, in little time and memory."""
    reader = bench.random.choice(list(_GOOD))
    place = bench.folder / READERS[reader][0]
    content = bytearray(_GOOD[reader](place))
    head = min(len(content), 400)  # where sizes, types and places are
    for _ in range(bench.random.choice((1, 1, 2, 5))):
        at = bench.random.randrange(head if bench.random.random() < 0.8 else len(content))
        how = bench.random.choice(("bit", "any", "number", "cut", "more"))
        if how == "bit":
            content[at] ^= 1 << bench.random.randrange(8)
        elif how == "any":
            content[at] = bench.random.randrange(256)
        elif how == "number":
            content[at : at + 1] = bench.random.choice((b"9" * 19, b"-1", b"0", b"\xff" * 8, b"1e9", b"[", b"}"))
        elif how == "more":
            content[at:at] = bench.random.randbytes(8)
        elif len(content) > 16:
            del content[at:]
            break
    place.write_bytes(content)
    found = reading(reader, bench.folder)
    line = found["message"]
    fits = found["bytes"] <= MEMORY and found["seconds"] < 5
    fine = not found["raised"] or (found["house"] and "\n" not in line and len(line) < 800)
    bench.check(f"file {number} for {reader!r}", fits and fine, found)


def _npy(place: Path) -> bytes:
    np.save(place, np.arange(192, dtype=np.uint8).reshape(4, 4, 4, 3))
    return place.read_bytes()


def _npz(place: Path) -> bytes:
    np.savez(place, image=np.zeros((4, 4, 4, 3), np.uint8), label=np.arange(4))
    return place.read_bytes()


def _png(place: Path) -> bytes:
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(place)
    return place.read_bytes()


def _weights(place: Path) -> bytes:
    return (Path(gen_jax.__file__).parent / "evaluate" / "weights" / "digits.safetensors").read_bytes()


def _tensors(place: Path) -> bytes:
    arrays = {"mean": np.zeros(4), "scatter": np.eye(4), "n": np.array(9)}
    return safetensors.numpy.save(arrays, {"name": "x", "network": "y"})


_GOOD = {
    "npy": _npy, "npz": _npz, "measured npz": _npz, "folder of png": _png, "folder of gif": _png,
    "statistics": _tensors, "features": _weights,
}  # fmt: skip


def r17(bench: Bench) -> None:
    """Distances equal their closed forms, whatever the batch, the order and the number of devices."""
    bench.suite("test_evaluate_metrics.py", "test_evaluate_statistics.py")


def r18(bench: Bench) -> None:
    """Mistakes that have made published distances wrong are each seen by the tests."""
    if bench.scale >= 1:
        bench.suite("test_mutants.py")
