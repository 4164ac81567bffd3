"""Whatever a file holds, and whatever it is: no program runs, the memory holds, nothing hangs, and one line says why.

Every payload is given to every reader, in a process of their own. Where Pillow would call Ghostscript it would find one
that writes the canary.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from gen_jax.data.picture import MOST_PIXELS
from tests import payloads
from tests.payload_readers import READERS

MEMORY = 1 << 30  # bytes above those at the start
TIME = 10  # seconds


def ghostscript(programs: Path, canary: Path) -> Path:
    """A folder of programs in which the one that Pillow calls writes a canary."""
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch {canary}\n")
    (programs / "gs").chmod(0o755)
    return programs


class Reading:
    """The process of the readers; begun again where one of them hung."""

    def __init__(self, directory: Path, canary: Path):
        self.directory, self.canary, self.process = directory, canary, None
        programs = ghostscript(directory / "programs", canary)
        self.environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}

    def __call__(self, reader: str, folder: Path) -> dict:
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.payload_readers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                env=self.environment, text=True, cwd=Path(__file__).parent.parent,
            )  # fmt: skip
            self.ask("json", self.directory / "nothing", 100)
        return self.ask(reader, folder / READERS[reader][0], TIME)

    def ask(self, reader: str, path: Path, seconds: float) -> dict:
        self.process.stdin.write(f"{reader}\t{path}\n")
        self.process.stdin.flush()
        answered = select.select([self.process.stdout], [], [], seconds)[0]
        line = self.process.stdout.readline() if answered else ""
        if line:
            return json.loads(line)
        self.end()
        raised = "the end of the process" if answered else "nothing in time"
        return {"raised": raised, "house": False, "message": "", "bytes": 0, "seconds": seconds}

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    directory = tmp_path_factory.mktemp("readers")
    found = Reading(directory, directory / "canary")
    yield found
    found.end()


def makers(canary: Path):
    """What puts each payload at a path."""
    yield from payloads.ODD.items()
    for name, (make, _) in payloads.PROGRAMS.items():
        yield name, lambda path, make=make: path.write_bytes(make(canary))
    for name, make in payloads.CONTENTS.items():
        yield name, lambda path, make=make: path.write_bytes(make())


NAMES = [name for name, _ in makers(Path())]


@pytest.mark.xdist_group("payloads")
@pytest.mark.parametrize("name", NAMES)
def test_no_reader_comes_to_harm(name, reading, tmp_path):
    first = tmp_path / "payload"
    dict(makers(reading.canary))[name](first)
    wrong = []
    for reader, (file, _) in READERS.items():
        folder = tmp_path / reader.replace(" ", "_")
        folder.mkdir()
        if "folder" in reader:
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "good.png")
        if first.is_dir():
            (folder / file).mkdir()
        else:
            os.link(first, folder / file, follow_symlinks=False)
        found = reading(reader, folder)
        line = found["message"]
        names_it = str(folder) in line or reader == "json"  # which leaves that to others
        if not found["house"] or not names_it or "\n" in line or len(line) > 800:
            wrong.append(f"{reader}: {found['raised'] or 'accepted'}: {line[:300]}")
        if found["bytes"] > MEMORY or found["seconds"] > TIME:
            wrong.append(f"{reader}: {found['bytes']:,} bytes, {found['seconds']:.1f} s")
    assert not wrong, "\n".join(wrong)
    assert not reading.canary.exists()


@pytest.mark.xdist_group("payloads")
def test_the_largest_picture_is_read_in_little_memory(reading, tmp_path):
    """Of the most pixels, transparent, which takes the most; and an animation of many frames, of which one is read."""
    frames = [Image.new("P", (8, 8), level % 256) for level in range(2000)]
    frames[0].save(tmp_path / "many.gif", save_all=True, append_images=frames[1:])
    Image.new("RGBA", (8192, MOST_PIXELS // 8192), (1, 2, 3, 4)).save(tmp_path / "x.png", compress_level=1)
    found = reading("measured folder", tmp_path)
    assert not found["raised"] and 8192 * 8192 < found["bytes"] < MEMORY and found["seconds"] < 2 * TIME, found


@pytest.mark.parametrize("name", payloads.PROGRAMS)
def test_the_programs_would_run(name, tmp_path, monkeypatch):
    """In careless hands."""
    canary, path = tmp_path / "canary", tmp_path / "x.png"
    make, run = payloads.PROGRAMS[name]
    path.write_bytes(make(canary))
    monkeypatch.setenv("PATH", f"{ghostscript(tmp_path / 'programs', canary)}:{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    with contextlib.suppress(Exception):  # that the program's result is of no use does not matter
        run(path)
    assert canary.exists()
