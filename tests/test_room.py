"""What does not fit on a disk or into memory is refused in a line that says what is needed and what there is."""

import errno
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy

from gen_jax import __main__ as command
from gen_jax import data
from gen_jax.evaluate.tensors import write_tensors
from gen_jax.fields import to_json
from gen_jax.run import Run
from gen_jax.train import files
from gen_jax.train.checkpoint import Checkpoints
from gen_jax.train.room import DiskFullError, disk_error, writing
from tests.processes import COMMON, MODELS, ROOT, environment
from tests.test_train import play

SAID = "RESOURCE_EXHAUSTED: Failed writing: \"/d/10\": No space left on device [os_error_code='28']"  # by tensorstore


def _caused(by):
    error = RuntimeError("the writer has failed")
    error.__cause__ = by
    return error


@pytest.mark.parametrize("error", [ValueError(SAID), OSError(errno.EDQUOT, "x"), _caused(OSError(28, "x"))], ids=repr)
def test_a_full_disk_is_told_however_it_is_said(error, tmp_path):
    found = disk_error(error, tmp_path / "not" / "there", "writing", 12345)
    assert isinstance(found, DiskFullError) and "it needs 12,345 bytes" in str(found) and str(tmp_path) in str(found)


def test_another_disk_error_names_its_file(tmp_path):
    found = disk_error(OSError(errno.EIO, "Input/output error"), tmp_path / "x", "writing", 1)
    assert not isinstance(found, DiskFullError) and found.errno == errno.EIO
    assert str(found) == f"writing {tmp_path / 'x'} failed: Input/output error"
    assert "writing /x failed: odd" in str(disk_error(ValueError("odd"), Path("/x"), "writing", 1))


FULL_DEVICE = Path("/dev/full")


@pytest.mark.skipif(not FULL_DEVICE.exists(), reason="no device that is always full")
@pytest.mark.parametrize(
    ("file", "write"),
    [
        ("x.jsonl", lambda path: files.append(path, {"step": 1})),
        ("x.npy", lambda path: command._save(path, np.zeros((999, 9), np.uint8))),
    ],
)
def test_whatever_is_written_names_itself_where_the_disk_is_full(file, write, tmp_path):
    path = tmp_path / file
    path.symlink_to(FULL_DEVICE)
    with pytest.raises(DiskFullError, match=f"writing {path} failed: the disk is full"), writing(path):
        write(path)


@pytest.mark.skipif(not FULL_DEVICE.exists(), reason="no device that is always full")
def test_arrays_that_a_full_disk_has_cut_off_are_told(tmp_path, monkeypatch):
    def full(arrays, path, metadata):
        with pytest.raises(OSError) as found, open(FULL_DEVICE, "wb", buffering=0) as file:
            file.write(b"x")
        raise safetensors.SafetensorError(f"Error while serializing: I/O error: {found.value.strerror} (os error 28)")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    path = tmp_path / "x.safetensors"
    with pytest.raises(DiskFullError, match=f"writing {path} failed: the disk is full"), writing(path):
        write_tensors(path, {"x": np.zeros(9)}, {})


def test_a_save_that_a_full_disk_has_cut_off_says_the_size_of_the_state(tmp_path, monkeypatch):
    def full(self, newest):
        raise ValueError(SAID)

    monkeypatch.setattr(Checkpoints, "_prune", full)
    with pytest.raises(DiskFullError, match=r"it needs [0-9]+ bytes"):
        play(directory=tmp_path)


def test_a_state_that_cannot_fit_is_refused_before_it_is_compiled(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1 << 20, 1 << 20))
    with pytest.raises(MemoryError, match=r"the state takes [0-9,]+ bytes or more, and 0 are left to this process"):
        play()


def test_samples_that_cannot_fit_are_refused_before_they_are_drawn(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1 << 20, 1 << 20))
    fields = data.from_arrays(np.zeros((2, 8, 8, 1), np.uint8)).fields
    run = Run(SimpleNamespace(makes="image", given=()), None, {}, {}, 6, {"fields": to_json(fields)})
    with pytest.raises(MemoryError, match="so many samples at a time takes 25,600,000,000 bytes or more"):
        run.sample(0, 10**8, batch_size=10**8)


@pytest.mark.slow
def test_a_model_beyond_the_limit_of_memory_is_one_line(tmp_path):
    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))

    options = [*COMMON, *MODELS["vae"], "--dense", "2000000", "--widths", "64", "--workdir", str(tmp_path / "run")]
    ended = subprocess.run(
        [sys.executable, "-m", "experiments.vae", *options],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=limited,
        timeout=240,
    )
    assert ended.returncode == 4, ended.stderr
    assert len(ended.stderr.splitlines()) == 1 and "the state takes" in ended.stderr
